"""Reads of one SQLite file: small ones on the event loop, larger ones in threads.

A point read of a small value takes some microseconds: a hop to a thread takes ten times as long.
What may be brief is tried on the loop, and given up after a millisecond, or where it meets a large
value: the connection there takes none, which costs nothing where there are none. All else goes to a
few threads, each with a connection of its own. A reader waits for no writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, thread_time
from typing import Any, Generic, Protocol, TypeVar

from ion.base.errors import Unavailable
from ion.stores.errors import closed
from ion.stores.sqlite.failures import is_busy, is_interrupted, is_large, mapped
from ion.stores.sqlite.file import StoreFile

log = logging.getLogger(__name__)
THREADS = 2
LAST_MOMENT = 5.0  # seconds that threads have to end
MAX_WAITING = 10_000  # reads that wait for a thread; one more is refused
IN_A_ROW = 128  # reads on the loop, until others are given a turn
_NOTED = 32  # until a look at whether they have one anyway
_AS_ONE = 1e-5  # seconds of a longer one count as one read
BRIEF = 1e-3  # seconds of work
LONG = 5e-3  # seconds, waiting for the disk included
INLINE = 65_536  # bytes; a larger value is not read on the loop
LATER = object()
_STEPS = 5_000  # of SQLite's machine, between two looks at the clock: some 100 us, when it is warm
_SHAPES = 1_000
_LEAST_OFTEN = 4_096

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_NEVER = math.inf


class Executes(Protocol):
    """A connection; or the cursor of the loop's one, which is used again and again."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement."""


Small = Callable[[Executes], T]


class Reader:
    """Reads from one file.

    :param connect: makes a connection that reads; with True, one that waits for locks.
    :param timeout: seconds for one read.
    :ivar in_a_row: reads on the loop since others had a turn, the longer ones as several.
    :ivar due: with more of them, :meth:`let_others` comes before the next.
    """

    def __init__(
        self, file: StoreFile, connect: Callable[[bool], sqlite3.Connection], timeout: float
    ) -> None:
        self._file = file
        self._connect = connect
        self._timeout = timeout
        connection = connect(False)
        connection.set_progress_handler(self._is_overtime, _STEPS)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, INLINE)
        self._connection: sqlite3.Connection | None = connection
        self._cursor: sqlite3.Cursor | None = connection.cursor()
        # When what is read on the loop is given up: by its work, and by the clock.
        self._work_until = self._until = _NEVER
        self._long = _Long()
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        name = f"reader of {file.path.name}"
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=name)
        self._waiting = 0
        self.in_a_row = 0
        self.due = _NOTED

    async def one(self, sql: str, parameters: tuple[Any, ...]) -> Any:
        """Return one row, or None; at once, where the file is not locked, and nothing large.

        :raises Unavailable: the datastore is closed, or the engine away.
        :raises Damaged: the file is corrupt.
        """
        if self.in_a_row > self.due:
            await self.let_others()
        row = self.at_once(sql, parameters)
        return await self.patiently(sql, parameters) if row is LATER else row

    def at_once(self, sql: str, parameters: tuple[Any, ...]) -> Any:
        """Return one row, None, or ``LATER``: it takes a thread; errors as :meth:`one`.

        :param sql: finds one row at most, by a key.
        """
        cursor = self._cursor
        if cursor is None:
            raise self._closed()
        self.in_a_row += 1
        if perf_counter() > self._file.next_look:
            self._file.look()
        try:
            return cursor.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            if is_busy(error) or is_large(error):
                return LATER
            raise mapped(error, self._file) from error

    async def patiently(self, sql: str, parameters: tuple[Any, ...]) -> Any:
        """Return one row, or None, in a thread; errors as :meth:`one`."""
        return await self.run(lambda other: other.execute(sql, parameters).fetchone())

    async def let_others(self) -> None:
        """Let other tasks run, unless they are about to; due where ``in_a_row`` is over ``due``."""
        if self.is_turn_of_others():
            self.in_a_row = 0
            await asyncio.sleep(0)

    def is_turn_of_others(self) -> bool:
        """Return whether :meth:`let_others` would wait; due where ``in_a_row`` is over ``due``."""
        if self.due < IN_A_ROW:
            self.due = IN_A_ROW
            asyncio.get_running_loop().call_soon(self._others_had_turn)
        return self.in_a_row > IN_A_ROW

    def _others_had_turn(self) -> None:
        self.in_a_row = 0
        self.due = _NOTED

    async def briefly(self, shape: str | None, small: Small[T], whole: Work[T]) -> T:
        """Return what ``small`` finds at once; where that takes too long, what ``whole`` finds.

        :param shape: see :meth:`brief`.
        """
        if self.in_a_row > self.due:
            await self.let_others()
        found = self.brief(shape, small)
        return found if found is not None else await self.run(whole)

    def brief(self, shape: str | None, small: Small[T]) -> T | None:
        """Return what ``small`` finds; None: it takes a thread; errors as :meth:`one`.

        :param shape: of what is read: those that took too long are not tried for some time; None:
            it is not tried at all.
        """
        if shape is None or (self._long.left and self._long.may_take_long(shape)):
            return None
        cursor = self._cursor
        if cursor is None:
            raise self._closed()
        begun = perf_counter()
        if begun > self._file.next_look:
            self._file.look()
        self._until = begun + LONG
        try:
            found = small(cursor)
        except sqlite3.Error as error:
            self._given_up(shape, error)
            return None
        finally:
            self._work_until = self._until = _NEVER
            self.in_a_row += 1 + int((perf_counter() - begun) / _AS_ONE)
        if self._long.left:
            self._long.discard(shape)
        return found

    def rows(self, shape: str, sql: str, parameters: tuple[Any, ...]) -> list[Any] | None:
        """Return the rows of a statement; else as :meth:`brief`, which would cost more calls."""
        cursor, file = self._cursor, self._file
        if cursor is None or self._long.left:
            return self.brief(shape, lambda cursor: cursor.execute(sql, parameters).fetchall())
        begun = perf_counter()
        if begun > file.next_look:
            file.look()
        self._until = begun + LONG
        try:
            return cursor.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            self._given_up(shape, error)
            return None
        finally:
            self._work_until = self._until = _NEVER
            self.in_a_row += 1 + int((perf_counter() - begun) / _AS_ONE)

    def _given_up(self, shape: str, error: sqlite3.Error) -> None:
        """Take note of why a read is to be done in a thread; or raise, where none would help."""
        if is_interrupted(error):
            self._long.add(shape)
        elif not (is_busy(error) or is_large(error)):
            raise mapped(error, self._file) from error

    def _is_overtime(self) -> bool:
        if self._until == _NEVER:
            return False  # a point read
        worked = thread_time()
        if self._work_until == _NEVER:
            self._work_until = worked + BRIEF
        return worked > self._work_until or perf_counter() > self._until

    async def run(self, work: Work[T]) -> T:
        """Return what ``work`` makes of a connection, in a thread; errors as :meth:`one`."""
        if self._connection is None:
            raise self._closed()
        if self._waiting >= MAX_WAITING:
            message = f"{self._waiting} reads wait for {self._file.path} already: ask for less"
            raise Unavailable(message)
        self._waiting += 1
        reading = _Reading(work)
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._work, reading)
        future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(future)
        except TimeoutError:
            message = f"no answer of the store file {self._file.path} within {self._timeout:g} s"
            raise Unavailable(message) from None
        finally:
            reading.stop()

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # seen: who asked may be gone

    def _work(self, reading: _Reading[T]) -> T:
        try:
            self._file.check()
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect(True)
                self._all.append(connection)
            return reading.on(connection)
        except sqlite3.Error as error:
            raise mapped(error, self._file) from error

    async def close(self) -> None:
        """End. Never raises; may be called twice."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._cursor = None
        for one in self._all:
            one.interrupt()
        ending = asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)
        try:
            await asyncio.wait_for(ending, LAST_MOMENT)
        except TimeoutError:
            log.warning("a read of %s does not end: its disk hangs", self._file.path)
            return  # what is in use is not closed
        for one in (connection, *self._all):
            with contextlib.suppress(sqlite3.Error):
                one.close()

    def _closed(self) -> Unavailable:
        return closed(self._file.path)


class _Long:
    """Shapes of reads that took too long: tried again more and more seldom.

    :ivar left: shape -> reads until the next try, and from then; few stores have any.
    """

    def __init__(self) -> None:
        self.left: dict[str, tuple[int, int]] = {}

    def may_take_long(self, shape: str) -> bool:
        """Return whether not to try this time."""
        found = self.left.get(shape)
        if found is None or not found[0]:
            return False
        self.left[shape] = found[0] - 1, found[1]
        return True

    def discard(self, shape: str) -> None:
        """Take note of a try that was brief."""
        self.left.pop(shape, None)

    def add(self, shape: str) -> None:
        """Take note of a try that took too long."""
        if len(self.left) >= _SHAPES:
            self.left.clear()
        often = min(2 * self.left.get(shape, (0, 4))[1], _LEAST_OFTEN)
        self.left[shape] = often, often


class _Reading(Generic[T]):
    """One read in a thread, which ends where nobody waits for it any more."""

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_over = False

    def on(self, connection: sqlite3.Connection) -> T:
        """Read."""
        with self._lock:
            if self._is_over:
                raise sqlite3.InterfaceError
            self._connection = connection
        try:
            return self._work(connection)
        finally:
            with self._lock:
                self._connection = None

    def stop(self) -> None:
        """End it, on the way or not yet begun; nothing where it is over."""
        with self._lock:
            self._is_over = True
            if self._connection is not None:
                self._connection.interrupt()
