"""Lines for a reader who may be slow: a thread writes them, and the connection lives on meanwhile.

Contract: nothing piles up. Of what waits to be written only so many lines are kept; of more, the
oldest are dropped, and counted. Who awaits :meth:`Printer.room` in between loses none.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

WAITING = 10_000  # lines
AHEAD = 16  # lines that may wait where none may be lost
STDOUT = 1
STDERR = 2


class Printer:
    """Writes lines to the standard streams, in order.

    :param streams: file descriptors of standard output and standard error.
    :ivar broken: set when nothing can be written any more; ``error`` says why. Of a pipe that is
        so as soon as nobody reads it, even while there is nothing to write.
    """

    def __init__(self, streams: tuple[int, int] = (STDOUT, STDERR)) -> None:
        self._streams = streams
        self.broken = asyncio.Event()
        self.error: OSError | None = None
        self._loop = asyncio.get_running_loop()
        self._lines: deque[tuple[int, str | bytes]] = deque()
        self._at_hand = 0  # taken out of them, and being written
        self._progress = asyncio.Event()
        self._is_awaited = False
        self._lost = 0
        self._is_closing = False
        self._change = threading.Condition()
        sys.stdout.flush()
        # A daemon: whoever reads no more does not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="ioncc printer", daemon=True)
        self._thread.start()
        self._is_pipe = _is_pipe(streams[0])
        if self._is_pipe:
            self._loop.add_reader(streams[0], self._look)

    def print(self, lines: Iterable[str]) -> None:
        """Write lines to standard output; never waits."""
        self._put((self._streams[0], line) for line in lines)

    def tell(self, line: str) -> None:
        """Write a line to standard error; never waits."""
        self._put([(self._streams[1], line)])

    def write(self, data: bytes) -> None:
        """Write bytes to standard output as they are; never waits."""
        self._put([(self._streams[0], data)])

    async def room(self, waiting: int = AHEAD) -> None:
        """Wait until no more than so many lines are still to be written, or nothing can be."""
        while True:
            with self._change:
                if self.error is not None or len(self._lines) + self._at_hand <= waiting:
                    return
                self._progress.clear()
                self._is_awaited = True
            await self._progress.wait()

    def take_lost(self) -> int:
        """Return how many lines were dropped since this was last asked."""
        with self._change:
            lost, self._lost = self._lost, 0
            return lost

    async def close(self, timeout: float | None = None) -> None:
        """Write what is left.

        :param timeout: seconds, after which it is dropped.
        """
        self._look_no_more()
        with self._change:
            self._is_closing = True
            self._change.notify()
        await asyncio.to_thread(self._thread.join, timeout)

    def _put(self, lines: Iterable[tuple[int, str | bytes]]) -> None:
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
                    _write(stream, _encoded(line))
            except OSError as error:
                self._failed(error)
                break
        self._call(self.broken.set)

    def _next(self) -> list[tuple[int, str | bytes]]:
        """Wait for lines, and return a few; none, when it closes and all are written."""
        with self._change:
            self._at_hand = 0
            if self._is_awaited:
                self._is_awaited = False
                self._call(self._progress.set)
            while not self._lines and not self._is_closing:
                self._change.wait()
            self._at_hand = min(len(self._lines), 100)
            return [self._lines.popleft() for _ in range(self._at_hand)]

    def _failed(self, error: OSError) -> None:
        with self._change:
            self.error = self.error or error
        self._call(self._progress.set)

    def _call(self, function: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def _look(self) -> None:
        """Something is to be known of the pipe: that its reader has left, as a rule."""
        look = select.poll()
        look.register(self._streams[0], 0)
        self._look_no_more()
        if look.poll(0):
            self._failed(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
            self.broken.set()

    def _look_no_more(self) -> None:
        if self._is_pipe:
            self._is_pipe = False
            self._loop.remove_reader(self._streams[0])


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


def _is_pipe(stream: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(stream).st_mode)
    except OSError:  # it was closed
        return False


def _encoded(line: str | bytes) -> bytes:
    if isinstance(line, bytes):
        return line
    return f"{line}\n".encode("utf-8", "backslashreplace")


def _write(stream: int, data: bytes) -> None:
    """Write all of it, past Python's buffers: their locks would be held while this waits."""
    while data:
        data = data[os.write(stream, data) :]
