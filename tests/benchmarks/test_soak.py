"""The soak: a short one leaves nothing behind, and what is left behind is found."""

from __future__ import annotations

import asyncio

from benchmarks import soak
from ion import Container


async def test_calls_and_processes_leave_nothing_behind_in_memory():
    assert await soak.on_memory(600, 40, say=lambda _: None) == {}


async def test_what_is_left_behind_is_found():
    async with Container("memory://", sysname="soak", config=soak.CONFIG) as container:
        pair = soak.Pair(container, container, None)
        before = await pair.census()
        kept = [await container.spawn(soak.Worker) for _ in range(20)]
        futures = [asyncio.get_running_loop().create_future() for _ in range(20)]
        more = soak.grown(before, await pair.census())
    assert len(kept) == len(futures) == 20
    assert "processes" in more
    assert "_asyncio.Future" in more


def test_a_count_may_vary_by_chance_only_where_it_counts_objects():
    few = soak.SLACK
    assert soak.grown({"ion.x.Y": 1}, {"ion.x.Y": 1 + few}) == {}
    assert soak.grown({"ion.x.Y": 1}, {"ion.x.Y": 2 + few}) == {"ion.x.Y": (1, 2 + few)}
    assert soak.grown({"tasks": 3}, {"tasks": 4}) == {"tasks": (3, 4)}
