"""Deadlines of many calls share one timer; none is lost, none fires early."""

from __future__ import annotations

import asyncio

from ion.process.deadlines import TICK, Deadlines


class Item:
    """Something with a deadline."""

    def __init__(self) -> None:
        self.bucket: set[object] | None = None
        self.fired = asyncio.get_running_loop().create_future()

    def expire(self) -> None:
        self.fired.set_result(asyncio.get_running_loop().time())


async def test_each_fires_after_its_deadline_and_within_two_ticks_of_loop_time() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    due = [loop.time() + delay for delay in (0.05, 0.01, 0.03, 0.03)]
    items = [Item() for _ in due]
    for item, at in zip(items, due, strict=True):
        deadlines.add(item, at)
    fired = await asyncio.wait_for(asyncio.gather(*(item.fired for item in items)), 5)
    assert all(at >= deadline for at, deadline in zip(fired, due, strict=True))
    assert len(deadlines) == 0


async def test_a_discarded_one_does_not_fire_and_leaves_nothing() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    kept, dropped = Item(), Item()
    deadlines.add(dropped, loop.time() + TICK)
    deadlines.add(kept, loop.time() + 2 * TICK)
    deadlines.discard(dropped)
    deadlines.discard(dropped)
    await asyncio.wait_for(kept.fired, 5)
    assert not dropped.fired.done()
    assert len(deadlines) == 0


async def test_one_that_is_past_fires_at_once() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    item = Item()
    deadlines.add(item, asyncio.get_running_loop().time() - 1)
    await asyncio.wait_for(item.fired, 5)


async def test_close_forgets_all() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    item = Item()
    deadlines.add(item, loop.time() + TICK)
    deadlines.close()
    await asyncio.sleep(4 * TICK)
    assert not item.fired.done()
