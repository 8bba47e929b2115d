"""What a process that ends, or has its mailbox full, does with what it did not do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ion import Container, ReceivedContainerError, Service, Unavailable
from tests.process.delivery import Bus, config, dead_letters, is_empty, running, until

Seen = list[tuple[str, int, bool]]


class Slow(Service, name="slow", concurrency=2):
    """Holds on to each message until it is let go."""

    def __init__(self, seen: Seen, go: asyncio.Event) -> None:
        self.seen = seen
        self.go = go
        self.ended: list[str] = []

    async def op_do(self, what: str) -> str:
        self.seen.append((what, self.message.attempt, self.message.redelivered))
        await self.go.wait()
        self.ended.append(what)
        return what


class Small(Service, name="small", concurrency=1, mailbox=5):
    def __init__(self, go: asyncio.Event) -> None:
        self.go = go
        self.seen: list[tuple[int, int]] = []

    async def op_do(self, number: int) -> int:
        await self.go.wait()
        self.seen.append((number, self.message.attempt))
        return number


async def slow(container: Container, seen: Seen, go: asyncio.Event) -> Slow:
    process = container.processes[await container.spawn(Slow, args={"seen": seen, "go": go})]
    assert isinstance(process, Slow)
    return process


def opened() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


# a full mailbox


async def test_one_way_messages_beyond_the_mailbox_wait_and_none_is_lost(bus: Bus) -> None:
    async with running(bus) as container:
        go = asyncio.Event()
        process: Any = container.processes[await container.spawn(Small, args={"go": go})]
        sends = [container.send("small", "do", {"number": n}) for n in range(200)]
        await asyncio.gather(*sends)
        await until(lambda: container.endpoint.counts["shed"] >= 200)
        go.set()
        await until(lambda: len(process.seen) >= 200)
        await until(lambda: not container.endpoint.calls)
        assert sorted(process.seen) == [(n, 1) for n in range(200)]  # none counted as an attempt
        assert await is_empty(container, "test.small.dlq")


async def test_calls_beyond_the_mailbox_are_told_when_to_come_again(
    bus: Bus, other: Container
) -> None:
    seen: Seen = []
    go = asyncio.Event()
    async with running(bus, services__slow__mailbox=5) as container:
        await slow(container, seen, go)
        calls = [
            asyncio.ensure_future(other.rpc_send("slow", "do", {"what": str(n)}, timeout=60))
            for n in range(20)
        ]
        await until(lambda: sum(call.done() for call in calls) == 13)
        go.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
        assert len(refused) == 13
        assert all(error.details["retry-after"] > 0 for error in refused)
        assert len(seen) == 7


# the end of a process


async def test_a_begun_message_of_a_terminated_process_comes_again(bus: Bus) -> None:
    seen: Seen = []
    async with running(bus, service__attempts=2) as container:
        for attempt in (
            1,
            2,
            3,
        ):  # beyond the limit: an end of a process is not the message's fault
            process = await slow(container, seen, asyncio.Event())
            if attempt == 1:
                await container.send("slow", "do", {"what": "x"})
            await until(lambda: len(seen) == attempt)  # noqa: B023
            await container.terminate_process(process.id, timeout=0)
        process = await slow(container, seen, opened())
        await until(lambda: process.ended)
        assert seen == [("x", 1, False), ("x", 2, True), ("x", 3, True), ("x", 4, True)]
        assert await is_empty(container, "test.slow.dlq")


async def test_a_begun_call_of_a_terminated_process_is_answered(bus: Bus) -> None:
    seen: Seen = []
    async with running(bus) as container:
        process = await slow(container, seen, asyncio.Event())
        call = asyncio.ensure_future(container.rpc_send("slow", "do", {"what": "x"}))
        await until(lambda: seen)
        await container.terminate_process(process.id, timeout=0)
        with pytest.raises(ReceivedContainerError) as caught:
            await call
        assert caught.value.type == "ProcessTerminated"


async def test_at_most_once_a_terminated_process_buries_what_was_begun(bus: Bus) -> None:
    seen: Seen = []
    async with running(bus, services__slow__delivery="at-most-once") as container:
        process = await slow(container, seen, asyncio.Event())
        await container.send("slow", "do", {"what": "x"})
        await until(lambda: seen)
        await container.terminate_process(process.id, timeout=0)
        [letter] = await dead_letters(container, "slow", 1)
        assert letter.envelope.headers["cause-type"] == "ProcessTerminated"


async def test_what_was_not_begun_goes_to_another_instance_at_once_and_counts_nothing(
    bus: Bus, other: Container
) -> None:
    seen: Seen = []
    go = asyncio.Event()
    async with running(bus) as first, running(bus) as second:
        process = await slow(first, seen, go)
        calls = [
            asyncio.ensure_future(other.rpc_send("slow", "do", {"what": f"rpc {n}"}, timeout=60))
            for n in range(10)
        ]
        for n in range(10):
            await other.send("slow", "do", {"what": f"one-way {n}"})
        await until(lambda: process.waiting == 18)
        begun = [what for what, _, _ in seen]
        taking = await slow(second, seen, opened())
        ending = asyncio.ensure_future(first.terminate_process(process.id, timeout=60))
        await until(lambda: len(taking.ended) == 18)
        go.set()
        await ending
        assert await asyncio.gather(*calls) == [f"rpc {n}" for n in range(10)]
        assert process.ended == begun
        assert sorted(what for what, _, _ in seen) == sorted(
            [f"rpc {n}" for n in range(10)] + [f"one-way {n}" for n in range(10)]
        )
        assert {(attempt, redelivered) for _, attempt, redelivered in seen} == {(1, False)}
        assert await is_empty(other, "test.slow.dlq")


@pytest.mark.parametrize("budget", [0.0, 0.3])
async def test_a_container_that_stops_loses_nothing(
    bus: Bus, other: Container, budget: float
) -> None:
    seen: Seen = []
    container = Container(bus[0], sysname="test", config=config(bus))
    await container.start()
    process = await slow(container, seen, asyncio.Event())
    for n in range(300):
        await other.send("slow", "do", {"what": str(n)}, confirm=n == 299)
    await until(lambda: process.waiting == 298)
    await container.stop(timeout=budget)
    assert {attempt for _, attempt, _ in seen} == {1}
    begun = {what for what, _, _ in seen}
    async with running(bus) as again:
        taking = await slow(again, seen, opened())
        await until(lambda: len(taking.ended) >= 300)
        await until(lambda: not again.endpoint.calls)
        assert sorted(taking.ended) == sorted(map(str, range(300)))  # each once
        for what, attempt, redelivered in seen[2:]:
            assert (attempt > 1) == redelivered
            if what not in begun:
                assert attempt == 1, "what was not begun counts for nothing"
        assert await is_empty(other, "test.slow.dlq")


async def test_containers_that_come_and_go_under_load_lose_and_repeat_nothing(
    bus: Bus, other: Container
) -> None:
    # also what is delivered while a consumer is being cancelled counts for nothing
    seen: Seen = []
    rounds, each = 4, 150
    sent = 0
    go = opened()
    keeper = await other.spawn(Slow, args={"seen": seen, "go": go})
    for _ in range(rounds):
        container = Container(bus[0], sysname="test", config=config(bus))
        await container.start()
        await slow(container, seen, go)
        for _ in range(each):
            await other.send("slow", "do", {"what": str(sent)}, confirm=False)
            sent += 1
        await container.stop(timeout=30)
    await until(lambda: len(seen) >= sent)
    await until(lambda: not other.endpoint.calls)
    assert sorted(seen) == sorted((str(n), 1, False) for n in range(sent))
    await other.terminate_process(keeper)
