"""Two units of work that met: one is done, and the other's op runs again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ion.base import clock
from ion.base.errors import Conflict
from ion.conversation import conversation as c
from ion.process.serving.incoming import IncomingCall
from ion.process.serving.source import AT_MOST_ONCE

MOST = 20  # runs
FIRST_PAUSE = 0.002  # seconds, at the most; twice as long each time
LONGEST_PAUSE = 0.25
LONGEST_TURN = 2.0  # seconds to wait for those before; no longer: they may wait for this one


class Contended(Conflict):
    """Others have written what a unit of work has read; nothing of it was done."""

    def __init__(self, error: Conflict) -> None:
        super().__init__(error.message, type="Conflict", details=error.details)


async def run_again(
    process: Any,
    call: IncomingCall,
    method: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    error: Contended,
) -> Any:
    """Run an op again whose unit of work met another one, and return its result.

    It is not run again where something was said already, nor where it is to be run once at most.

    :raises Contended: each time; another time it may do better.
    """
    policy = call.source.policy
    is_once = policy is not None and policy.mode == AT_MOST_ONCE
    if process._contention is None:
        process._contention = asyncio.Lock()
    for run in range(1, MOST):
        if is_once or call.state != c.REQUESTED:
            break
        call.endpoint.counts["run again"] += 1
        async with _turn(process._contention):
            await clock.sleep(random.uniform(0, min(FIRST_PAUSE * 2**run, LONGEST_PAUSE)))
            try:
                return await method(process, *args, **kwargs)
            except Contended as again:
                error = again
    raise error


@asynccontextmanager
async def _turn(lock: asyncio.Lock) -> AsyncIterator[None]:
    """Let those of one process run one after the other, or many would meet again and again."""
    try:
        async with asyncio.timeout(LONGEST_TURN):
            await lock.acquire()
    except TimeoutError:
        yield
        return
    try:
        yield
    finally:
        lock.release()
