"""Deadlines of many calls share one timer; none is lost, none fires early."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ion.process.endpoint.deadlines import NEVER, TICK, Deadlines


class Item:
    """Something with a deadline."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.fired: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def expire(self) -> None:
        if not self.fired.done():
            self.fired.set_result(asyncio.get_running_loop().time())


async def test_each_fires_after_its_deadline_and_none_is_lost() -> None:
    loop = asyncio.get_running_loop()
    table: dict[int, Item] = {}
    deadlines = Deadlines(loop, table)
    due = [loop.time() + delay for delay in (0.05, 0.01, 0.03, 0.03)]
    for n, at in enumerate(due):
        table[n] = Item(at)
        deadlines.announce(at)
    fired = await asyncio.wait_for(asyncio.gather(*(item.fired for item in table.values())), 5)
    assert all(at >= deadline for at, deadline in zip(fired, due, strict=True))


async def test_one_that_left_its_table_does_not_fire() -> None:
    loop = asyncio.get_running_loop()
    table = {1: Item(loop.time() + TICK), 2: Item(loop.time() + 3 * TICK)}
    deadlines = Deadlines(loop, table)
    for item in table.values():
        deadlines.announce(item.deadline)
    dropped, kept = table.pop(1), table[2]
    await asyncio.wait_for(kept.fired, 5)
    assert not dropped.fired.done()


async def test_one_that_is_past_fires_at_once_and_an_idle_table_has_no_timer() -> None:
    loop = asyncio.get_running_loop()
    table = {1: Item(loop.time() - 1)}
    deadlines = Deadlines(loop, {}, table)
    deadlines.announce(table[1].deadline)
    await asyncio.wait_for(table[1].fired, 5)
    table.clear()
    await asyncio.sleep(3 * TICK)
    assert deadlines.earliest == NEVER


async def test_close_stops_it() -> None:
    loop = asyncio.get_running_loop()
    table = {1: Item(loop.time() + TICK)}
    deadlines = Deadlines(loop, table)
    deadlines.announce(table[1].deadline)
    deadlines.close()
    await asyncio.sleep(4 * TICK)
    assert not table[1].fired.done()


@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=20))
def test_whatever_the_order_of_announcing(delays: list[float]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        table: dict[int, Item] = {}
        deadlines = Deadlines(loop, table)
        for n, delay in enumerate(delays):
            table[n] = Item(loop.time() + delay)
            deadlines.announce(table[n].deadline)
        fired = await asyncio.wait_for(asyncio.gather(*(i.fired for i in table.values())), 5)
        assert all(at >= item.deadline for at, item in zip(fired, table.values(), strict=True))

    asyncio.run(run())
