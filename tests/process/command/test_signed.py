"""Signed messages: what is said with the key of the system is taken, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ion import (
    Container,
    DeadlineExceeded,
    Forbidden,
    Process,
    Service,
    Unauthorized,
    acting,
    connect,
)
from ion.base.config import load
from ion.base.settings import AgentSettings, MessagingSettings, SigningSettings
from ion.messaging.address import Namespace
from ion.messaging.codec import decode
from ion.messaging.envelope import Envelope
from ion.messaging.memory.transport import MemoryTransport
from ion.process.command.permission import Permission
from ion.process.discovery import survey
from ion.process.endpoint.endpoint import Endpoint
from ion.process.granules import Granule, StreamPublisher, StreamSubscriber
from ion.process.identity import current_identity, signed
from ion.process.identity.revocations import Revocation
from ion.process.identity.trust import issuer_of
from ion.services.identity.client import IdentityClient
from tests.process.delivery import dead_letters, until

pytestmark = pytest.mark.amqp
KEY, OTHER_KEY = "ab" * 32, "cd" * 32
NAMES = {
    "messaging.interceptors.in": ["ion.process.identity.signed:checking"],
    "messaging.interceptors.out": ["ion.process.identity.signed:signing"],
}
SIGNED = {**NAMES, "agent.key": KEY, "service.retry_delays": [0.05], "service.attempts": 2}
_numbers = itertools.count()


class Desk(Service, name="desk"):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.fails = 0

    async def op_tell(self, text: str) -> str:
        if self.fails:
            self.fails -= 1
            raise RuntimeError
        self.told.append(text)
        return text

    async def op_ask(self, text: str) -> Any:
        return await self.rpc_send("desk", "tell", {"text": text})

    async def op_count(self) -> AsyncIterator[int]:
        for number in range(200):
            yield number

    async def on_event(self, content: Any, headers: Any, msg: Any) -> None:
        self.told.append((msg.topic, content))


@pytest.fixture
async def system(amqp_url: str) -> AsyncIterator[tuple[Container, Desk]]:
    """Give a container whose messages are signed, and a service in it."""
    async with Container(amqp_url, sysname="test", config=SIGNED) as container:
        desk = container.processes[await container.spawn(Desk)]
        assert isinstance(desk, Desk)
        yield container, desk


def party(key: str = KEY, **settings: Any) -> Any:
    """Return both interceptors of a party of its own, on no bus."""
    transport = MemoryTransport("memory://")
    endpoint = Endpoint(transport, Namespace("test"), f"party{next(_numbers)}")
    agent = AgentSettings(key=key)
    endpoint.permission = Permission(agent, transport, "test", 60.0)
    endpoint.permission._transport = type("Public", (), {"is_private": False})()  # type: ignore[assignment]
    own = MessagingSettings(signing=SigningSettings(**settings))
    return signed.signing(own, endpoint), signed.checking(own, endpoint)


MESSAGE = Envelope(
    "tell",
    b"\x81\xa4text\xa1a",
    reply_to="test.x.reply",
    correlation_id="c-1",
    message_id="m-1",
    headers={
        "performative": "request",
        "protocol": "rpc",
        "timeout": 1000,
        "user-id": "ann",
        "raw": b"bytes",
        "more": {"a": [1, 2.5, None, True]},
    },
)


async def test_any_change_is_seen() -> None:
    sign, check = party()
    message = sign(MESSAGE)
    assert check(message) is message
    way = {
        "timeout": 5,
        "attempt": 2,
        "receiver": "desk",
        "x-death": [{"count": 1}],
        "cause": "it failed",
    }
    check(message.replace(headers={**message.headers, **way}, persistent=True))
    changes: list[dict[str, Any]] = [
        {"op": "Tell"},
        {"body": b"\x81\xa4text\xa1b"},
        {"content_type": "application/json"},
        {"reply_to": "mine"},
        {"correlation_id": "c-2"},
        {"message_id": "m-2"},
        {"headers": {**message.headers, "user-id": "bob"}},
        {"headers": {**message.headers, "token": "abc"}},
        {"headers": {**message.headers, "more": {"a": [1, 2.5, None, False]}}},
        {"headers": {k: v for k, v in message.headers.items() if k != "user-id"}},
    ]
    for change in changes:
        with pytest.raises(Forbidden) as caught:
            check(message.replace(**change))
        assert caught.value.details["reason"] == "altered", change
    header = message.headers["mac"]
    for at in range(len(header)):
        other = header[:at] + ("0" if header[at] != "0" else "1") + header[at + 1 :]
        with pytest.raises(Forbidden):
            check(message.replace(headers={**message.headers, "mac": other}))
    for foreign in (None, 5, "", "v1", b"v1", ["v1"], "v2" + header[2:]):
        with pytest.raises(Forbidden):
            check(message.replace(headers={**message.headers, "mac": foreign}))
    odd = {"reply_to": "mine\udcff"}  # a foreign client's may be any bytes
    check(sign(MESSAGE.replace(**odd)))
    with pytest.raises(Forbidden):
        check(message.replace(**odd))


async def test_what_is_too_old_or_of_another_key_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sign, check = party(max_age=9.0, keep=1000.0)
    deadline = {**MESSAGE.headers, "deadline": int(signed.time.time() * 1000) + 1000}
    kept = MESSAGE.replace(headers={"protocol": "none"}, reply_to="")
    message, one_way = sign(MESSAGE.replace(headers=deadline)), sign(kept)
    real = signed.time.time_ns
    offset = 0.0
    monkeypatch.setattr(signed.time, "time_ns", lambda: real() + int(offset * 1e9))
    for offset, is_good in ((69.0, True), (71.5, False), (-59.5, True), (-61.0, False)):
        for envelope, good in ((message, is_good), (one_way, offset > -60)):
            if good:
                check(envelope)
            else:
                with pytest.raises(Forbidden, match="the clocks differ"):
                    check(envelope)
    offset = 1061.0
    with pytest.raises(Forbidden, match="the clocks differ"):
        check(one_way)
    offset = 0.0
    with pytest.raises(Forbidden, match="give both sides the same key file"):
        party(OTHER_KEY)[1](message)
    with pytest.raises(Forbidden, match="is not: see"):
        check(MESSAGE)
    assert party(required=False)[1](MESSAGE) is MESSAGE


async def test_all_kinds_of_conversation_go_through(
    system: tuple[Container, Desk], amqp_url: str
) -> None:
    container, desk = system
    async with connect(amqp_url, sysname="test", config=SIGNED) as caller:
        assert await caller.rpc_send("desk", "ask", {"text": "nested"}) == "nested"
        assert [n async for n in caller.stream("desk", "count", credit=10)] == list(range(200))
        desk.fails = 1
        await caller.send("desk", "tell", {"text": "tried again"})
        await _until(lambda: "tried again" in desk.told)
    await desk.subscribe("news", "#", desk.on_event, name="all")
    await desk.publish("news", "a.b", "durable")
    await _until(lambda: ("a.b", "durable") in desk.told)
    assert [pong["pong"] for pong in await _pongs(container)] == ["pong"]
    stream = desk.stream("desk", "count", credit=1)
    assert await anext(aiter(stream)) == 0
    stream.cancel()
    await _until(lambda: not desk._begun())
    assert container.endpoint.counts["unsigned"] == 0


async def test_what_others_say_is_refused_and_answered(
    system: tuple[Container, Desk], amqp_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    container, desk = system
    caplog.set_level(logging.WARNING)
    for config, error, said in (
        ({}, Forbidden, "this one is not"),
        # what it is answered, it does not believe, nor does it end its call by that
        ({**NAMES, "agent.key": OTHER_KEY}, DeadlineExceeded, "not believed: .* signed with key"),
    ):
        async with connect(amqp_url, sysname="test", config=config) as stranger:
            with pytest.raises(error, match=said):
                await stranger.rpc_send("desk", "tell", {"text": "a"}, 1.0)
            await stranger.send("desk", "tell", {"text": "a"})
            await stranger.publish("news", "a", 1)
    dead = "test.desk.dlq"
    async with asyncio.timeout(15):
        while (info := await container.transport.queue_info(dead)) is None or info.messages < 2:
            await asyncio.sleep(0.01)
    assert desk.told == []
    assert container.endpoint.counts["unsigned"] >= 4
    assert len([r for r in caplog.records if r.getMessage().startswith("refused ")]) <= 3


async def test_a_message_for_one_is_not_for_another(
    system: tuple[Container, Desk], amqp_url: str
) -> None:
    """Who can publish cannot bring to one service, or one process, what was said to another."""
    container, desk = system
    sent: list[Envelope] = []
    publish = container.transport.publish

    def spy(exchange: str, key: str, envelope: Envelope, **more: Any) -> None:
        sent.append(envelope)
        publish(exchange, key, envelope, **more)

    container.transport.publish = spy  # type: ignore[method-assign]
    ear = container.processes[await container.spawn(Ear)]
    await container.rpc_send(ear.id, "tell", {"text": "for the ear"})
    message = next(e for e in sent if e.op == "tell" and e.headers["performative"] == "request")
    assert message.headers["to"] == ear.id
    before = container.endpoint.counts["unsigned"]
    publish("test.xs", "desk", message)
    publish("", "test.desk", message.with_headers(receiver=ear.id))
    await _until(lambda: container.endpoint.counts["unsigned"] >= before + 2)
    secret = [await desk.subscribe("news", "secret.#", desk.on_event, name=n) for n in (None, "s")]
    await desk.publish("news", "public.x", "for all")
    event = next(e for e in sent if e.headers.get("to") == "@news/public.x")
    for subscription in secret:
        publish("", subscription.queue, event.with_headers(receiver="public.x"))
    await _until(lambda: container.endpoint.counts["unsigned"] >= before + 4)
    await desk.subscribe("alarms", "#", desk.on_event)
    publish("test.xp.alarms", "public.x", event)  # of another point
    await desk.publish("news", "desk", "for all", op="tell")
    named = next(e for e in sent if e.headers.get("to") == "@news/desk")
    publish("test.xs", "desk", named)  # a topic may be named as a service is
    await _until(lambda: container.endpoint.counts["unsigned"] >= before + 6)
    assert desk.told == []


async def test_a_granule_of_one_stream_is_none_of_another(
    system: tuple[Container, Desk],
) -> None:
    """What was measured by one sensor cannot be brought to the stream of another one."""
    container, desk = system
    sent: list[tuple[str, Envelope]] = []
    publish = container.transport.publish

    def spy(exchange: str, key: str, envelope: Envelope, **more: Any) -> None:
        sent.append((exchange, envelope))
        publish(exchange, key, envelope, **more)

    listener = container.processes[await container.spawn(Listener)]
    container.transport.publish = spy  # type: ignore[method-assign]
    for stream, value in (("other", 1.0), ("own", 2.0)):
        publisher = await StreamPublisher.open(desk, stream)
        await publisher.publish({"x": np.array([value])})
        await publisher.flush()
    await _until(lambda: listener.heard == [2.0])
    exchange, granule = next(each for each in sent if each[1].headers.get("to") == "@streams/other")
    before = container.endpoint.counts["unsigned"]
    publish(exchange, "own", granule)
    await _until(lambda: container.endpoint.counts["unsigned"] > before)
    assert listener.heard == [2.0]


async def test_a_cancel_by_others_is_not_heard(system: tuple[Container, Desk]) -> None:
    container, desk = system
    stream = desk.stream("desk", "count", credit=1)
    items = aiter(stream)
    assert await anext(items) == 0
    (call,) = desk._begun()
    headers = {"performative": "cancel", "protocol": "stream"}
    ids = {"reply_to": call.envelope.reply_to, "correlation_id": call.envelope.correlation_id}
    forged = Envelope(call.op, headers=headers, **ids)
    before = container.endpoint.counts["unheard"]
    container.transport.publish("test.xs", desk.id, forged)
    await _until(lambda: container.endpoint.counts["unheard"] > before)
    assert await anext(items) == 1
    assert desk._begun() == [call]
    stream.cancel()
    await _until(lambda: not desk._begun())


async def test_without_a_key_nothing_is_said(amqp_url: str, tmp_path: Path) -> None:
    config = {**NAMES, "agent.key_file": str(tmp_path / "none.key")}
    assert load(config).agent.key is None
    async with connect(amqp_url, sysname="test", config=config) as caller:
        with pytest.raises(Forbidden, match="what is signed, needs the key"):
            await caller.rpc_send("desk", "tell", {"text": "a"})


async def test_on_a_private_bus_nothing_is_signed() -> None:
    async with Container("memory://", sysname="test", config=NAMES) as container:
        await container.start_app("hello")
        assert await container.rpc_send("hello", "hello", {"text": "a"}) == "Hello there, a"


class Ear(Process):
    """Is told something."""

    async def op_tell(self, text: str) -> str:
        return text


class Listener(Process):
    """Hears one stream."""

    async def on_activate(self) -> None:
        self.heard: list[float] = []
        await StreamSubscriber.open(self, "own", self.on_granule)

    async def on_granule(self, granule: Granule) -> None:
        self.heard.append(float(granule["x"][0]))


async def _pongs(container: Container) -> list[Any]:
    return await survey(container.endpoint, "ctl.desk", "ping", None, 5.0)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


class Late(Process):
    """Hears durably of what was told before it came, and says on whose behalf."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_activate(self) -> None:
        await self.subscribe("news", "#", self.on_news, name="late")

    async def on_news(self, content: Any, headers: Any, msg: Any) -> None:
        identity = current_identity()
        self.heard.append(f"{content} of {identity.actor if identity else None}")


@pytest.mark.parametrize("is_signed", [True, False])
async def test_what_waits_for_longer_than_its_token_is_judged_by_when_it_was_sent(
    amqp_url: str, is_signed: bool
) -> None:
    """Only where messages are signed is that known."""
    more = {"identity.verify": "required", "identity.leeway": 0.0}
    settings = {**SIGNED, **more} if is_signed else {**more, "agent.key": KEY}
    async with Container(amqp_url, sysname="test", config=settings) as container:
        await container.spawn(Desk)
        await container.terminate_process(await container.spawn(Late))  # its queue collects
        desk, permission = container.endpoint.auth, container.endpoint.permission
        issuer = issuer_of(permission, container.settings.identity, "test")
        assert issuer is not None
        token = issuer.token("ada", life=0.5)
        with acting(token):
            await container.publish("news", "a", "in time")
        over = desk.identify(token).expires
        await until(lambda: time.time() > over)
        with acting(token):
            await container.publish("news", "a", "too late")
            with pytest.raises(Unauthorized, match="expired"):  # who waits can ask again
                await container.rpc_send("desk", "tell", {"text": "a"})
        late = container.processes[await container.spawn(Late)]
        assert isinstance(late, Late)
        refused = ["too late"] if is_signed else ["in time", "too late"]
        letters = await dead_letters(container, "sub.news.late", len(refused))
        assert [decode(each.envelope.body) for each in letters] == refused
        assert {each.envelope.headers["cause-type"] for each in letters} == {"Unauthorized"}
        await until(lambda: late.heard == (["in time of ada"] if is_signed else []))


async def test_what_was_revoked_is_known_for_as_long_as_messages_may_wait(amqp_url: str) -> None:
    """It was forgotten when the token had ended; and then what had been said with it was taken."""
    settings = {**SIGNED, "identity.verify": "required", "identity.leeway": 0.0}
    settings["store.url"] = "memory://"
    async with Container(amqp_url, sysname="test", config=settings) as container:
        await container.start_app("identity")
        await container.terminate_process(await container.spawn(Late))
        desk = container.endpoint.auth
        issuer = issuer_of(container.endpoint.permission, container.settings.identity, "test")
        assert issuer is not None
        token = issuer.token("ada", life=1.0)
        with acting(token):
            await container.publish("news", "a", "stolen")
        over = desk.identify(token).expires
        await IdentityClient(container).revoke(actor="ada", reason="it was stolen")
        await until(lambda: time.time() > over)
        later = time.time() + desk.max_life + 3600.0  # what is over by then is forgotten
        desk._revocations.learn([Revocation("token", "another", 0.0, later + 1.0)], later)
        late = container.processes[await container.spawn(Late)]
        assert isinstance(late, Late)
        letters = await dead_letters(container, "sub.news.late", 1)
        assert "was revoked (it was stolen)" in letters[0].envelope.headers["cause"]
        assert late.heard == []
