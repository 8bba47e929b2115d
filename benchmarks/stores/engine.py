"""The program of an engine's row: fills both sides, and measures them in turns.

``python -m benchmarks.stores.engine local --variant sqlite --seconds 1`` prints its figures.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import role
from benchmarks.stores.sides import FOUND, records, workload
from benchmarks.stores.turns import alternate

ENTRIES = 100_000  # records that queries look among


async def measure(engine: str, seconds: float, entries: int) -> dict[str, dict[str, Any]]:
    """Return side -> workload -> figures.

    :param engine: a module of this package.
    """
    module = importlib.import_module(f"benchmarks.stores.{engine}")
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with module.both(Path(folder)) as (ion, bare):
            some = records(entries)
            for side in (ion, bare):
                await side.fill(some)
            work = workload(ion, bare, entries)
            await check(work)
            for name, (sides, callers) in work.items():
                for side, figures in (await alternate(sides, callers, seconds)).items():
                    found.setdefault(side, {})[name] = figures
    return found


async def check(work: dict[str, Any]) -> None:
    """Refuse to measure queries that do not find what they are to find."""
    for name in ("equal", "page"):
        for side, call in work[name][0].items():
            count = len(await call())
            if count != FOUND:
                message = f"{side}: {name} finds {count} records, not {FOUND}"
                raise ValueError(message)


def main(options: argparse.Namespace) -> None:
    """Measure, and hand the figures over."""
    entries = max(round(ENTRIES * options.scale), 10 * FOUND)
    role.run(measure(options.variant, options.seconds, entries), options.loop)


if __name__ == "__main__":
    main(role.options())
