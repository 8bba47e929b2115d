"""Reads of one SQLite file: small ones on the event loop, larger ones in threads.

A point read of a small value takes some microseconds: a hop to a thread takes ten times as long.
All else goes to a few threads, each with a connection of its own. A reader waits for no writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, Generic, TypeVar

from ion.base.errors import Unavailable
from ion.stores.sqlite.failures import is_busy, mapped
from ion.stores.sqlite.file import StoreFile

THREADS = 2
MAX_WAITING = 10_000  # reads that wait for a thread; one more is refused
IN_A_ROW = 64  # reads on the loop, until others have a turn

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class Reader:
    """Reads from one file.

    :param connect: makes a connection that reads; with True, one that waits for locks.
    :param timeout: seconds for one read.
    """

    def __init__(
        self, file: StoreFile, connect: Callable[[bool], sqlite3.Connection], timeout: float
    ) -> None:
        self._file = file
        self._connect = connect
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = connect(False)
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        name = f"reader of {file.path.name}"
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=name)
        self._waiting = 0
        self._in_a_row = 0

    async def one(self, sql: str, parameters: tuple[Any, ...]) -> Any:
        """Return one row, or None; at once, where the file is not locked.

        :raises Unavailable: the datastore is closed, or the engine away.
        :raises Damaged: the file is corrupt.
        """
        self._in_a_row += 1
        if self._in_a_row > IN_A_ROW:
            self._in_a_row = 0
            await asyncio.sleep(0)
        connection = self._connection
        if connection is None:
            raise self._closed()
        if monotonic() > self._file.next_look:
            self._file.look()
        try:
            return connection.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            if not is_busy(error):
                raise mapped(error, self._file.path) from error
        return await self.run(lambda other: other.execute(sql, parameters).fetchone())

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
            raise mapped(error, self._file.path) from error

    async def close(self) -> None:
        """End. Never raises; may be called twice."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        for one in self._all:
            one.interrupt()
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)
        for one in (connection, *self._all):
            with contextlib.suppress(sqlite3.Error):
                one.close()

    def _closed(self) -> Unavailable:
        return Unavailable(f"the store file {self._file.path} is not open (any more)")


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
