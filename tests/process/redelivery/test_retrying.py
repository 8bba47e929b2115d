"""The ladder: what nobody awaits an answer to is tried again, then buried with its cause."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from ion import ApplicationError, Container, Service
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec
from tests.process.delivery import (
    DELAYS,
    Bus,
    dead_letters,
    is_empty,
    message,
    running,
    until,
)

XS = "test.xs"


class Brittle(Service, name="brittle", version="2.0.0"):
    """Fails as often as it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bool]] = []
        self.times: list[float] = []
        self.headers: list[dict[str, Any]] = []

    async def op_fail(self, times: int = 1000, code: int = 500) -> None:
        call = self.message
        self.seen.append((call.attempt, call.redelivered))
        self.times.append(time.monotonic())
        self.headers.append(call.headers)
        if len(self.seen) <= times:
            raise ApplicationError("as told", code=code) if code != 500 else ValueError("ä" * 1500)


async def spawned(container: Container) -> Brittle:
    process = container.processes[await container.spawn(Brittle)]
    assert isinstance(process, Brittle)
    return process


async def publish(container: Container, key: str, *envelopes: Envelope) -> None:
    for envelope in envelopes:
        await container.transport.publish_confirmed(XS, key, envelope, mandatory=True, timeout=10)


@pytest.mark.parametrize("key", ["brittle", "brittle.v2"])
async def test_five_attempts_later_and_later_then_the_dead_letters(bus: Bus, key: str) -> None:
    async with running(bus) as container:
        process = await spawned(container)
        before = int(time.time() * 1000)
        await container.send(key, "fail", {})
        [letter] = await dead_letters(container, key, 1)
        assert process.seen == [(1, False), (2, True), (3, True), (4, True), (5, True)]
        pauses = [b - a for a, b in zip(process.times, process.times[1:], strict=False)]
        assert all(p >= d for p, d in zip(pauses, [*DELAYS, DELAYS[-1], DELAYS[-1]], strict=True))
        headers = letter.envelope.headers
        assert (headers["attempt"], headers["cause-code"]) == (5, 500)
        assert headers["cause-type"] == "ValueError"
        assert headers["cause"] == "ä" * 1000
        assert headers["dead-from"] == f"test.{key}"
        assert headers["dead-by"] == process.id
        assert headers["receiver"] == key
        assert before <= headers["dead-at"] <= int(time.time() * 1000) + 1
        assert letter.envelope.persistent
        assert container.endpoint.counts["dead-lettered"] == 1
        assert container.endpoint.counts["retried"] == 4
        assert not container.endpoint.calls


async def test_what_goes_well_the_second_time_is_done(bus: Bus) -> None:
    async with running(bus) as container:
        process = await spawned(container)
        await container.send("brittle", "fail", {"times": 1})
        await until(lambda: len(process.seen) == 2)
        await until(lambda: not container.endpoint.calls)
        assert await is_empty(container, "test.brittle.dlq")


@pytest.mark.parametrize("persistent", [True, False])
async def test_a_copy_is_the_same_message(bus: Bus, persistent: bool) -> None:
    # CC and user-id: the broker would route by the one, and refuse another login's copy with both
    async with running(bus) as container:
        process = await spawned(container)
        await container.transport.declare_queue(QueueSpec("cc"))
        headers = {"mine": [1, {"a": b"b"}], "x-own": "kept", "CC": ["cc"], "user-id": "eve"}
        headers["receiver"] = "somebody.else"  # where it was sent to is not the sender's to say
        sent = message(
            "fail",
            {"times": 2},
            message_id="m-1",
            timestamp=1234,
            persistent=persistent,
            headers=headers,
        )
        await publish(container, "brittle", sent)
        await until(lambda: len(process.seen) == 3)
        for seen in process.headers:
            assert seen["mine"] == [1, {"a": b"b"}]
            assert (seen["x-own"], seen["user-id"], seen["message-id"]) == ("kept", "eve", "m-1")
        assert process.headers[-1]["receiver"] == "brittle"
        assert await is_empty(container, "cc")


async def test_a_dead_letter_holds_the_message_as_it_came(bus: Bus) -> None:
    async with running(bus) as container:
        await spawned(container)
        sent = message("fail", {"code": 418}, message_id="m-2", correlation_id="k", priority=3)
        await publish(container, "brittle", sent)
        [letter] = await dead_letters(container, "brittle", 1)
        dead = letter.envelope
        assert (dead.op, dead.body, dead.content_type) == (sent.op, sent.body, sent.content_type)
        assert (dead.message_id, dead.correlation_id, dead.priority) == ("m-2", "k", 3)
        assert dead.headers["cause-code"] == 418


BAD = {
    "application error": (message("fail", {"code": 404}), 404, "ApplicationError"),
    "unknown op": (message("nonsense"), 404, "OpNotFound"),
    "undecodable": (Envelope("fail", b"\xc1"), 400, "CodecError"),
    "content type": (message("fail").replace(content_type="text/odd"), 415, None),
    "oversized": (message("fail", {"x": "x" * 3000}), 413, "ContentTooLarge"),
    "expired": (message("fail", headers={"timeout": 0}), 504, "DeadlineExceeded"),
    "long ago": (message("fail", headers={"deadline": 1}), 504, "DeadlineExceeded"),
    "unknown key": (message("fail", {"what": 1}), 400, "BadRequest"),
    "protocol": (message("fail", headers={"protocol": 7}), 400, "BadRequest"),
    "timeout header": (message("fail", headers={"timeout": "soon"}), 400, "BadRequest"),
    "gateway": (message("fail", {"code": 504}), 504, "ApplicationError"),
}


async def test_what_can_never_go_well_is_buried_at_once(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(bus, messaging__max_content=2000) as container:
        await spawned(container)
        with caplog.at_level(logging.WARNING, "ion.process.redelivery.retrying"):
            for name, (envelope, _, _) in BAD.items():
                await publish(container, "brittle", envelope.replace(message_id=name))
            letters = await dead_letters(container, "brittle", len(BAD))
        by_name = {letter.envelope.message_id: letter.envelope for letter in letters}
        for name, (envelope, code, type_) in BAD.items():
            headers = by_name[name].headers
            assert (headers["cause-code"], headers["attempt"]) == (code, 1), name
            assert type_ in (None, headers["cause-type"]), name
            assert by_name[name].body == envelope.body
        lines = [r.getMessage() for r in caplog.records if "dead-lettered" in r.getMessage()]
        assert len(lines) == len(BAD)
        assert not container.endpoint.calls


async def test_what_is_sent_to_a_pid_is_tried_once(bus: Bus) -> None:
    async with running(bus) as container:
        process = await spawned(container)
        await container.send(process.id, "fail", {})
        [letter] = await dead_letters(container, "processes", 1)
        assert process.seen == [(1, False)]
        assert letter.envelope.headers["receiver"] == process.id
        assert letter.envelope.headers["dead-from"] == f"test.{container.id}"


@pytest.mark.parametrize("attempt", [0, -1, "2", 2.5, None, [1], 2**40])
async def test_an_attempt_that_is_no_number_counts_as_the_first(bus: Bus, attempt: Any) -> None:
    async with running(bus) as container:
        process = await spawned(container)
        await publish(
            container, "brittle", message("fail", {"times": 0}, headers={"attempt": attempt})
        )
        await until(lambda: process.seen)
        assert process.seen == [(1, False)]


@pytest.mark.parametrize("what", ["queue", "exchange", "both"])
async def test_a_ladder_that_was_deleted_is_made_again(bus: Bus, what: str) -> None:
    async with running(bus) as container:
        process = await spawned(container)
        for delay in DELAYS:
            name = f"test.retry.{int(delay * 1000)}"
            if what != "exchange":
                await container.transport.delete_queue(name)
            if what != "queue":
                await container.transport.delete_exchange(name)
        await container.send("brittle", "fail", {"times": 2}, confirm=False)
        await until(lambda: len(process.seen) == 3)
        await until(lambda: not container.endpoint.republisher.waiting)
        assert await is_empty(container, "test.brittle")


async def test_a_queue_for_dead_letters_that_was_deleted_is_made_again(bus: Bus) -> None:
    async with running(bus) as container:
        await spawned(container)
        await container.transport.delete_queue("test.brittle.dlq")
        await container.send("brittle", "fail", {"code": 400})
        await until(lambda: container.endpoint.republisher.waiting)
        await until(lambda: not container.endpoint.republisher.waiting)
        [letter] = await dead_letters(container, "brittle", 1)
        assert letter.envelope.headers["cause-code"] == 400


async def test_a_full_ladder_makes_messages_wait_where_they_are(bus: Bus) -> None:
    # the ladder's queue, as if 100,000 waited there: it refuses
    async with running(bus) as container:
        spec = QueueSpec(
            "test.retry.20",
            arguments={
                "x-message-ttl": 20,
                "x-dead-letter-exchange": "",
                "x-max-length": 0,
                "x-overflow": "reject-publish",
            },
        )
        process = await spawned(container)
        await container.transport.delete_queue("test.retry.20")
        await container.transport.declare_queue(spec)
        await container.transport.bind("test.retry.20", "test.retry.20", "#")
        await container.send("brittle", "fail", {"times": 1})
        await until(lambda: container.endpoint.republisher.waiting)
        assert len(process.seen) == 1
        await container.transport.delete_queue("test.retry.20")  # and there is room again
        await until(lambda: len(process.seen) == 2)
        assert process.seen[-1] == (2, True)


async def test_the_handler_of_a_copy_meets_the_interceptors_once_more_from_the_start(
    bus: Bus,
) -> None:
    # each attempt takes the message as it came, not what an interceptor made of the one before
    more = {"messaging__interceptors__in": ["tests.process.delivery:unwrap"]}
    async with running(bus, **more) as container:
        process = await spawned(container)
        body = b"wrapped:" + message("x", {"times": 2}).body
        await publish(container, "brittle", message("fail").replace(body=body))
        await until(lambda: len(process.seen) == 3)


async def test_many_failures_are_all_buried_once(bus: Bus) -> None:
    async with running(bus, service__attempts=2) as container:
        await spawned(container)
        sends = [container.send("brittle", "fail", {}, message_id=str(n)) for n in range(200)]
        await asyncio.gather(*sends)
        letters = await dead_letters(container, "brittle", 200)
        assert {letter.envelope.message_id for letter in letters} == {str(n) for n in range(200)}
        assert {letter.envelope.headers["attempt"] for letter in letters} == {2}
        assert await is_empty(container, "test.brittle.dlq")
