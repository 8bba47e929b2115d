"""To all instances of a service at once; and control that passes whatever waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ion import (
    Container,
    DeadlineExceeded,
    Process,
    Service,
    ServiceNotFound,
    Unavailable,
    connect,
)
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec

Bus = tuple[str, dict[str, Any]]


async def until(condition: Callable[[], Any], timeout: float = 10.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


class Member(Service, name="member", concurrency=1):
    """One of several."""

    def __init__(self, mood: str = "good") -> None:
        self.mood = mood
        self.heard: list[Any] = []
        self.gate = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def op_note(self, n: int) -> None:
        self.heard.append(n)
        if self.mood == "bad":
            message = "in no mood"
            raise RuntimeError(message)

    async def op_mood(self) -> str:
        if self.mood == "bad":
            message = "in no mood"
            raise RuntimeError(message)
        if self.mood == "slow":
            await self.gate.wait()
        return self.mood

    async def op_block(self) -> None:
        self.heard.append("block")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def member(container: Container, **args: Any) -> Member:
    process = container.processes[await container.spawn(Member, args=args)]
    assert isinstance(process, Member)
    return process


async def test_all_instances_hear_it_once(container: Container, other: Container) -> None:
    members = [await member(c) for c in (container, container, other)]
    for n in range(10):
        await other.broadcast("member", "note", {"n": n})
    await container.broadcast("member", "note", {"n": 10}, confirm=False)
    for each in members:
        await until(lambda each=each: len(each.heard) >= 11)
        assert sorted(each.heard) == list(range(11))


async def test_one_that_fails_is_no_hindrance(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    members = [await member(container, mood=mood) for mood in ("bad", "good", "bad")]
    await container.broadcast("member", "note", {"n": 1})
    await container.broadcast("member", "note", {"n": "text"})  # wrong for all of them
    await container.broadcast("member", "note", {"n": 2})
    for each in members:
        await until(lambda each=each: each.heard == [1, 2])
    await until(lambda: container.endpoint.counts["dropped"] == 7)
    assert caplog.text.count("in no mood") >= 4
    info = await container.transport.queue_info("test.processes.dlq")
    assert info is not None
    assert info.messages == 0  # nobody is to tell all of them again


async def test_one_that_ends_is_no_hindrance(container: Container) -> None:
    busy, idle = await member(container), await member(container)
    await container.send(busy.id, "block")
    await until(lambda: busy.heard)
    await container.broadcast("member", "note", {"n": 1})
    await until(lambda: idle.heard == [1] and busy.waiting == 1)
    ending = asyncio.ensure_future(container.terminate_process(busy.id))
    await until(lambda: busy.waiting == 0)  # nobody will begin it any more
    busy.gate.set()
    await ending
    assert busy.heard == ["block"]
    assert idle.heard == [1]


async def test_nobody_to_tell(container: Container) -> None:
    with pytest.raises(ServiceNotFound, match="member"):
        await container.broadcast("member", "note", {"n": 1})
    await container.broadcast("member", "note", {"n": 1}, confirm=False)
    assert await container.ask_all("member", "mood") == []


async def test_ask_all(container: Container, other: Container) -> None:
    good, bad = await member(container), await member(container, mood="bad")
    slow = await member(other, mood="slow")
    answers = {a.pid: a for a in await container.ask_all("member", "mood", timeout=1.0)}
    assert answers.keys() == {good.id, bad.id, slow.id}
    assert answers[good.id].result == "good"
    assert answers[good.id].error is None
    error = answers[bad.id].error
    assert error is not None
    assert (error.code, error.message) == (500, "in no mood")
    assert isinstance(answers[slow.id].error, DeadlineExceeded)
    slow.gate.set()
    process = container.processes[good.id]
    answers = {a.pid: a for a in await process.ask_all("member", "mood", timeout=5.0)}
    assert answers[slow.id].result == "slow"


FLOOD = 20_000


@pytest.mark.parametrize("addressed", ["pid", "service"])
async def test_control_passes_a_flood(
    container: Container,
    bus: Bus,
    addressed: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR, "ion.process.redelivery.retrying")  # what is shed is told, each
    busy = await member(container)
    async with connect(bus[0], sysname="test", config=bus[1]) as operator:
        call = asyncio.ensure_future(operator.rpc_send(busy.id, "block", timeout=60))
        await until(lambda: busy.heard)
        await flood(bus[0], busy.id if addressed == "pid" else "member")
        with in_no_time(container, busy):
            assert await operator.rpc_send(busy.id, "ping", timeout=30) == {"pong": "pong"}
        pongs = await operator.ask_all("member", "ping", timeout=60)
        assert [pong.pid for pong in pongs] == [busy.id]
        with in_no_time(container, busy):
            call.cancel()
            async with asyncio.timeout(30):
                await busy.cancelled.wait()
    await container.kill()  # to give back what waits would take its time


@contextlib.contextmanager
def in_no_time(container: Container, busy: Member) -> Iterator[None]:
    """See that something takes less than a second or, where all is slow, passes the flood."""
    began = time.monotonic()
    yield
    counts = container.endpoint.counts
    came = busy.waiting + counts["shed"]
    assert time.monotonic() - began < 1 or came < FLOOD - 1000


async def flood(url: str, to: str) -> None:
    """Publish as fast as the transport takes it, on a connection of its own."""
    envelope = Envelope("note", b"\x81\xa1n\x01")
    async with connect(url, sysname="test") as flooding:
        transport = flooding.endpoint.transport
        for n in range(FLOOD):
            if not transport.writable:
                await transport.wait_writable(30)
            transport.publish("test.xs", to, envelope)
            if not n % 500:
                await asyncio.sleep(0)  # others have their turn


async def test_a_busy_process_answers_pings_unless_it_has_its_own(container: Container) -> None:
    class Own(Process):
        gate: asyncio.Event

        async def op_ping(self) -> dict[str, str]:
            return {"pong": "mine"}

        async def op_block(self) -> None:
            await self.gate.wait()

    class Plain(Process):
        gate: asyncio.Event

        async def op_block(self) -> None:
            await self.gate.wait()

    plain, own = [container.processes[await container.spawn(cls)] for cls in (Plain, Own)]
    calls = []
    for process in (plain, own):
        process.gate = asyncio.Event()  # type: ignore[attr-defined]
        calls.append(asyncio.ensure_future(container.rpc_send(process.id, "block")))
        await until(lambda process=process: process.describe()["active"] == 1)
    assert await container.rpc_send(plain.id, "ping") == {"pong": "pong"}
    with pytest.raises(DeadlineExceeded):
        await container.rpc_send(own.id, "ping", timeout=0.2)
    for process in (plain, own):
        process.gate.set()  # type: ignore[attr-defined]
    await asyncio.gather(*calls)
    assert await container.rpc_send(own.id, "ping") == {"pong": "mine"}


async def test_a_full_mailbox_says_when_to_come_again(container: Container) -> None:
    class Slow(Process):
        mailbox = 10

        async def op_work(self) -> None:
            await asyncio.sleep(0.05)

    pid = await container.spawn(Slow)
    calls = [asyncio.ensure_future(container.rpc_send(pid, "work")) for _ in range(11)]
    process = container.processes[pid]
    await until(lambda: process._handled >= 3)
    calls += [asyncio.ensure_future(container.rpc_send(pid, "work")) for _ in range(10)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    shed = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
    assert shed
    # ten wait, at 50 ms or more each
    assert all(0.45 <= error.details["retry-after"] <= 10 for error in shed), shed


async def test_the_header_says_it_too(container: Container) -> None:
    class Full(Process):
        mailbox = 0

        async def op_work(self) -> None:
            await asyncio.sleep(60)

    pid = await container.spawn(Full)
    call = asyncio.ensure_future(container.rpc_send(pid, "work"))
    await until(lambda: container.processes[pid].describe()["active"] == 1)
    transport = container.transport
    answers: list[Envelope] = []
    queue = await transport.declare_queue(QueueSpec("answers", durable=False, exclusive=True))
    await transport.consume(queue, lambda d: answers.append(d.envelope), prefetch=1, no_ack=True)
    transport.publish("test.xs", pid, Envelope("work", reply_to=queue, correlation_id="1"))
    await until(lambda: answers)
    assert answers[0].headers["code"] == 503
    assert 0.1 <= answers[0].headers["retry-after"] <= 60
    call.cancel()
