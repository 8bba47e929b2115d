"""Waiting for a condition with a deadline, and telling a late machine from a late runtime."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from tests.journeys.faults.fleet import PATIENCE

_PAUSE = 0.01
_BEAT = 0.002


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


class Pulse:
    """A thread that only sleeps: how late it wakes is how late this machine lets anybody be.

    :ivar latest: the most that it woke too late, seconds. A limit in milliseconds is held with this
        on top, as other work on the machine is no fault of what is measured.
    """

    def __init__(self) -> None:
        self.latest = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            time.sleep(_BEAT)
            self.latest = max(self.latest, time.monotonic() - began - _BEAT)
