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
from pathlib import Path
from typing import Any, TypeVar

from ion.base.errors import Unavailable
from ion.stores.sqlite.failures import mapped

THREADS = 2
MAX_WAITING = 10_000  # reads that wait for a thread; one more is refused

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class Reader:
    """Reads from one file.

    :param connect: makes a connection that reads.
    :param timeout: seconds for one read.
    """

    def __init__(
        self, path: Path, connect: Callable[[], sqlite3.Connection], timeout: float
    ) -> None:
        self._path = path
        self._connect = connect
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = connect()
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=f"reader of {path.name}")
        self._waiting = 0

    def one(self, sql: str, parameters: tuple[Any, ...]) -> Any:
        """Return one row, or None, at once.

        :raises Unavailable: the datastore is closed.
        :raises Damaged: the file is corrupt.
        """
        connection = self._connection
        if connection is None:
            raise self._closed()
        try:
            return connection.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            raise mapped(error, self._path) from error

    async def run(self, work: Work[T]) -> T:
        """Return what ``work`` makes of a connection, in a thread; errors as :meth:`one`."""
        if self._connection is None:
            raise self._closed()
        if self._waiting >= MAX_WAITING:
            message = f"{self._waiting} reads wait for {self._path} already: its disk is too slow"
            raise Unavailable(message)
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._work, work)
        future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(future)
        except TimeoutError:
            message = f"no answer of the store file {self._path} within {self._timeout:g} s"
            raise Unavailable(message) from None

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # seen: who asked may be gone

    def _work(self, work: Work[T]) -> T:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect()
                self._all.append(connection)
            return work(connection)
        except sqlite3.Error as error:
            raise mapped(error, self._path) from error

    async def close(self) -> None:
        """End. Never raises; may be called twice."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)
        for one in (connection, *self._all):
            with contextlib.suppress(sqlite3.Error):
                one.close()

    def _closed(self) -> Unavailable:
        return Unavailable(f"the store file {self._path} is not open (any more)")
