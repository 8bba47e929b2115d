"""The only door to time: the time of day, the time that only goes forward, and waiting.

Contract: whoever asks for time here can be tested without waiting, since :func:`using` puts
another clock in place. Deadlines of calls are on the event loop's own clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Clock(Protocol):
    """What can be put in place of the system's clock."""

    def now(self) -> float:
        """Return seconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Return seconds since some moment; it never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return when ``seconds`` have passed; other tasks run meanwhile."""


class SystemClock:
    """The clock of the machine."""

    __slots__ = ()

    def now(self) -> float:
        """Return seconds since 1970, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since some moment; it never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return when ``seconds`` have passed; other tasks run meanwhile."""
        await asyncio.sleep(seconds)


_clock: Clock = SystemClock()


def now() -> float:
    """Return seconds since 1970, UTC."""
    return _clock.now()


def monotonic() -> float:
    """Return seconds since some moment; it never goes back. For durations."""
    return _clock.monotonic()


async def sleep(seconds: float) -> None:
    """Return when ``seconds`` have passed; other tasks run meanwhile."""
    await _clock.sleep(seconds)


@contextmanager
def using(clock: Clock) -> Iterator[Clock]:
    """Put ``clock`` in place of the present one, for all of this OS process, until the end."""
    global _clock  # noqa: PLW0603  (the one door)
    before = _clock
    _clock = clock
    try:
        yield clock
    finally:
        _clock = before
