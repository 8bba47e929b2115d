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


async def timed_spawns(
    spawn: Callable[[], Awaitable[Any]], count: int = SPAWNS
) -> tuple[float, int]:
    """Spawn ``count`` actors one after another; return seconds taken and the count."""
    begun = time.perf_counter()
    for _ in range(count):
        await spawn()
    return time.perf_counter() - begun, count
