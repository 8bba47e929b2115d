"""``python -m benchmarks.registry``: find by attribute, the registry beside SQL written by hand.

100,000 resources on SQLite, 1,000,000 on PostgreSQL; both sides are measured in one run, one
caller: each call's side is drawn (no more is said), and then in turns of 0.1 s (``in turns``). The
registry is called over the memory bus; the query by hand is run where it stands, and then
(``served``) called likewise. ``serial`` finds one, ``model`` and ``page`` 20. ``nothing`` is the
floor: a call of an op that does nothing, beside ``serial`` by hand; ``three``: three of the latter
are taken for a call. ``serial, in a thread`` is by hand as most asyncio programs have SQLite: off
the loop. Prints a table, and keeps the figures in ``benchmarks/results/registry.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.registry import byhand, sides
from benchmarks.registry.sides import check, registry, workload
from benchmarks.stores.postgres import DURABLE
from benchmarks.stores.turns import BARE, ION, RATIO, Call, alternate, mingle
from ion import ServiceClient
from ion.testing.servers import PostgresServer

COUNTS = {"sqlite": 100_000, "postgres": 1_000_000}
IN_TURNS = ", in turns"
SERVED = ", served"  # by a service of ION that has the query by hand, so that both sides are called
RESULTS = Path(__file__).parents[1] / "results" / "registry.json"
Found = dict[str, Mapping[str, Any]]


async def measure(ion: Any, bare: Any, count: int, seconds: float) -> Found:
    """Fill both sides, and measure them in turns; return workload -> side -> figures."""
    for side in (ion, bare):
        begun = time.perf_counter()
        await side.fill(count)
        taken = time.perf_counter() - begun
        print(f"  {type(side).__name__}: {count:,} written in {taken:.0f} s", file=sys.stderr)
    await check(ion, bare, count)
    found: Found = {}
    await ion.container.spawn(byhand.Served, args={"side": bare})
    for name, calls in workload(ion, bare, count).items():
        found[name] = await mingle(calls, seconds)
        found[name + IN_TURNS] = await alternate(calls, 1, seconds)
    served = ServiceClient("by_hand", ion.container)
    for name, calls in workload(ion, served, count).items():
        found[name + SERVED] = await mingle(calls, seconds)
    by_hand = workload(ion, bare, count)["serial"][BARE]
    for name, call in {"nothing": served.nothing, "three": _thrice(by_hand)}.items():
        found[name] = await mingle({ION: call, BARE: by_hand}, seconds)
        found[name + IN_TURNS] = await alternate({ION: call, BARE: by_hand}, 1, seconds)
    return found


def _thrice(call: Call) -> Call:
    async def three() -> None:
        for _ in range(3):
            await call()

    return three


async def beside_a_thread(ion: Any, bare: byhand.Sqlite, count: int, seconds: float) -> Any:
    """Measure ``serial`` beside the query by hand that does not hold up the loop."""
    threaded: Any = byhand.Threaded(bare)
    try:
        return await mingle(workload(ion, threaded, count)["serial"], seconds)
    finally:
        threaded.close()


async def on_sqlite(count: int, seconds: float) -> Found:
    """Measure on SQLite, each side in a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        bare = byhand.Sqlite(Path(folder) / "bare.db")
        try:
            async with registry(f"sqlite:///{folder}/ion.db") as ion:
                found = await measure(ion, bare, count, seconds)
                found["serial, in a thread"] = await beside_a_thread(ion, bare, count, seconds)
                return found
        finally:
            bare.close()


async def on_postgres(count: int, seconds: float) -> Found:
    """Measure on PostgreSQL, both sides on one private server."""
    with PostgresServer(DURABLE) as server:
        bare = await byhand.postgres(server.url())
        try:
            async with registry(server.url()) as ion:
                return await measure(ion, bare, count, seconds)
        finally:
            await bare.close()


def table(found: Mapping[str, Found]) -> str:
    """Return the figures for people."""
    lines = [f"{'':28}{'p50 us':>22}{'p99 us':>22}{'ratio':>16}"]
    lines.append(f"{'':28}" + f"{'registry':>11}{'by hand':>11}" * 2 + f"{'p50':>8}{'p99':>8}")
    for engine, work in found.items():
        for name, figures in work.items():
            ion, bare, ratio = figures[ION], figures[BARE], figures[RATIO]
            lines.append(
                f"{engine + ', by ' + name:28}"
                f"{ion['p50_us']:11.0f}{bare['p50_us']:11.0f}"
                f"{ion['p99_us']:11.0f}{bare['p99_us']:11.0f}"
                f"{ratio['p50_us']:8.2f}{ratio['p99_us']:8.2f}"
            )
    return "\n".join(lines)


def main() -> int:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(prog="benchmarks.registry", description=__doc__)
    parser.add_argument("--engines", default=",".join(COUNTS), help="sqlite, postgres")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each side and query")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of resources")
    options = parser.parse_args()
    run = {"sqlite": on_sqlite, "postgres": on_postgres}
    found: dict[str, Found] = {}
    for engine in options.engines.split(","):
        count = max(round(COUNTS[engine] * options.scale), 10 * sides.FOUND)
        found[engine] = asyncio.run(run[engine](count, options.seconds))
    print(table(found))
    if options.scale == 1:
        RESULTS.write_text(json.dumps({"found": found, "counts": COUNTS}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
