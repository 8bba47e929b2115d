"""A plain client that reads all that is said on the bus, in a system whose messages are signed.

It knows each id, has each signature that was ever made, and may publish anything anywhere. What it
forges is as if it had never come: refused where there is somebody to answer, and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import msgspec
import pytest

from ion import Container, Process, Service
from ion.container.failover.lease_actions import Token
from ion.container.membership.membership import Beat
from ion.process.events import Event
from ion.process.granules import Granule, StreamPublisher, StreamSubscriber

pytestmark = [pytest.mark.amqp, pytest.mark.timeout(120)]
SYSNAME = "signed"
KEY = "ab" * 32
CONFIG: dict[str, Any] = {
    "messaging.interceptors.in": ["ion.process.identity.signed:checking"],
    "messaging.interceptors.out": ["ion.process.identity.signed:signing"],
    "agent.key": KEY,
}
APP = """
type: application
name: alone
version: 1.0.0
processes:
  - {id: alone, class: tests.container.alone:Alone}
start_type: permanent
failover: true
"""
encode = msgspec.msgpack.encode
Message = aio_pika.abc.AbstractIncomingMessage


class Spill(Event):
    """Something was spilt."""


class Desk(Service, name="desk"):
    """Does what it is asked once its door is open."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.cancelled = 0
        self.is_open = asyncio.Event()

    async def on_activate(self) -> None:
        await self.subscribe_events(Spill, self.on_spill)
        await self.subscribe_events(Spill, self.on_spill, name="shared")
        await StreamSubscriber.open(self, "gauge", self.on_granule)

    async def _door(self) -> None:
        try:
            await self.is_open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def op_ask(self) -> str:
        await self._door()
        return "real"

    async def op_work(self) -> str:
        self.message.report("real step")
        await self._door()
        return "real"

    async def op_talk(self) -> str:
        await self.message.say("real word")
        heard = await self.message.hear()
        self.heard.append(heard)
        return "real end"

    async def op_count(self) -> AsyncIterator[int]:
        for number in range(6):
            yield number

    async def on_spill(self, event: Spill) -> None:
        self.heard.append(event.origin)

    async def on_granule(self, granule: Granule) -> None:
        self.heard.append(float(granule["x"][0]))


class Forger:
    """Reads all that goes to services and processes, and publishes what it likes."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel
        self.seen: list[Message] = []
        self.sent = 0

    async def open(self) -> None:
        ear = await self._channel.declare_queue(exclusive=True)
        for exchange in ("xs", "xp.events", "xp.streams"):
            await ear.bind(await self._channel.get_exchange(f"{SYSNAME}.{exchange}"), "#")
        await ear.consume(self._saw, no_ack=True)

    async def _saw(self, message: Message) -> None:
        self.seen.append(message)

    async def find(self, holds: Callable[[Message], Any]) -> Message:
        """Return the last message of a kind, once it was seen."""
        await until(lambda: any(holds(m) for m in self.seen))
        return [m for m in self.seen if holds(m)][-1]

    async def say(
        self, exchange: str, key: str, op: str, body: Any, message: Message, **headers: Any
    ) -> None:
        """Say something in the conversation that a message belongs to, with its signature."""
        stolen = {name: message.headers[name] for name in ("mac", "to") if name in message.headers}
        for more in ({}, stolen, {"mac": "v1 00000000 1 " + "0" * 64}):
            forged = aio_pika.Message(
                encode(body) if body is not ... else b"",
                type=op,
                reply_to=message.reply_to,
                correlation_id=message.correlation_id,
                message_id=f"forged-{self.sent}",
                content_type="application/msgpack",
                headers={**headers, **more},
            )
            channel = self._channel
            to = await channel.get_exchange(exchange) if exchange else channel.default_exchange
            await to.publish(forged, key, mandatory=False)
            self.sent += 1

    async def put(self, queue: str, message: Message) -> None:
        """Put an altered copy of a message, with its signature, into a queue."""
        body = message.body[:-1] + bytes([message.body[-1] ^ 1])
        copy = aio_pika.Message(body, type=message.type, headers=dict(message.headers))
        copy.content_type = message.content_type
        copy.message_id = f"forged-{len(self.seen)}"
        await self._channel.default_exchange.publish(copy, queue)

    async def answer(self, message: Message, body: Any, performative: str, **more: Any) -> None:
        """Answer a request in the place of who was asked."""
        said = {"performative": performative, "sender": "forger.1", **more}
        said.setdefault("protocol", message.headers["protocol"])
        await self.say("", str(message.reply_to), str(message.type), body, message, **said)

    async def go_on(
        self, message: Message, pid: str, body: Any, performative: str, **more: Any
    ) -> None:
        """Say something more in the place of who has asked."""
        said = {"performative": performative, "protocol": message.headers["protocol"], **more}
        for key in (pid, "ctl.desk"):
            await self.say(f"{SYSNAME}.xs", key, str(message.type), body, message, **said)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def forger(url: str) -> AsyncIterator[Forger]:
    async with await aio_pika.connect(url) as connection:
        made = Forger(await connection.channel())
        await made.open()
        yield made


@pytest.fixture
async def container(amqp_url: str) -> AsyncIterator[Container]:
    async with Container(amqp_url, sysname=SYSNAME, config=CONFIG) as container:
        yield container


@pytest.fixture
async def desk(container: Container) -> Desk:
    made = container.processes[await container.spawn(Desk)]
    assert isinstance(made, Desk)
    return made


async def test_who_reads_a_call_can_neither_answer_nor_cancel_it(
    container: Container, desk: Desk, amqp_url: str
) -> None:
    counts = container.endpoint.counts
    async with forger(amqp_url) as other:
        call = asyncio.ensure_future(container.rpc_send("desk", "ask", {}, 60))
        work = container.request("desk", "work", {}, 60)
        asked = await other.find(lambda m: m.type == "ask")
        worked = await other.find(lambda m: m.type == "work")
        progress = aiter(work)
        assert await anext(progress) == "real step"
        failure = {"code": 500, "type": "X", "message": "forged", "details": {}}
        for message in (asked, worked):
            await other.answer(message, "forged", "inform_result")
            await other.answer(message, failure, "failure", status="ERROR", code=500)
            await other.answer(message, "forged", "refuse")
            await other.answer(message, "forged", "progress")
            await other.answer(message, ..., "agree")
            for body in (..., "with content"):
                await other.go_on(message, desk.id, body, "cancel")
        await until(lambda: counts["unsigned"] >= other.sent)
        assert desk.cancelled == 0
        desk.is_open.set()
        assert await call == "real"
        assert await work == "real"
        assert [step async for step in progress] == []


async def test_who_reads_streams_and_talks_can_put_nothing_into_them(
    container: Container, desk: Desk, amqp_url: str
) -> None:
    counts = container.endpoint.counts
    async with forger(amqp_url) as other:
        stream = container.stream("desk", "count", credit=2)
        items = aiter(stream)
        assert await anext(items) == 0
        counted = await other.find(lambda m: m.type == "count")
        talk = await container.converse("desk", "talk", {})
        talked = await other.find(lambda m: m.type == "talk")
        assert await talk.hear() == "real word"
        for message in (counted, talked):
            for number in (2, 3, 4):
                await other.answer(message, "forged", "inform", **{"conv-seq": number})
                for body in (..., "forged"):
                    more = {"conv-seq": number, "credit": 1000}
                    await other.go_on(message, desk.id, body, "credit", **more)
                    await other.go_on(message, desk.id, body, "inform", **more)
            await other.answer(message, ..., "inform_result")
            await other.go_on(message, desk.id, "forged", "cancel")
            await other.go_on(message, desk.id, "forged", "inform_result", **{"conv-seq": 2})
        await until(lambda: counts["unsigned"] >= other.sent)
        assert [item async for item in items] == [1, 2, 3, 4, 5]
        await talk.say("real answer")
        await until(lambda: desk.heard == ["real answer"])
        await talk.close()


async def test_events_and_granules_of_others_are_not_heard(
    container: Container, desk: Desk, amqp_url: str
) -> None:
    counts = container.endpoint.counts
    publisher = await StreamPublisher.open(desk, "gauge")
    async with forger(amqp_url) as other:
        await publisher.publish({"x": [1.0]})
        await publisher.flush()
        await desk.publish_event(Spill(origin="real"))
        await until(lambda: sorted(map(str, desk.heard)) == ["1.0", "real", "real"])
        granule = await other.find(lambda m: "stream" in str(m.exchange))
        event = await other.find(lambda m: "Spill" in str(m.routing_key))
        fields = {**msgspec.msgpack.decode(event.body), "origin": "forged", "id": "other"}
        topic = str(event.routing_key).replace("real", "forged")
        queues = [row["queue"] for row in container.exchange.subscriptions.names()]
        before, sent = counts["unsigned"], 0
        for key in (topic, str(event.routing_key)):
            await other.say(f"{SYSNAME}.xp.events", key, str(event.type), fields, event)
            sent += 2 * 3  # both subscriptions
        for queue in queues:
            for message in (event, granule):
                await other.put(queue, message)
                sent += 1
        await until(lambda: counts["unsigned"] >= before + sent)
        assert len(desk.heard) == 3


async def test_containers_do_nothing_that_others_say_in_their_names(
    container: Container, desk: Desk, amqp_url: str, tmp_path: Path
) -> None:
    """Beats, leases, commands of agents and supervisors, revocations, ends of processes."""
    path = tmp_path / "alone.app"
    path.write_text(APP)
    safe = await container.spawn(Process)
    async with Container(amqp_url, sysname=SYSNAME, config=CONFIG) as second:
        await container.start_app(path)
        await second.start_app(path)
        assert (container.apps["alone"].state, second.apps["alone"].state) == ("ACTIVE", "STANDBY")
        await until(lambda: container.heartbeat.members.find(second.id))
        counts = container.endpoint.counts
        async with forger(amqp_url) as other:
            beat = await other.find(
                lambda m: "beat" in str(m.routing_key) and second.id.encode() in m.body
            )
            said = msgspec.convert(msgspec.msgpack.decode(beat.body), Beat)
            leaving = msgspec.structs.replace(
                said, number=said.number + 1000, leaving=True, stopped={"alone": 10**6}
            )
            forged = msgspec.to_builtins(leaving)
            headers = dict(beat.headers)
            await other.say(f"{SYSNAME}.xs", str(beat.routing_key), str(beat.type), forged, beat)
            await other.say(
                f"{SYSNAME}.xs", str(beat.routing_key), str(beat.type), forged, beat, **headers
            )
            await until(lambda: counts["beats that are not sealed"] >= 6)
            for state in ("free", "stopped", "held"):
                token = msgspec.to_builtins(Token(10**6, state, f"{second.id}/x", "forged"))
                await other.say("", f"{SYSNAME}.lease.alone", "lease", token, beat, **headers)
            before = counts["unsigned"]
            sent = 0
            for op, content in (
                ("terminate", {"pid": safe}),
                ("spawn", {"target": "ion.process.process:Process"}),
                ("drain", {}),
                ("stop_app", {"app": "alone"}),
                ("revoke", {"told": []}),
                ("down", {"pid": safe, "reason": "error"}),
                ("undeclared", {"point": "events"}),
                ("start_child", {"id": "x", "class": "ion.process.process:Process"}),
            ):
                for key in (f"{container.id}.0", "ctl.agent", safe):
                    request = {"protocol": "rpc", "performative": "request"}
                    await other.say(f"{SYSNAME}.xs", key, op, content, beat, **request)
                    sent += 3
            await until(lambda: counts["unsigned"] >= before + sent)
        assert safe in container.processes
        assert container.heartbeat.members.find(second.id)
        assert (container.apps["alone"].state, second.apps["alone"].state) == ("ACTIVE", "STANDBY")
        who = await second.rpc_send("alone", "who", {}, 30)
        assert who["pid"].startswith(container.id)
