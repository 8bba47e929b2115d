"""Commands that go on until they are told to end: Ctrl-C and SIGTERM end them in good order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator


class Told(asyncio.Event):
    """Set by the first signal that comes.

    :ivar number: which one; 0 until then.
    """

    number = 0

    def by(self, number: int) -> None:
        """Take a signal."""
        self.number = self.number or number
        self.set()


@contextlib.contextmanager
def until_told() -> Iterator[Told]:
    """Give an event that the first SIGINT, SIGTERM or SIGHUP sets; for the main thread."""
    told = Told()
    loop = asyncio.get_running_loop()
    numbers = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, told.by, number)
    try:
        yield told
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def first_of(*events: asyncio.Event, timeout: float | None = None) -> bool:
    """Wait until one of ``events`` is set, ``timeout`` seconds at most; return whether one is."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return any(event.is_set() for event in events)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
