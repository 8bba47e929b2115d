"""T7: the root of a call tree four deep is cancelled, and so are the handlers of all four.

Each service calls the next; the innermost waits for ever. Half of the trees are cancelled when the
innermost works, with the time taken until the last of the four was cancelled; the other half at
any moment, also while their requests and cancellations are on the way past each other: of those
none may survive.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict

import pytest

from ion import Container, Service
from tests.journeys.faults.waiting import until

DEPTH = 4
WITHIN = 0.1  # seconds
AT_LAST = 5.0  # seconds, on any machine
BUSY = 0.05  # of the trees may be late, where others keep the machine busy
TREES = (300, 10_000)
AT_ONCE = 5
TIMEOUT = 120.0  # far: no deadline may do what the cancellation has to


class Trees:
    """What becomes of the handlers of each tree."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = defaultdict(int)
        self.cancelled: dict[str, list[float]] = defaultdict(list)
        self.full: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.gone: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    @property
    def survivors(self) -> int:
        """How many handlers are at work."""
        return sum(self.begun.values()) - sum(map(len, self.cancelled.values()))


class Level(Service, name="level0", version="1.0.0"):
    """Calls the next level, or waits."""

    below = "level1"

    def __init__(self, trees: Trees) -> None:
        self.trees = trees

    async def op_grow(self, tree: str) -> None:
        trees = self.trees
        trees.begun[tree] += 1
        try:
            if self.below:
                await self.rpc_send(self.below, "grow", {"tree": tree}, timeout=TIMEOUT)
            else:
                trees.full[tree].set()
                await asyncio.sleep(TIMEOUT)
        except asyncio.CancelledError:
            trees.cancelled[tree].append(time.monotonic())
            if len(trees.cancelled[tree]) == DEPTH:
                trees.gone[tree].set()
            raise


class Level1(Level, name="level1"):
    below = "level2"


class Level2(Level, name="level2"):
    below = "level3"


class Level3(Level, name="level3"):
    below = ""


LEVELS = (Level, Level1, Level2, Level3)


@pytest.fixture
async def trees(container, other):
    """Two containers host the levels in turns, so that each call goes from one to the other."""
    found = Trees()
    for number, level in enumerate(LEVELS):
        await (container, other)[number % 2].spawn(level, args={"trees": found})
    return found


async def test_all_four_are_cancelled_in_time(trees, container, other, bus, new_tally, size, pulse):
    tally = new_tally(f"T7 {kind(bus)}/cancelled when all four work")
    count = size(*TREES) // 2
    names = iter([f"tree-{number}" for number in range(count)])
    took: list[float] = []

    async def plant() -> None:
        for name in names:
            call = asyncio.create_task(grow(other, name))
            await trees.full[name].wait()
            began = time.monotonic()
            call.cancel()
            async with asyncio.timeout(10):
                await trees.gone[name].wait()
            took.append(max(trees.cancelled[name]) - began)
            assert trees.begun[name] == DEPTH

    await asyncio.gather(*(plant() for _ in range(AT_ONCE)))
    tally.sent = count
    tally.failed["CancelledError"] = count
    late = sum(one > WITHIN + pulse.latest for one in took)
    tally.notes |= {
        "late": late,
        "slowest": f"{max(took) * 1000:.0f}ms",
        "machine": f"+{pulse.latest * 1000:.0f}ms",
        "survivors": trees.survivors,
    }
    assert trees.survivors == 0
    assert max(took) < AT_LAST
    if kind(bus) != "amqp plain":  # the fallback goes by way of more tasks: it is only counted
        assert late <= count * BUSY  # none, on a machine with nothing else to do
    await nothing_is_left(container, other)


async def test_none_survives_whenever_it_is_cancelled(
    trees, container, other, bus, new_tally, size
):
    tally = new_tally(f"T7 {kind(bus)}/cancelled at any moment")
    count = size(*TREES) // 2
    names = iter([f"tree-{number}" for number in range(count)])
    chance = random.Random(7)

    async def plant() -> None:
        for name in names:
            call = asyncio.create_task(grow(other, name))
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)  # some turns of the loop: a moment between two steps
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.01)
            call.cancel()
            await asyncio.wait([call])

    await asyncio.gather(*(plant() for _ in range(AT_ONCE)))
    tally.sent = tally.failed["CancelledError"] = count

    async def none() -> bool:
        return trees.survivors == 0

    try:
        await until(none, "handlers survived their callers", 5)
    finally:
        tally.notes |= {"handlers": sum(trees.begun.values()), "survivors": trees.survivors}
    await nothing_is_left(container, other)


async def grow(caller: Container, tree: str) -> None:
    await caller.rpc_send("level0", "grow", {"tree": tree}, timeout=TIMEOUT)


async def nothing_is_left(*containers: Container) -> None:
    """See no call at work, and none that waits, in any of the containers."""

    async def none() -> bool:
        endpoints = [container.endpoint for container in containers]
        return not any(len(e.calls) + len(e.conversations.open) for e in endpoints)

    await until(none, "calls are left")


def kind(bus: tuple[str, dict[str, object]]) -> str:
    """Return a word for the transport of the fixture ``bus``."""
    url, config = bus
    if url.startswith("memory"):
        return "memory"
    return "amqp" if config["broker.lean"] else "amqp plain"
