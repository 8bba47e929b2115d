"""Two sides measured in turns, so that a machine that gets slower is slower for both.

In turns of a tenth of a second (:func:`alternate`) each side has the processor's caches to itself
for thousands of calls: what a program is like that does nothing else. Call by call
(:func:`mingle`) each finds them as another's work left them: what it is like within a program.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from benchmarks import load

Call = Callable[[], Awaitable[Any]]
ION, BARE, RATIO = "ion", "bare", "ratio"
SLICE = 0.1  # seconds of one turn
LEAST = 3  # turns of each side
FIGURES = ("rate", "p50_us", "p99_us")


async def alternate(
    sides: Mapping[str, Call], callers: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Return rate, p50 and p99 (microseconds) of each side, and the ratios of ION's to the bare's.

    Each side is measured for about ``seconds`` altogether, in turns of a tenth, whose order is
    drawn anew; one turn before warms up. The figures are medians over the turns, a ratio is the
    median of the ratios of neighbouring turns.
    """
    turns = max(LEAST, round(seconds / SLICE))
    seen: dict[str, list[load.Figures]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name in random.sample(list(sides), len(sides)):
            found = await load.measure(sides[name], callers, seconds / turns)
            if turn:
                seen[name].append(found)
    return summary(seen)


async def mingle(sides: Mapping[str, Call], seconds: float) -> dict[str, dict[str, float]]:
    """Return the figures of :func:`alternate` for one caller who draws the side of each call.

    Half of the calls are of each side, so that what came before a call is as often the one as the
    other; a turn is as long as two are there.
    """
    turns = max(LEAST, round(seconds / SLICE))
    seen: dict[str, list[load.Figures]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, figures in (await _mingled(sides, 2 * seconds / turns)).items():
            if turn:
                seen[name].append(figures)
    return summary(seen)


async def _mingled(sides: Mapping[str, Call], seconds: float) -> dict[str, load.Figures]:
    names, samples = list(sides), {name: [0.0][:0] for name in sides}
    end = load.clock() + seconds
    while load.clock() < end:
        await asyncio.sleep(0)  # neither side need turn the event loop
        for name in random.choices(names, k=16):
            begun = load.clock()
            await sides[name]()
            samples[name].append(load.clock() - begun)
    return {name: load.figures(found, sum(found), 0.0) for name, found in samples.items()}


def summary(seen: Mapping[str, list[load.Figures]]) -> dict[str, dict[str, float]]:
    """Return medians over the turns of each side, and medians of their ratios turn by turn."""
    result = {
        name: {f: statistics.median(one[f] for one in each) for f in FIGURES}
        for name, each in seen.items()
    }
    pairs = list(zip(seen[ION], seen[BARE], strict=True))
    ratios = {f: statistics.median(ion[f] / bare[f] for ion, bare in pairs) for f in FIGURES}
    return {**result, RATIO: {name: round(value, 4) for name, value in ratios.items()}}
