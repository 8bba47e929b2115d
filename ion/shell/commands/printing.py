"""Lines for a reader who may be slow: a thread writes them, and the connection lives on meanwhile.

Contract: nothing piles up. Of what waits to be written only so many lines are kept; of more, the
oldest are dropped, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator

WAITING = 10_000  # lines
STDOUT = 1
STDERR = 2


class Printer:
    """Writes lines to the standard streams, in order.

    :param streams: file descriptors of standard output and standard error.
    :ivar broken: set when nothing can be written any more; ``error`` says why.
    """

    def __init__(self, streams: tuple[int, int] = (STDOUT, STDERR)) -> None:
        self._streams = streams
        self.broken = asyncio.Event()
        self.error: OSError | None = None
        self._loop = asyncio.get_running_loop()
        self._lines: deque[tuple[int, str]] = deque()
        self._lost = 0
        self._is_closing = False
        self._change = threading.Condition()
        sys.stdout.flush()
        # A daemon: whoever reads no more does not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="ioncc printer", daemon=True)
        self._thread.start()

    def print(self, lines: Iterable[str]) -> None:
        """Write lines to standard output; never waits."""
        self._put((self._streams[0], line) for line in lines)

    def tell(self, line: str) -> None:
        """Write a line to standard error; never waits."""
        self._put([(self._streams[1], line)])

    def take_lost(self) -> int:
        """Return how many lines were dropped since this was last asked."""
        with self._change:
            lost, self._lost = self._lost, 0
            return lost

    async def close(self, timeout: float | None = None) -> None:
        """Write what is left.

        :param timeout: seconds, after which it is dropped.
        """
        with self._change:
            self._is_closing = True
            self._change.notify()
        await asyncio.to_thread(self._thread.join, timeout)

    def _put(self, lines: Iterable[tuple[int, str]]) -> None:
        with self._change:
            self._lines.extend(lines)
            while len(self._lines) > WAITING:
                self._lines.popleft()
                self._lost += 1
            self._change.notify()

    def _run(self) -> None:
        while lines := self._next():
            try:
                for stream, line in lines:
                    _write(stream, f"{line}\n".encode("utf-8", "backslashreplace"))
            except OSError as error:
                self.error = error
                break
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.broken.set)

    def _next(self) -> list[tuple[int, str]]:
        """Wait for lines, and return a few; none, when it closes and all are written."""
        with self._change:
            while not self._lines and not self._is_closing:
                self._change.wait()
            return [self._lines.popleft() for _ in range(min(len(self._lines), 100))]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what is logged here off the terminal, where the command itself tells it."""
    log = logging.getLogger("ion")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


def _write(stream: int, data: bytes) -> None:
    """Write all of it, past Python's buffers: their locks would be held while this waits."""
    while data:
        data = data[os.write(stream, data) :]
