"""SQLite: the standard library's ``sqlite3``, at its best: WAL, synchronous FULL.

One caller reads and writes where it stands (a commit a put; it blocks its thread); many read where
they stand, and share a thread that commits what waits together.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.stores.sides import FOUND, KEYS, Ion, Record, fresh
from ion.stores.opening import open_datastore

_TABLES = """
CREATE TABLE kv (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER);
CREATE TABLE found (key TEXT PRIMARY KEY NOT NULL, value BLOB, revision INTEGER,
    kind TEXT, depth REAL);
CREATE INDEX by_kind ON found (kind, key);
CREATE INDEX by_depth ON found (depth, key);
"""
_PUT = (
    "INSERT INTO kv VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision"
)
_GET = "SELECT value FROM kv WHERE key = ?"
_COLUMNS = "SELECT key, value, revision, kind, depth FROM found"
_EQUAL = f"{_COLUMNS} WHERE kind = ? ORDER BY key LIMIT {FOUND}"
_PAGE = f"{_COLUMNS} WHERE depth >= ? ORDER BY depth, key LIMIT {FOUND}"


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection as the bare side has it."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA cache_size = -16384")
    return db


class Bare:
    """One connection on the loop, and one of a thread that commits groups."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.db = connect(path)
        self.db.executescript(_TABLES)
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    async def get(self, key: str) -> bytes:
        value: bytes = self.db.execute(_GET, (key,)).fetchone()[0]
        return value

    get_in_group = get

    async def put(self, key: str, value: bytes) -> None:
        self.db.execute(_PUT, (key, value, 1))

    async def put_in_group(self, key: str, value: bytes) -> None:
        future = self._loop.create_future()
        self._queue.put((future, (key, value, 1)))
        await future

    async def equal(self, kind: str) -> list[Any]:
        return self.db.execute(_EQUAL, (kind,)).fetchall()

    async def page(self, least: float) -> list[Any]:
        return self.db.execute(_PAGE, (least,)).fetchall()

    async def fill(self, entries: Sequence[Record]) -> None:
        self.db.execute("BEGIN")
        self.db.executemany(_PUT, [(key, fresh(), 1) for key in KEYS])
        self.db.executemany("INSERT INTO found VALUES (?, ?, ?, ?, ?)", entries)
        self.db.execute("COMMIT")
        self.db.execute("ANALYZE")

    async def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self.db.close()

    def _run(self) -> None:
        db = connect(self._path)
        while (item := self._queue.get()) is not None:
            group = [item]
            while not self._queue.empty():
                group.append(self._queue.get())
            db.execute("BEGIN IMMEDIATE")
            for _, row in group:
                db.execute(_PUT, row)
            db.execute("COMMIT")
            self._loop.call_soon_threadsafe(settle, [future for future, _ in group])
        db.close()


def settle(futures: list[asyncio.Future[None]]) -> None:
    """Tell who waits, on the loop."""
    for future in futures:
        future.set_result(None)


@contextlib.asynccontextmanager
async def both(folder: Path) -> AsyncIterator[tuple[Ion, Bare]]:
    """Open both sides, each in a file of its own."""
    ion = await Ion.open(open_datastore(f"sqlite:///{folder}/ion.db"))
    bare = Bare(folder / "bare.db")
    try:
        yield ion, bare
    finally:
        await bare.close()
        await ion.close()
