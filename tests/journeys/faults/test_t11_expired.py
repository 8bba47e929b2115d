"""T11: what has expired is not executed, wherever it waited; what is live is, whatever the clocks.

The deadline that counts is what was left when the message was sent, from when it arrives: clocks
need not agree. Only a wait in the broker's queue is beyond that measure; there, the deadline as a
time of day decides, once it is past by more than clocks may differ.
"""

from __future__ import annotations

import asyncio

import pytest

from ion import Container, IonError
from tests.journeys.faults.waiting import until

pytestmark = pytest.mark.amqp

SHORT = 0.3
ONE = {"services.gated": {"concurrency": 1, "prefetch": 20, "retry_delays": [0.2]}}
COUNT = (10, 500)


async def calls(container, service, keys, timeout, tally):
    """Make calls at once, and count how they end."""

    async def call(key: str) -> None:
        tally.sent += 1
        try:
            await container.rpc_send(service, "do", {"key": key}, timeout=timeout)
        except IonError as error:
            tally.ended(error)
        else:
            tally.ended(None)

    await asyncio.gather(*(call(key) for key in keys))


def keys_of(count: int) -> list[str]:
    return [f"late-{number}" for number in range(count)]


async def test_in_the_mailbox(fleet, amqp_url, effects, new_tally, size):
    tally = new_tally("T11 expired in the mailbox")
    args = {"effects": str(effects.path), "gate": "before"}
    member = await fleet.host(amqp_url, "late", "Gated", args=args, config=ONE)
    async with Container(amqp_url, sysname="late") as container:
        first = asyncio.create_task(container.rpc_send("gated", "do", {"key": "first"}, timeout=30))
        await member.said("at the gate")
        await calls(container, "gated", keys_of(size(*COUNT)), SHORT, tally)
        member.go()
        await first
        await container.rpc_send("gated", "do", {"key": "last"}, timeout=30)
    tally.effects = effects.all()
    assert tally.failed == {"DeadlineExceeded": tally.sent}
    assert [effect.key for effect in tally.effects] == ["first", "last"]


async def test_in_the_queue(fleet, amqp_url, effects, new_tally, size):
    """Nobody consumes; the one who comes has a clock that agrees to a tenth of a second."""
    tally = new_tally("T11 expired in the queue")
    args = {"effects": str(effects.path)}
    config = {"messaging.clock_skew": 0.1}
    member = await fleet.host(amqp_url, "late", "Plain", args=args)
    await member.stop()
    async with Container(amqp_url, sysname="late") as container:
        await calls(container, "plain", keys_of(size(*COUNT)), SHORT, tally)
        await asyncio.sleep(0.2)  # beyond the difference of clocks
        await fleet.host(amqp_url, "late", "Plain", args=args, config=config)
        await container.rpc_send("plain", "do", {"key": "last"}, timeout=30)

        async def empty() -> bool:
            info = await container.transport.queue_info("late.plain")
            return info.messages == 0

        await until(empty, "they stay in the queue")
    tally.effects = effects.all()
    assert tally.failed == {"Unavailable": tally.sent}
    assert [effect.key for effect in tally.effects] == ["last"]


async def test_on_the_ladder(fleet, amqp_url, effects, new_tally, size):
    """A container is killed with the call; what is left of its time is less than a step."""
    tally = new_tally("T11 expired on the ladder")
    args = {"effects": str(effects.path), "gate": "before"}
    first = await fleet.host(amqp_url, "late", "Gated", args=args)
    async with Container(amqp_url, sysname="late") as container:
        keys = keys_of(size(10, 50))  # no more than are handled at a time
        under_way = asyncio.create_task(calls(container, "gated", keys, 1.0, tally))
        for _ in keys:
            await first.said("at the gate")
        await first.kill()
        config = {"service.retry_delays": [1.0]}
        args["gate"] = ""
        await fleet.host(amqp_url, "late", "Gated", args=args, config=config)
        await under_way
        await container.rpc_send("gated", "do", {"key": "last"}, timeout=30)
    tally.effects = effects.all()
    assert set(tally.failed) <= {"Unavailable", "DeadlineExceeded"}
    assert tally.ends == tally.sent
    assert [effect.key for effect in tally.effects] == ["last"]


@pytest.mark.parametrize("clock", ["ahead", "behind"])
async def test_a_live_call_is_handled_whatever_the_clock(
    clock, fleet, amqp_url, effects, new_tally, size
):
    tally = new_tally(f"T11 live, clock a minute {clock}")
    await fleet.host(amqp_url, "late", "Plain", args={"effects": str(effects.path)})
    config = {"messaging.interceptors.out": [f"tests.journeys.faults.actors:{clock}"]}
    async with Container(amqp_url, sysname="late", config=config) as container:
        await calls(container, "plain", keys_of(size(*COUNT)), 30.0, tally)
    tally.effects = effects.all()
    assert tally.answered == tally.sent == tally.executed
