"""T9: a consumer that is too slow holds no more than its mailbox, and loses nothing.

Calls beyond it are answered 503 with the seconds after which to try again; messages one way wait on
the ladder, are handled once there is room, and were not tried in vain meanwhile.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ion import Container, IonError, Unavailable
from tests.journeys.faults.waiting import until

pytestmark = pytest.mark.amqp

MAILBOX = 20
CALLS = (500, 20_000)
AT_ONCE = 100
ONE_WAY = (200, 5_000)
FILLING = "x" * 100_000
GROWTH = 25 << 20  # bytes; the flood of the short form is twice that
TIMEOUT = 60.0
CONFIG = {
    "services.gated": {"concurrency": 1, "mailbox": MAILBOX, "retry_delays": [0.1]},
    "messaging.rpc_timeout": TIMEOUT,
}


def resident(pid: int) -> int:
    """Return the resident memory of a process, bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def test_calls_are_shed(fleet, amqp_url, effects, new_tally, size):
    tally = new_tally("T9 calls to a slow consumer")
    args = {"effects": str(effects.path), "gate": "before"}
    member = await fleet.host(amqp_url, "slow", "Gated", args=args, config=CONFIG)
    errors: list[IonError] = []
    async with Container(amqp_url, sysname="slow", config=CONFIG) as container:
        before = resident(member.pid)
        total = size(*CALLS)
        left = iter(range(total))

        async def caller() -> None:
            for number in left:
                tally.sent += 1
                content = {"key": f"call-{number}", "filling": FILLING}
                try:
                    await container.rpc_send("gated", "weigh", content)
                except IonError as error:
                    errors.append(error)
                else:
                    tally.answered += 1

        async def all_but_the_mailbox() -> bool:
            return len(errors) >= total - MAILBOX - 1

        calling = asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        await until(all_but_the_mailbox, "calls are kept waiting", size(60, 600))
        grown = resident(member.pid) - before
        member.go()
        await calling
    for error in errors:
        tally.ended(error)
    tally.effects = effects.all()
    tally.lost = tally.sent - tally.ends
    tally.notes["grown"] = f"{grown / 1e6:.0f}MB of {tally.sent * len(FILLING) / 1e6:.0f}MB"
    assert tally.lost == 0
    assert tally.answered == MAILBOX + 1
    assert {type(error) for error in errors} == {Unavailable}
    assert all(error.details["retry-after"] > 0 for error in errors)
    assert grown < GROWTH
    assert tally.executed == tally.answered


async def test_messages_one_way_wait_elsewhere(fleet, amqp_url, effects, new_tally, size):
    tally = new_tally("T9 one way to a slow consumer")
    args = {"effects": str(effects.path), "gate": "before"}
    member = await fleet.host(amqp_url, "slow", "Gated", args=args, config=CONFIG)
    keys = [f"message-{number}" for number in range(size(*ONE_WAY))]
    async with Container(amqp_url, sysname="slow", config=CONFIG) as container:
        transport = container.transport
        for key in keys:
            await container.send("gated", "do", {"key": key})
        tally.sent = len(keys)

        async def on_the_ladder() -> bool:
            info = await transport.queue_info("slow.retry.100")
            return info is not None and info.messages > 0

        await until(on_the_ladder, "nothing was shed")
        member.go()

        async def all_done() -> bool:
            return len(effects.all()) >= len(keys)

        await until(all_done, "messages are missing", size(60, 600))
        tally.effects = effects.all()
        tally.settle(keys)
        info = await transport.queue_info("slow.gated.dlq")
        tally.notes["dead"] = info.messages
    assert tally.lost == 0
    assert tally.executed == len(keys)
    assert {effect.attempt for effect in tally.effects} == {1}
    assert info.messages == 0
