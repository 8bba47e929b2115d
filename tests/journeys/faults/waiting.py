"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.journeys.faults.fleet import PATIENCE

_PAUSE = 0.01


async def until(
    holds: Callable[[], Awaitable[object]], complaint: str, patience: float = PATIENCE
) -> None:
    """Return once ``holds`` gives something true.

    :raises AssertionError: it did not within ``patience`` seconds; says ``complaint``.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while not await holds():
        assert loop.time() < end, complaint
        await asyncio.sleep(_PAUSE)
