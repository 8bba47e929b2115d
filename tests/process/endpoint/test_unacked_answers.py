"""Stray, doubled, disordered and undecodable answers, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from ion import (
    ApplicationError,
    CodecError,
    Container,
    IonError,
    ReceivedApplicationError,
    ReceivedContainerError,
    Service,
    Unavailable,
)
from ion.messaging.envelope import Envelope
from ion.messaging.transport import TransportState
from ion.process.endpoint.unacked_answers import DONE, UnackedAnswers
from tests.process.delivery import Bus, running, until


class Oracle(Service, name="oracle"):
    """Shows the request it was sent, and lets the test answer."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Any] = asyncio.Queue()
        self.release = asyncio.Event()

    async def op_ask(self, content: Any, headers: Any, msg: Any) -> str:
        self.asked.put_nowait(headers)
        await self.release.wait()
        return "the oracle's own"


def answer(to: dict[str, Any], content: Any, **headers: Any) -> Envelope:
    return Envelope(
        "ask",
        msgspec.msgpack.encode(content),
        correlation_id=to["conv-id"],
        headers={"performative": "inform_result", **headers},
    )


@pytest.fixture
async def asked(
    container: Container,
) -> AsyncIterator[tuple[Container, Oracle, Any, asyncio.Task[Any]]]:
    process = container.processes[await container.spawn(Oracle)]
    assert isinstance(process, Oracle)
    call = asyncio.create_task(container.rpc_send("oracle", "ask", timeout=20))
    headers = await asyncio.wait_for(process.asked.get(), 5)
    yield container, process, headers, call
    process.release.set()


async def publish(container: Container, to: str, *envelopes: Envelope) -> None:
    for envelope in envelopes:
        await container.transport.publish_confirmed("", to, envelope, timeout=5)


async def test_the_first_answer_counts_and_a_second_is_dropped(asked: Any) -> None:
    container, oracle, request, call = asked
    await publish(
        container, request["reply-to"], answer(request, "first"), answer(request, "second")
    )
    assert await asyncio.wait_for(call, 5) == "first"
    oracle.release.set()
    async with asyncio.timeout(5):
        while container.endpoint.conversations.unknown + container.endpoint.conversations.late < 2:
            await asyncio.sleep(0.01)


async def test_answers_to_nobody_are_counted_and_dropped(container: Container) -> None:
    reply_queue = container.endpoint.reply_queue
    await publish(container, reply_queue, Envelope("x", b"", correlation_id="never"), Envelope())
    async with asyncio.timeout(5):
        while container.endpoint.conversations.unknown < 2:
            await asyncio.sleep(0.01)


async def test_a_late_answer_is_known_as_late(container: Container) -> None:
    pid = await container.spawn(Oracle)
    oracle: Any = container.processes[pid]
    with pytest.raises((TimeoutError, Unavailable)):  # the latter of a broker that is busy, too
        await container.rpc_send("oracle", "ask", timeout=0.5)
    request = await asyncio.wait_for(oracle.asked.get(), 5)
    before = container.endpoint.conversations.late
    await publish(container, request["reply-to"], answer(request, "too late"))
    async with asyncio.timeout(5):
        while container.endpoint.conversations.late == before:
            await asyncio.sleep(0.01)


async def test_what_the_protocol_does_not_allow_is_dropped_and_the_call_goes_on(
    asked: Any,
) -> None:
    container, oracle, request, call = asked
    forged = [answer(request, None, performative=p) for p in ("agree", "progress", "nonsense")]
    await publish(container, request["reply-to"], *forged)
    oracle.release.set()
    assert await asyncio.wait_for(call, 5) == "the oracle's own"


async def test_an_answer_that_cannot_be_read_fails_its_caller_alone(asked: Any) -> None:
    container, _, request, call = asked
    bad = answer(request, None).replace(body=b"\xc1")
    await publish(container, request["reply-to"], bad)
    with pytest.raises(CodecError):
        await asyncio.wait_for(call, 5)


@pytest.mark.parametrize(
    ("headers", "kind", "code"),
    [
        ({}, ReceivedContainerError, 500),
        ({"code": 503}, ReceivedContainerError, 503),
        ({"code": 422}, ReceivedApplicationError, 422),
        ({"code": 7}, ReceivedContainerError, 500),
        ({"code": "422"}, ReceivedContainerError, 500),
    ],
)
async def test_a_foreign_failure_without_performative_is_one(
    asked: Any, headers: dict[str, Any], kind: type[IonError], code: int
) -> None:
    container, _, request, call = asked
    foreign = Envelope(
        "ask",
        msgspec.msgpack.encode("oops"),
        correlation_id=request["conv-id"],
        headers={"status": "ERROR", **headers},
    )
    await publish(container, request["reply-to"], foreign)
    with pytest.raises(kind, match="oops") as raised:
        await asyncio.wait_for(call, 5)
    assert raised.value.code == code


async def test_a_stopping_container_fails_its_open_calls(bus: tuple[str, dict[str, Any]]) -> None:
    class Silent(Service, name="silent"):
        async def op_wait(self) -> None:
            await asyncio.sleep(30)

    async with Container(bus[0], sysname="test", config=bus[1]) as server:
        await server.spawn(Silent)
        caller = Container(bus[0], sysname="test", config=bus[1])
        await caller.start()
        call = asyncio.create_task(caller.rpc_send("silent", "wait"))
        async with asyncio.timeout(5):
            while not server.endpoint.calls:
                await asyncio.sleep(0.01)
        await caller.stop()
        with pytest.raises(Exception, match="stopping") as raised:
            await asyncio.wait_for(call, 5)
        assert getattr(raised.value, "code", None) == 503
        await server.stop(timeout=0.1)


# answers that are kept, for messages that will come again


class Wire:
    """Takes what is published, and lets the test lose the connection."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Envelope]] = []
        self.tell: Any = None

    def on_state(self, callback: Any) -> None:
        self.tell = callback

    def publish(self, exchange: str, key: str, envelope: Envelope, **options: Any) -> None:
        self.sent.append((key, envelope))


def test_kept_answers_are_bounded_and_age() -> None:
    now = 0.0
    answers = UnackedAnswers(Wire(), lambda: now)  # type: ignore[arg-type]
    for n in range(10_005):
        answers.keep(("q", n), Envelope("", b"x"))
    assert len(answers) == 10_000
    assert answers.take(("q", 4)) is None
    assert answers.take(("q", 5)) is not None
    assert answers.take(("q", 5)) is None
    now = 200.0
    answers.keep(("q", "young"), Envelope("", b"y" * 1000))
    now = 301.0
    assert answers.take(("q", 6)) is None
    assert len(answers) == 1
    for n in range(70):
        answers.keep(("big", n), Envelope("", b"z" * (1 << 20)))
    assert len(answers) == 64
    answers.forget(("big", 69))
    answers.keep(("big", 70), Envelope("", b"z" * (1 << 20)))
    assert len(answers) == 64


def test_kept_answers_are_sent_when_the_connection_is_back() -> None:
    wire = Wire()
    answers = UnackedAnswers(wire, lambda: 0.0)  # type: ignore[arg-type]
    answers.keep(("q", 1), Envelope("op"))
    answers.keep(("", "one-way"), DONE)
    wire.tell(TransportState.LOST)
    assert wire.sent == []
    wire.tell(TransportState.CONNECTED)
    assert [(to, envelope.op) for to, envelope in wire.sent] == [("q", "op")]
    assert len(answers) == 2  # whoever gets the message again is answered, too


async def test_an_answer_that_the_broker_does_not_take_is_tried_again(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Quick(Service, name="quick"):
        async def op_do(self) -> str:
            return "done"

    await container.spawn(Quick)
    publish = container.transport.publish
    refusals = 2

    def refuse(exchange: str, key: str, envelope: Envelope, **options: Any) -> None:
        nonlocal refusals
        if envelope.headers.get("performative") == "inform_result" and refusals:
            refusals -= 1
            if refusals:
                reason = "the buffer is full"
                raise Unavailable(reason)
            options["settled"](Unavailable("the broker refused it"))
            return
        publish(exchange, key, envelope, **options)

    monkeypatch.setattr(container.transport, "publish", refuse)
    assert await container.rpc_send("quick", "do", timeout=20) == "done"
    assert refusals == 0
    assert not len(container.endpoint.answers)


class Slow(Service, name="slow"):
    """Answers what it is asked, when it may."""

    def __init__(self) -> None:
        self.may: dict[str, asyncio.Event] = {"old": asyncio.Event(), "new": asyncio.Event()}
        self.begun: list[str] = []

    async def op_echo(self, text: str) -> str:
        self.begun.append(text)
        await self.may[text].wait()
        return text


async def test_an_answer_to_an_earlier_life_of_a_container_is_not_taken(bus: Bus) -> None:
    async with running(bus) as server:
        slow = server.processes[await server.spawn(Slow)]
        assert isinstance(slow, Slow)
        before = Container(bus[0], sysname="test", config={**bus[1], "container.name": "asker"})
        await before.start()
        lost = asyncio.create_task(before.rpc_send("slow", "echo", {"text": "old"}, timeout=30))
        await until(lambda: slow.begun == ["old"])
        await before.kill()  # no cancel is sent
        await asyncio.wait({lost}, timeout=5)
        async with running(bus, container__name="asker") as after:
            call = asyncio.create_task(after.rpc_send("slow", "echo", {"text": "new"}, timeout=30))
            await until(lambda: slow.begun == ["old", "new"])
            slow.may["old"].set()
            await until(lambda: after.endpoint.conversations.unknown == 1 or call.done())
            slow.may["new"].set()
            assert await call == "new"


class Busy(Service, name="busy"):
    """Says when to come again."""

    async def op_say(self, when: str) -> None:
        message = "not now"
        raise ApplicationError(message, code=503, details={"retry-after": float(when)})

    async def op_huge(self) -> None:
        message = "not now"
        raise ApplicationError(message, code=503, details={"retry-after": 10**400})


@pytest.mark.parametrize("when", ["nan", "inf", "-1"])
async def test_advice_that_is_no_time_goes_without_a_header(
    container: Container, other: Container, when: str
) -> None:
    await container.spawn(Busy)
    with pytest.raises(ReceivedContainerError, match="not now") as raised:
        await other.rpc_send("busy", "say", {"when": when}, timeout=10)
    assert raised.value.code == 503
    assert container.state == "ACTIVE"  # RabbitMQ ends the connection over such a header


async def test_advice_that_is_no_number_of_the_wire_is_answered(container: Container) -> None:
    await container.spawn(Busy)
    with pytest.raises(ReceivedContainerError, match="not now"):
        await container.rpc_send("busy", "huge", timeout=10)
