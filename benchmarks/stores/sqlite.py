"""SQLite: ION's engine against the standard library's ``sqlite3``, doing the same work.

``python -m benchmarks.stores.sqlite [seconds] [folder]`` prints rates and ratios. Both sides take
turns, so that a disk that gets slower is slower for both; the ratio is the median of the turns'.

The bare driver is used in the best way known for each row: one caller writes where it stands (it
blocks its thread; a commit a put, synchronous FULL); 64 callers share a thread that commits what
waits together; reads are made where they stand.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ion.stores.opening import open_datastore
from ion.stores.query import A, Query
from ion.stores.store import IndexStore, Store

KEYS = [f"key-{n:06}" for n in range(10_000)]
SIZE = 1000  # bytes of a value
TURNS = 15
PAGE = 100
Call = Callable[[], Awaitable[Any]]

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
_FIND = (
    "SELECT key, value, revision, kind, depth FROM found "
    f"WHERE depth >= ? ORDER BY depth, key LIMIT {PAGE}"
)
_body = os.urandom(SIZE - 8)
_count = itertools.count(1)


def fresh() -> bytes:
    """Return a value that was not there yet: the same one again would not be written."""
    return next(_count).to_bytes(8, "big") + _body


class Bare:
    """The bare driver: one connection on the loop, and one of a thread that commits groups."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.db = self._connect()
        self.db.executescript(_TABLES)
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self.db.close()

    async def put(self, key: str, value: bytes) -> None:
        self.db.execute(_PUT, (key, value, 1))

    async def put_in_group(self, key: str, value: bytes) -> None:
        future = self._loop.create_future()
        self._queue.put((future, (key, value, 1)))
        await future

    async def get(self, key: str) -> bytes:
        value: bytes = self.db.execute(_GET, (key,)).fetchone()[0]
        return value

    async def find(self, least: float) -> list[Any]:
        return self.db.execute(_FIND, (least,)).fetchall()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -16384")
        return db

    def _run(self) -> None:
        db = self._connect()
        while (item := self._queue.get()) is not None:
            group = [item]
            while not self._queue.empty():
                group.append(self._queue.get())
            db.execute("BEGIN IMMEDIATE")
            for _, row in group:
                db.execute(_PUT, row)
            db.execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, [future for future, _ in group])
        db.close()


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


class Ion:
    """ION's engine, by its public interface."""

    def __init__(self, store: Store, found: IndexStore) -> None:
        self.get = store.get
        self.put = store.put
        self.found = found

    async def find(self, least: float) -> list[Any]:
        query = Query(A("depth") >= least, order=("depth",), limit=PAGE)
        return (await self.found.query(query)).items


async def rate(call: Call, callers: int, seconds: float) -> float:
    """Return calls a second with some of them under way all the time."""
    end = time.perf_counter() + seconds
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return done / (time.perf_counter() - begun)


async def compare(name: str, ion: Call, bare: Call, callers: int, seconds: float) -> None:
    """Measure both in turns, and print their rates and the ratio."""
    found: list[tuple[float, float]] = []
    for turn in range(TURNS + 1):
        mine = await rate(ion, callers, seconds / TURNS)
        theirs = await rate(bare, callers, seconds / TURNS)
        if turn:  # the first one warms up
            found.append((mine, theirs))
    ours, other = (statistics.median(side) for side in zip(*found, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in found)
    print(f"{name:28} ion {ours:10,.0f}/s   bare {other:10,.0f}/s   ratio {ratio:.2f}")


async def main(seconds: float, folder: Path) -> None:
    """Fill both, then compare row by row."""
    datastore = open_datastore(f"sqlite://{folder}/ion.db")
    await datastore.open()
    found = await datastore.index_store("found", {"kind": "str", "depth": "float"})
    ion = Ion(await datastore.store("kv"), found)
    bare = Bare(folder / "bare.db")
    try:
        await fill(ion, bare)
        await measure(ion, bare, seconds)
    finally:
        bare.close()
        await datastore.close()


async def fill(ion: Ion, bare: Bare) -> None:
    """Put all keys."""
    places = [{"kind": "ctd" if n % 4 else "adcp", "depth": n / 10} for n in range(len(KEYS))]
    bare.db.execute("BEGIN")
    for key, place in zip(KEYS, places, strict=True):
        bare.db.execute(_PUT, (key, fresh(), 1))
        row = (key, fresh(), 1, *place.values())
        bare.db.execute("INSERT INTO found VALUES (?, ?, ?, ?, ?)", row)
    bare.db.execute("COMMIT")
    await asyncio.gather(*(ion.put(key, fresh()) for key in KEYS))
    puts = zip(KEYS, places, strict=True)
    await asyncio.gather(*(ion.found.put(key, fresh(), index=place) for key, place in puts))


async def measure(ion: Ion, bare: Bare, seconds: float) -> None:
    """Compare all rows."""
    turn = itertools.cycle(KEYS[::7])
    least = itertools.cycle(range(0, 600, 7))
    get, put = (lambda: ion.get(next(turn))), (lambda: ion.put(next(turn), fresh()))
    bare_get, bare_put = (
        (lambda: bare.get(next(turn))),
        (lambda: bare.put(next(turn), fresh())),
    )
    await compare("query, a page of 100", lambda: ion.find(next(least)),
                  lambda: bare.find(next(least)), 1, seconds)  # fmt: skip
    for callers in (1, 64):
        await compare(f"get, callers {callers}", get, bare_get, callers, seconds)
    await compare("put, callers 1 (inline)", put, bare_put, 1, seconds)
    for callers in (1, 64):
        in_group = lambda: bare.put_in_group(next(turn), fresh())  # noqa: E731
        await compare(f"put, callers {callers} (group)", put, in_group, callers, seconds)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=arguments[1] if len(arguments) > 1 else None) as made:
        asyncio.run(main(float(arguments[0]) if arguments else 3.0, Path(made)))
