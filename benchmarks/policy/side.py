"""A program of the measurement: ``server`` has all sides on a broker, ``client`` calls them in
turns; ``local`` does both, on the memory bus.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks import load, role
from benchmarks.policy.sides import PLAIN, SIDES, Echo, call_of, container

SLICE = 0.15  # seconds of one turn
LEAST = 5


async def server(o: argparse.Namespace) -> None:
    async with AsyncExitStack() as rooms:
        await _open(rooms, o.url, serves=True)
        role.say_ready()
        await role.until_stopped()


async def client(o: argparse.Namespace) -> Any:
    async with AsyncExitStack() as rooms:
        return await _measured(await _open(rooms, o.url, serves=False), o.seconds)


async def local(o: argparse.Namespace) -> Any:
    async with AsyncExitStack() as rooms:
        return await _measured(await _open(rooms, "memory://", serves=True), o.seconds)


async def _open(rooms: AsyncExitStack, url: str, *, serves: bool) -> dict[str, Any]:
    """Open a container of each side; return the calls."""
    folder = Path(rooms.enter_context(tempfile.TemporaryDirectory()))
    calls = {}
    for side in SIDES:
        host = await rooms.enter_async_context(container(url, side, folder))
        if serves:
            await host.spawn(Echo)
        calls[side] = call_of(host)
    return calls


async def _measured(calls: dict[str, Any], seconds: float) -> Any:
    """Return rate and latency of each side, and the ratios to the plain one, by callers.

    The sides take turns, in an order that is drawn anew, so that a machine that gets slower is
    slower for all; a ratio is the median of those of the turns.
    """
    return {str(window): await _window(calls, window, seconds) for window in load.WINDOWS}


async def _window(calls: dict[str, Any], window: int, seconds: float) -> Any:
    turns = max(LEAST, round(seconds / SLICE))
    seen: dict[str, list[load.Figures]] = {side: [] for side in calls}
    for turn in range(turns + 1):
        for side in random.sample(list(calls), len(calls)):
            found = await load.measure(calls[side], window, SLICE)
            if turn:
                seen[side].append(found)
    result: dict[str, Any] = {
        side: {name: statistics.median(one[name] for one in each) for name in each[0]}
        for side, each in seen.items()
    }
    for side, each in seen.items():
        pairs = zip(each, seen[PLAIN], strict=True)
        ratios = [
            (one["rate"] / other["rate"], other["cpu_us"] / one["cpu_us"]) for one, other in pairs
        ]
        rate, cpu = zip(*ratios, strict=True)
        result[side]["ratio"] = round(statistics.median(rate), 3)
        result[side]["cpu_ratio"] = round(statistics.median(cpu), 3)
    return result


if __name__ == "__main__":
    options = role.options()
    main = {"server": server, "client": client, "local": local}[options.role]
    role.run(main(options), options.loop)
