"""What idle actors cost: resident memory of this OS process, and the time to spawn many."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

SPAWNS = 10_000
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the resident set of this OS process, after a full collection."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


async def spawn_costs(spawn: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """Spawn actors one after another; return microseconds and resident bytes for each.

    The time is that of the first 10,000. The memory is that of 10,000 more: the first ones would
    in part be given what the imports have left free in the heap, and seem to cost nothing.
    """
    begun = time.perf_counter()
    for _ in range(SPAWNS):
        await spawn()
    elapsed = time.perf_counter() - begun
    before = resident_bytes()
    for _ in range(SPAWNS):
        await spawn()
    grown = resident_bytes() - before
    return {"us": round(elapsed * 1e6 / SPAWNS, 2), "bytes": round(grown / SPAWNS, 1)}
