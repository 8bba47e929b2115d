"""Conversations as nobody should hold them: what each bad message does is in the reference.

Raw envelopes are sent through the transport, once as a caller and once as a service would send
them. Nothing may raise where messages are handed out, and no call may stay open.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ion import (
    Container,
    ConversationError,
    DeadlineExceeded,
    IonError,
    RequestConversation,
    Service,
)
from ion.messaging.codec import decode, encode
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec

Answers = asyncio.Queue[Envelope]


class Victim(Service, name="victim"):
    """Is spoken to badly."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = 0
        self.go_on = asyncio.Event()

    async def op_plain(self) -> str:
        return "fine"

    async def op_wait(self) -> str:
        await self.go_on.wait()
        return "waited"

    async def op_count(self, n: int = 1000) -> AsyncIterator[int]:
        try:
            for number in range(n):
                self.made += 1
                yield number
        finally:
            self.closed += 1

    async def op_talk(self) -> list[Any]:
        return [content async for content in self.message]


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def victim(container: Container) -> Victim:
    process = container.processes[await container.spawn(Victim)]
    assert isinstance(process, Victim)
    return process


class Raw:
    """A party on the bus that says what it wants: a caller with a queue, or a service."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.transport = container.transport
        self.came: Answers = asyncio.Queue()

    async def listen(self, queue: str, key: str = "") -> Raw:
        """Take what comes by a queue of that name, bound to the exchange space with ``key``."""
        await self.transport.declare_queue(QueueSpec(queue, durable=False, exclusive=True))
        if key:
            await self.transport.bind(queue, "test.xs", key)
        take = lambda delivery: self.came.put_nowait(delivery.envelope)  # noqa: E731
        await self.transport.consume(queue, take, prefetch=1000, no_ack=True)
        return self

    def ask(self, op: str, content: Any = None, id: str = "1", **headers: Any) -> None:
        """Send a request to the victim."""
        body, _ = encode({} if content is None else content)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Envelope(op, body, reply_to="raw", correlation_id=id, headers=headers)
        self.transport.publish("test.xs", "victim", request)

    def say(self, performative: Any, content: Any = None, id: str = "1", **headers: Any) -> None:
        """Say something more to the victim, on the way that control takes."""
        body = encode(content)[0] if content is not None else b""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        envelope = Envelope(
            "", body, reply_to="raw", correlation_id=id,
            headers={"performative": performative, **named},
        )  # fmt: skip
        self.transport.publish("test.xs", "ctl.victim", envelope)

    def answer(
        self, request: Envelope, performative: Any, content: Any = None, **headers: Any
    ) -> None:
        """Answer a request."""
        body, _ = encode(content)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        envelope = Envelope(
            request.op, body, correlation_id=request.correlation_id,
            headers={"performative": performative, **named},
        )  # fmt: skip
        self.transport.publish("", request.reply_to, envelope)

    async def next(self) -> Envelope:
        """Return what came next."""
        return await asyncio.wait_for(self.came.get(), 10)

    async def nothing_more(self) -> None:
        """See that nothing is left, and that the victim still answers."""
        self.ask("plain", id="the last one")
        answer = await self.next()
        assert answer.correlation_id == "the last one", answer
        assert decode(answer.body, answer.content_type) == "fine"
        await until(lambda: not self.container.endpoint.calls)
        assert self.came.empty()


@pytest.fixture
async def caller(container: Container, victim: Victim) -> Raw:
    return await Raw(container).listen("raw")


@pytest.fixture
async def service(container: Container) -> Raw:
    return await Raw(container).listen("test.fake", "fake")


@pytest.fixture(autouse=True)
def nobody_raises(caplog: pytest.LogCaptureFixture) -> Any:
    yield
    raised = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert not raised, "nothing may raise where messages are handed out"


def seen(container: Container) -> dict[str, int]:
    """Return what the endpoint has counted of bad messages."""
    endpoint = container.endpoint
    table = {"late": endpoint.conversations.late, "unknown": endpoint.conversations.unknown}
    return {**table, **endpoint.counts}


# bad answers, to one who asked


async def test_answers_to_unknown_and_ended_conversations_are_dropped(
    container: Container, victim: Victim
) -> None:
    raw = Raw(container)
    queue = container.endpoint.reply_queue
    raw.answer(Envelope(reply_to=queue, correlation_id="never was"), "inform_result", 1)
    raw.answer(Envelope(reply_to=queue), "inform_result", 1)
    await until(lambda: seen(container)["unknown"] == 2)
    with pytest.raises(DeadlineExceeded):
        await container.rpc_send("victim", "wait", timeout=0.1)
    ended = next(reversed(container.endpoint.conversations._tombstones))
    raw.answer(Envelope(reply_to=queue, correlation_id=ended), "inform_result", 1)
    await until(lambda: seen(container)["late"] >= 1)
    assert not container.endpoint.conversations.open


NOT_OF_AN_RPC = (
    "agree", "progress", "inform", "credit", "cancel", "refuse", "timeout", "request", "praise",
    ["inform_result"], 7, {"a": 1},
)  # fmt: skip


async def test_what_does_not_belong_into_an_rpc_is_dropped(
    container: Container, service: Raw
) -> None:
    for number, performative in enumerate(NOT_OF_AN_RPC, 1):
        call = asyncio.ensure_future(container.rpc_send("fake", "x"))
        request = await service.next()
        service.answer(request, performative, "forged", sender="nobody.1")
        service.answer(request, "inform_result", "true")
        service.answer(request, "inform_result", "twice")
        assert await asyncio.wait_for(call, 10) == "true"
        await until(lambda n=number: seen(container)["unknown"] + seen(container)["late"] == n)
        assert seen(container)["disallowed"] == number, performative
        assert not container.endpoint.conversations.open


async def ask(container: Container, service: Raw) -> tuple[RequestConversation, Envelope]:
    conversation = container.request("fake", "x")
    return conversation, await service.next()


async def test_a_request_takes_nothing_out_of_order(container: Container, service: Raw) -> None:
    conversation, request = await ask(container, service)
    service.answer(request, "progress", "before agree")
    service.answer(request, "agree")
    service.answer(request, "agree")  # as who gets it again does, after a crash
    service.answer(request, "refuse", "after agree")
    service.answer(request, "progress", 1, conv_seq="x")
    service.answer(request, "timeout")
    service.answer(request, "inform_result", "done")
    service.answer(request, "agree")
    service.answer(request, "failure", {"code": 500})
    assert [step async for step in conversation] == [1]
    assert await conversation == "done"
    await until(lambda: seen(container)["unknown"] + seen(container)["late"] == 2)
    assert seen(container)["disallowed"] == 3
    assert not container.endpoint.conversations.open


async def test_an_agree_of_somebody_else_changes_nothing_but_the_state(
    container: Container, service: Raw
) -> None:
    conversation, request = await ask(container, service)
    for sender in (["x"], "", "no dots", "x" * 300 + ".1", 7, "somebody.else"):
        service.answer(request, "agree", sender=sender)
        await until(lambda: conversation.state == "AGREED")
    service.answer(request, "inform_result", "mine")
    assert await conversation == "mine"
    conversation, request = await ask(container, service)
    service.answer(request, "agree", sender="x" * 300 + ".1")
    await until(lambda: conversation.state == "AGREED")
    conversation.cancel()
    with pytest.raises(ConversationError):
        await conversation
    assert not container.endpoint.conversations.open


@pytest.mark.parametrize(
    ("performative", "code"), [("refuse", 403), ("cancel", 499), ("failure", 500)]
)
async def test_ends_of_any_content_are_errors(
    container: Container, service: Raw, performative: str, code: int
) -> None:
    for content in (None, "because", ["x"], {}, {"code": "x", "details": 3}):
        conversation, request = await ask(container, service)
        service.answer(request, performative, content)
        with pytest.raises(IonError) as caught:
            await conversation
        assert caught.value.code == (500 if isinstance(content, dict) else code)
        assert not container.endpoint.conversations.open


async def test_a_gap_fails_a_stream_and_tells_the_other_side(
    container: Container, service: Raw
) -> None:
    await container.transport.bind("test.fake", "test.xs", "ctl.fake")
    items = container.stream("fake", "x")
    first = asyncio.ensure_future(anext(items))
    request = await service.next()
    assert (request.headers["protocol"], request.headers["credit"]) == ("stream", 64)
    service.answer(request, "inform", "a", conv_seq=2)
    service.answer(request, "inform", "c", conv_seq=4)
    assert await first == "a"
    with pytest.raises(ConversationError, match="number 3 was lost") as caught:
        await anext(items)
    assert caught.value.details == {"expected": 3, "number": 4}
    cancel = await service.next()
    assert cancel.headers["performative"] == "cancel"
    assert cancel.correlation_id == request.correlation_id
    assert seen(container)["gaps"] == 1
    assert not container.endpoint.conversations.open


async def test_a_lost_last_item_is_noticed_too(container: Container, service: Raw) -> None:
    items = container.stream("fake", "x")
    first = asyncio.ensure_future(anext(items))
    request = await service.next()
    service.answer(request, "inform_result", conv_seq=3)
    with pytest.raises(ConversationError, match="number 2 was lost"):
        await first


async def test_doubled_items_are_dropped_and_unnumbered_ones_taken(
    container: Container, service: Raw
) -> None:
    items = container.stream("fake", "x")
    reading = asyncio.ensure_future(anext(items))
    request = await service.next()
    for number, content in ((2, "a"), (2, "a"), (3, "b"), (2, "a"), (-1, "z")):
        service.answer(request, "inform", content, conv_seq=number)
    for odd in (None, "4", 4.0, [4], True):
        service.answer(request, "inform", "odd", conv_seq=odd)
    service.answer(request, "inform_result", conv_seq=4)
    assert [await reading, *[item async for item in items]] == ["a", "b", *["odd"] * 5]
    assert seen(container)["doubled"] == 3
    assert not container.endpoint.conversations.open


async def test_a_stream_that_is_begun_again_fails(container: Container, service: Raw) -> None:
    items = container.stream("fake", "x")
    reading = asyncio.ensure_future(anext(items))
    request = await service.next()
    first = Envelope("x", encode("a")[0], correlation_id=request.correlation_id,
                     headers={"performative": "inform", "conv-seq": 2})  # fmt: skip
    for run in ("run-1", "run-2"):
        service.transport.publish("", request.reply_to, first.replace(message_id=run))
    assert await reading == "a"
    with pytest.raises(ConversationError, match="begun again"):
        await anext(items)


async def test_more_items_than_there_is_room_for_fail_a_stream(
    container: Container, service: Raw
) -> None:
    items = await container.stream("fake", "x", credit=2).__aenter__()
    request = await service.next()
    for number in range(2, 7):
        service.answer(request, "inform", number, conv_seq=number)
    await until(lambda: items.state == "FAILED")
    assert [await anext(items), await anext(items)] == [2, 3]
    with pytest.raises(ConversationError, match="room"):
        await anext(items)
    assert not container.endpoint.conversations.open


async def test_an_item_that_nobody_can_read_fails_its_reader_alone(
    container: Container, service: Raw, victim: Victim
) -> None:
    items = container.stream("fake", "x")
    reading = asyncio.ensure_future(anext(items))
    request = await service.next()
    bad = Envelope("x", b"\xc1", correlation_id=request.correlation_id,
                   headers={"performative": "inform"})  # fmt: skip
    service.transport.publish("", request.reply_to, bad)
    with pytest.raises(Exception, match="msgpack"):
        await reading
    assert not container.endpoint.conversations.open
    assert await container.rpc_send("victim", "plain") == "fine"


async def test_a_gap_fails_a_generic_conversation_on_both_sides(
    container: Container, service: Raw
) -> None:
    await container.transport.bind("test.fake", "test.xs", "ctl.fake")
    beginning = asyncio.ensure_future(container.converse("fake", "x"))
    request = await service.next()
    service.answer(request, "inform", "before agree")
    service.answer(request, "agree", conv_seq=2)
    service.answer(request, "inform", "late", conv_seq=4)
    talk = await asyncio.wait_for(beginning, 10)
    with pytest.raises(ConversationError, match="number 3 was lost"):
        await talk.hear()
    told = await service.next()
    assert told.headers["performative"] == "failure"
    assert decode(told.body, told.content_type)["type"] == "ConversationError"
    assert seen(container)["disallowed"] == 1
    assert not container.endpoint.conversations.open


# bad requests, and what is said after them


async def test_a_second_request_with_an_open_id_stands_for_itself(
    caller: Raw, victim: Victim
) -> None:
    caller.ask("wait")
    await until(lambda: caller.container.endpoint.calls)
    caller.ask("plain")
    answer = await caller.next()
    assert decode(answer.body, answer.content_type) == "fine"
    victim.go_on.set()
    answer = await caller.next()
    assert decode(answer.body, answer.content_type) == "waited"
    caller.ask("plain")  # the id is free again
    answer = await caller.next()
    assert decode(answer.body, answer.content_type) == "fine"
    await caller.nothing_more()


OUT_OF_TURN = ("credit", "inform", "agree", "inform_result", "failure", "praise", [1], 7)


@pytest.mark.parametrize("op", ["wait", "count", ""])
async def test_what_is_said_out_of_turn_is_not_heard(caller: Raw, victim: Victim, op: str) -> None:
    """Within an rpc, a stream (where credit of no number is none), and to nobody."""
    calls, counts = caller.container.endpoint.calls, caller.container.endpoint.counts
    for number, performative in enumerate(OUT_OF_TURN, 1):
        if op:
            protocol = "stream" if op == "count" else "rpc"
            caller.ask(op, id=f"{number}", protocol=protocol, credit=1)
            await until(lambda: calls)
        caller.say(performative, {"code": 500}, id=f"{number}", conv_seq=9)
        await until(lambda n=number: counts["unheard"] + counts["disallowed"] == n)
        assert len(calls) == bool(op), performative
        caller.say("cancel", id=f"{number}")
        await until(lambda: not calls)
    while not caller.came.empty():  # the items that there was credit for
        assert (await caller.next()).headers["performative"] == "inform"
    await caller.nothing_more()


NO_CREDIT = (0, -1, 2**40, "7", 1.5, True, [1], {"a": 1})


async def test_credit_that_is_none(caller: Raw, victim: Victim) -> None:
    counts = caller.container.endpoint.counts
    for credit in NO_CREDIT:
        caller.ask("count", protocol="stream", credit=credit)
        answer = await caller.next()
        assert (answer.headers["performative"], answer.headers["code"]) == ("failure", 400)
    caller.ask("count", {"n": 4}, protocol="stream", credit=2)
    for number in range(2):
        answer = await caller.next()
        assert decode(answer.body, answer.content_type) == number
    for credit in (*NO_CREDIT, None):
        caller.say("credit", credit=credit)
    await until(lambda: counts["disallowed"] == len(NO_CREDIT) + 1)
    assert victim.made == 2
    caller.say("credit", credit=1_000_000)
    caller.say("credit", credit=1_000_000)
    rest = [await caller.next() for _ in range(3)]
    assert [a.headers["performative"] for a in rest] == ["inform", "inform", "inform_result"]
    assert [a.headers["conv-seq"] for a in rest] == [4, 5, 6]
    await until(lambda: not caller.container.endpoint.calls)
    unheard = counts["unheard"]
    caller.say("credit", credit=5)  # it is over
    await until(lambda: counts["unheard"] == unheard + 1)
    await caller.nothing_more()


async def test_who_gives_no_credit_gets_all(caller: Raw, victim: Victim) -> None:
    caller.ask("count", {"n": 500}, protocol="stream")
    answers = [await caller.next() for _ in range(501)]
    assert [a.headers["conv-seq"] for a in answers] == list(range(2, 503))
    assert {a.correlation_id for a in answers} == {"1"}
    assert answers[-1].headers["performative"] == "inform_result"
    await caller.nothing_more()


async def test_who_stops_reading_loses_the_stream(caller: Raw, victim: Victim) -> None:
    caller.ask("count", protocol="stream", credit=3, timeout=600)
    answers = [await caller.next() for _ in range(4)]
    assert [a.headers["performative"] for a in answers] == ["inform"] * 3 + ["failure"]
    assert answers[-1].headers["code"] == 504
    await until(lambda: victim.closed == 1)
    assert victim.made == 3
    await caller.nothing_more()


async def test_who_is_gone_loses_the_stream_before_its_silence(caller: Raw, victim: Victim) -> None:
    request = Envelope("count", encode({"n": 10**9})[0], reply_to="gone", correlation_id="1",
                       headers={"protocol": "stream", "timeout": 3_600_000})  # fmt: skip
    caller.transport.publish("test.xs", "victim", request)
    await until(lambda: victim.closed == 1)
    await caller.nothing_more()


@pytest.mark.parametrize("when", ["never begun", "over", "twice"])
async def test_a_cancel_of_what_is_not_open_does_no_harm(
    caller: Raw, victim: Victim, when: str
) -> None:
    if when != "never begun":
        caller.ask("wait" if when == "twice" else "plain")
        if when == "over":
            await caller.next()
        else:
            await until(lambda: caller.container.endpoint.calls)
            caller.say("cancel")
    await until(lambda: not caller.container.endpoint.calls)
    caller.say("cancel")
    caller.say("cancel", id="")
    await until(lambda: ("raw", "1") in caller.container.endpoint.cancelled)
    caller.ask("plain")  # cancelled already: it is not run, and its caller is told
    answer = await caller.next()
    assert (answer.headers["code"], answer.headers["performative"]) == (499, "failure")
    caller.ask("plain")
    assert (await caller.next()).headers["performative"] == "inform_result"
    await caller.nothing_more()


async def test_a_generic_conversation_takes_nothing_out_of_order(
    caller: Raw, victim: Victim
) -> None:
    caller.ask("talk", protocol="generic")
    assert (await caller.next()).headers["performative"] == "agree"
    for performative in ("agree", "progress", "credit", "timeout", "praise", 7, None):
        caller.say(performative, "x", conv_seq=2)
    caller.say("inform", "a", conv_seq=2)
    caller.say("inform", "a", conv_seq=2)
    caller.say("inform", "b", conv_seq=3)
    caller.say("inform", "d", conv_seq=5)
    answer = await caller.next()
    assert (answer.headers["performative"], answer.headers["code"]) == ("failure", 400)
    assert "number 4 was lost" in decode(answer.body, answer.content_type)["message"]
    counts = caller.container.endpoint.counts
    assert (counts["doubled"], counts["gaps"]) == (1, 1)
    assert counts["disallowed"] == 6 + 1  # what is None is no text either, and not heard
    await caller.nothing_more()


async def test_an_end_that_nobody_can_read_is_an_end(caller: Raw, victim: Victim) -> None:
    caller.ask("talk", protocol="generic")
    assert (await caller.next()).headers["performative"] == "agree"
    bad = Envelope("", b"\xc1", reply_to="raw", correlation_id="1",
                   headers={"performative": "inform_result"})  # fmt: skip
    caller.transport.publish("test.xs", "ctl.victim", bad)
    assert (await caller.next()).headers["code"] == 400
    await caller.nothing_more()


async def test_clocks_may_differ_by_a_minute(caller: Raw, victim: Victim) -> None:
    """The deadline is so many seconds in the past; a clock that is slow puts it in the future."""
    for seconds, runs in ((0, True), (59, True), (-59, True), (-86_400, True), (62, False)):
        deadline = int((time.time() - seconds) * 1000)
        caller.ask("plain", timeout=5000, deadline=deadline)
        answer = await caller.next()
        assert (answer.headers["performative"] == "inform_result") is runs, seconds
        assert answer.headers.get("code") == (None if runs else 504)
    await caller.nothing_more()


BEGIN_NOTHING: tuple[dict[str, Any], ...] = (
    {"protocol": "gossip"}, {"protocol": 7}, {"protocol": ["rpc"]},
    {"performative": "agree"}, {"performative": "inform_result"}, {"performative": "praise"},
    {"performative": 7}, {"timeout": "5000"}, {"timeout": 1.5}, {"timeout": [5000]},
)  # fmt: skip
DECIDE_NOTHING: tuple[dict[str, Any], ...] = (
    {"deadline": "soon"}, {"deadline": [1]}, {"sender": 7}, {"sender": ["x"]}, {"attempt": "x"},
    {"attempt": -1}, {"conv-seq": "x"}, {"user-id": 7}, {"traceparent": ["x"]},
    {"call-stack": "x"}, {"call-stack": [7, {}]}, {"receiver": 7},
)  # fmt: skip


async def test_headers_that_begin_nothing_are_answered_400(caller: Raw, victim: Victim) -> None:
    for headers in BEGIN_NOTHING:
        caller.ask("plain", **headers)
        answer = await caller.next()
        assert (answer.headers["performative"], answer.headers["code"]) == ("failure", 400), headers
    await caller.nothing_more()


@pytest.mark.parametrize("protocol", ["rpc", "request", "generic", "stream"])
async def test_headers_of_other_types_that_decide_nothing_are_passed_over(
    caller: Raw, victim: Victim, protocol: str
) -> None:
    op, first = {"generic": ("plain", ["agree"]), "stream": ("count", ["inform"])}.get(
        protocol, ("plain", [])
    )
    for headers in DECIDE_NOTHING:
        caller.ask(op, {"n": 1} if op == "count" else {}, protocol=protocol, **headers)
        answers = [(await caller.next()).headers["performative"] for _ in (*first, "last")]
        assert answers == [*first, "inform_result"], headers
    await caller.nothing_more()
