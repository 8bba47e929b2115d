"""At most once, and effectively once: what the inbox of a service keeps from being done twice."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from ion import Container, ReceivedContainerError, Service, Unavailable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec
from ion.process.exactly_once.inbox import MemoryInbox
from ion.testing.servers import RabbitServer
from tests.process.delivery import Bus, config, dead_letters, is_empty, message, running, until


class Once(Service, name="once", delivery="effectively-once"):
    """Counts how often it runs."""

    def __init__(self, go: asyncio.Event | None = None) -> None:
        self.runs: list[str] = []
        self.go = go

    async def op_do(self, what: str = "", fail: bool = False) -> dict[str, Any]:
        self.runs.append(what)
        if self.go is not None:
            await self.go.wait()
        if fail and self.runs.count(what) == 1:
            reason = "the first time"
            raise ValueError(reason)
        return {"number": len(self.runs), "what": what}

    async def op_raw(self, content: Any, headers: Any, msg: Any) -> str:
        self.runs.append("raw")
        await self.reply_ok(msg, len(self.runs))
        return "not what is answered"


async def spawned(container: Container, **args: Any) -> Once:
    process = container.processes[await container.spawn(Once, args=args)]
    assert isinstance(process, Once)
    return process


async def answers(container: Container, sent: list[Envelope], key: str = "once") -> list[Any]:
    """Send messages as a foreign client, and return what each was answered, in their order."""
    queue: asyncio.Queue[Envelope] = asyncio.Queue()
    transport = container.transport
    name = await transport.declare_queue(QueueSpec("", durable=False, exclusive=True))
    consumer = await transport.consume(
        name, lambda d: queue.put_nowait(d.envelope), prefetch=1, no_ack=True
    )
    for n, envelope in enumerate(sent):
        asked = envelope.replace(reply_to=name, correlation_id=str(n))
        transport.publish("test.xs", key, asked)
    found: dict[str, Any] = {}
    async with asyncio.timeout(30):
        while len(found) < len(sent):
            envelope = await queue.get()
            assert envelope.correlation_id not in found
            found[envelope.correlation_id] = msgspec.json.decode(envelope.body)
    await consumer.cancel()
    return [found[str(n)] for n in range(len(sent))]


async def test_a_hundred_of_one_message_at_once_run_once(bus: Bus) -> None:
    async with running(bus) as container:
        process = await spawned(container)
        same = message("do", {"what": "same"}, message_id="m-1")
        result = await answers(container, [same] * 100)
        assert result == [{"number": 1, "what": "same"}] * 100
        assert process.runs == ["same"]
        assert not container.endpoint.at_work


async def test_while_the_first_is_at_work_the_others_wait_without_an_attempt(bus: Bus) -> None:
    go = asyncio.Event()
    async with running(bus) as container:
        process = await spawned(container, go=go)
        same = message("do", {"what": "same"}, message_id="m-1")
        asking = asyncio.ensure_future(answers(container, [same] * 10))
        await until(lambda: process.runs)
        for _ in range(5):
            await container.transport.publish_confirmed("test.xs", "once", same, timeout=10)
        await until(lambda: container.endpoint.counts["at work already"] >= 100)
        go.set()
        assert await asking == [{"number": 1, "what": "same"}] * 10
        await until(lambda: container.endpoint.counts["known"] == 14)
        assert process.runs == ["same"]
        assert not container.endpoint.at_work
        assert await is_empty(container, "test.once.dlq")


async def test_other_messages_are_other_messages(bus: Bus) -> None:
    async with running(bus) as container:
        process = await spawned(container)
        sent = [message("do", {"what": str(n)}, message_id=f"m-{n}") for n in range(20)]
        sent += [message("do", {"what": "no id"}) for _ in range(3)]
        await answers(container, sent)
        assert sorted(process.runs) == sorted([*map(str, range(20)), *["no id"] * 3])


async def test_what_is_sent_one_way_again_is_not_done_again(bus: Bus) -> None:
    async with running(bus) as container:
        process = await spawned(container)
        for _ in range(3):
            await container.send("once", "do", {"what": "x"}, message_id="m-1")
        await until(lambda: container.endpoint.counts["known"] == 2)
        assert process.runs == ["x"]
        # asked for the answer that nobody awaited then, there is none
        assert await answers(container, [message("do", message_id="m-1")]) == [None]
        assert process.runs == ["x"]


async def test_a_failed_message_is_not_done(bus: Bus) -> None:
    async with running(bus) as container:
        process = await spawned(container)
        await container.send("once", "do", {"what": "x", "fail": True}, message_id="m-1")
        await until(lambda: process.runs == ["x", "x"])
        same = message("do", {"what": "y", "fail": True}, message_id="m-2")
        first, second = await answers(container, [same, same])
        assert {first.get("type"), second.get("type")} == {"ValueError", None}
        assert process.runs[2:] == ["y", "y"]


async def test_raw_handlers_that_answer_themselves_are_kept_as_well(bus: Bus) -> None:
    async with running(bus) as container:
        process = await spawned(container)
        same = message("raw", message_id="m-1")
        assert await answers(container, [same]) == [1]
        assert await answers(container, [same, same]) == [1, 1]
        assert process.runs == ["raw"]


@pytest.mark.parametrize("lean", [True, False])
async def test_a_cut_connection_makes_no_second_run(
    amqp_url: str, rabbitmq_server: RabbitServer, lean: bool
) -> None:
    bus: Bus = (amqp_url, {"broker.lean": lean})
    go = asyncio.Event()
    async with running(bus) as first, running(bus) as caller:
        process = await spawned(first, go=go)
        calls = [
            asyncio.ensure_future(caller.rpc_send("once", "do", {"what": str(n)}, timeout=60))
            for n in range(20)
        ]
        await until(lambda: len(process.runs) == 20)
        await asyncio.to_thread(rabbitmq_server.close_connections)
        go.set()
        results = await asyncio.gather(*calls)
        assert [result["what"] for result in results] == [str(n) for n in range(20)]
        await until(lambda: not first.endpoint.calls)
        assert len(process.runs) == 20


class Away(MemoryInbox):
    """An inbox that cannot be reached at first."""

    def __init__(self) -> None:
        super().__init__()
        self.finds = 2
        self.keeps = 1
        self.tried = 0

    async def find(self, key: str) -> Envelope | None:
        self.tried += 1
        if self.finds:
            self.finds -= 1
            reason = "the inbox is away"
            raise Unavailable(reason)
        return await super().find(key)

    async def keep(self, key: str, answer: Envelope) -> None:
        if self.keeps:
            self.keeps -= 1
            reason = "the inbox is away"
            raise Unavailable(reason)
        await super().keep(key, answer)


async def test_an_inbox_that_is_away_makes_the_message_try_again(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    inboxes: list[Away] = []

    def made() -> Away:
        inboxes.append(Away())
        return inboxes[-1]

    monkeypatch.setattr("ion.process.serving.source.MemoryInbox", made)
    async with running(bus) as container:
        process = await spawned(container)
        [inbox] = inboxes
        await container.send("once", "do", {"what": "x"})
        await until(lambda: len(process.runs) == 2)  # done once, not kept, done again
        await until(lambda: not container.endpoint.calls)
        assert await is_empty(container, "test.once.dlq")
        inbox.finds, inbox.keeps, inbox.tried = 2, 0, 0
        assert await container.rpc_send("once", "do", {"what": "y"}) == {"number": 3, "what": "y"}
        assert inbox.tried == 3
        inbox.finds = 1000
        with pytest.raises(Unavailable, match="inbox is away"):
            await container.rpc_send("once", "do", {"what": "z"}, timeout=20)
        assert process.runs == ["x", "x", "y"]
        await container.send("once", "do", {"what": "z"})
        [letter] = await dead_letters(container, "once", 1)
        assert letter.envelope.headers["cause-code"] == 503
        assert not container.endpoint.at_work


async def test_the_inbox_in_memory_is_bounded() -> None:
    inbox = MemoryInbox(limit=3, max_bytes=100)
    for n in range(5):
        await inbox.keep(str(n), Envelope("", b"x"))
    assert [n for n in range(5) if await inbox.find(str(n))] == [2, 3, 4]
    await inbox.keep("big", Envelope("", b"x" * 99))
    assert await inbox.find("3") is None
    assert await inbox.find("big")
    await inbox.keep("too big", Envelope("", b"x" * 101))
    assert await inbox.find("too big") is None
    for _ in range(1000):
        await inbox.keep("same", Envelope("", b"x" * 50))
    assert await inbox.find("same")


class AtMost(Service, name="atmost", delivery="at-most-once"):
    """May lose a message, and never handles one twice."""

    def __init__(self, runs: list[str], go: asyncio.Event) -> None:
        self.runs = runs
        self.go = go

    async def op_do(self, what: str) -> str:
        self.runs.append(what)
        if what == "fail":
            raise ValueError(what)
        await self.go.wait()
        return what


async def test_at_most_once_is_acked_before_it_runs_and_not_tried_again(
    bus: Bus, other: Container
) -> None:
    runs: list[str] = []
    killed = Container(bus[0], sysname="test", config=config(bus))
    await killed.start()
    await killed.spawn(AtMost, args={"runs": runs, "go": asyncio.Event()})
    await other.send("atmost", "do", {"what": "lost"})
    await until(lambda: runs == ["lost"])
    await killed.kill()
    async with running(bus) as container:
        go = asyncio.Event()
        go.set()
        await container.spawn(AtMost, args={"runs": runs, "go": go})
        await other.send("atmost", "do", {"what": "fail"})
        [letter] = await dead_letters(other, "atmost", 1)
        assert letter.envelope.headers["cause-type"] == "ValueError"
        assert letter.envelope.headers["attempt"] == 1
        assert await other.rpc_send("atmost", "do", {"what": "after"}) == "after"
        with pytest.raises(ReceivedContainerError):
            await other.rpc_send("atmost", "do", {"what": "fail"})
        assert runs == ["lost", "fail", "after", "fail"]


async def test_at_most_once_what_waited_at_a_death_is_not_risked(
    bus: Bus, other: Container
) -> None:
    runs: list[str] = []

    class OneAtATime(AtMost, name="atmost", concurrency=1):
        pass

    killed = Container(bus[0], sysname="test", config=config(bus))
    await killed.start()
    pid = await killed.spawn(OneAtATime, args={"runs": runs, "go": asyncio.Event()})
    process = killed.processes[pid]
    await other.send("atmost", "do", {"what": "first"})
    await until(lambda: runs)
    call = asyncio.ensure_future(other.rpc_send("atmost", "do", {"what": "rpc"}, timeout=60))
    await other.send("atmost", "do", {"what": "second"})
    await until(lambda: process.waiting == 2)
    await killed.kill()
    async with running(bus) as container:
        await container.spawn(AtMost, args={"runs": runs, "go": asyncio.Event()})
        with pytest.raises(Unavailable, match="at most once"):
            await asyncio.wait_for(call, 20)
        letters = await dead_letters(other, "atmost", 1)
        assert letters[0].envelope.headers["cause-code"] == 503
        assert runs == ["first"]


async def test_a_container_that_keeps_its_name_does_not_repeat_its_ids(bus: Bus) -> None:
    async with running(bus) as server:
        service = server.processes[await server.spawn(Once)]
        assert isinstance(service, Once)
        for what in ("first life", "second life"):
            async with running(bus, container__name="reader") as reader:
                await reader.send("once", "do", {"what": what})
        await until(lambda: len(service.runs) == 2, "what the second life sent was lost")
