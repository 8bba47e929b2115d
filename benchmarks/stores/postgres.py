"""PostgreSQL: asyncpg at its best: prepared statements on one connection.

What waits while a round trip is under way goes as one statement. The server syncs to disk
(``fsync`` and ``synchronous_commit`` on), as that of the facts did; both sides share it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.stores.gathering import Gathered
from benchmarks.stores.sides import FOUND, KEYS, Ion, Record, fresh
from ion.stores.opening import open_datastore
from ion.testing.servers import PostgresServer

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
_TABLES = """
CREATE TABLE kv (key BYTEA PRIMARY KEY, value BYTEA NOT NULL, revision BIGINT NOT NULL);
ALTER TABLE kv ALTER COLUMN value SET STORAGE EXTERNAL;
CREATE TABLE found (key BYTEA PRIMARY KEY, value BYTEA NOT NULL, revision BIGINT NOT NULL,
    kind TEXT COLLATE "C", depth DOUBLE PRECISION);
CREATE INDEX ON found (kind, key);
CREATE INDEX ON found (depth, key);
"""
_UPSERT = (
    "INSERT INTO kv (key, value, revision) {} ON CONFLICT (key) "
    "DO UPDATE SET value = excluded.value, revision = excluded.revision"
)
_ARRAYS = "SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::int8[])"
_COLUMNS = "SELECT key, value, revision, kind, depth FROM found"


class Bare:
    """One connection; made by :meth:`open`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        reading, writing = Gathered(self._gets), Gathered(self._puts)
        self._read, self._write = reading.call, writing.call

    @classmethod
    async def open(cls, url: str) -> Bare:
        """Connect, make the tables, and prepare."""
        bare = cls(await asyncpg.connect(url))
        await bare._connection.execute(_TABLES)
        prepare = bare._connection.prepare
        bare._get = await prepare("SELECT value FROM kv WHERE key = $1")
        bare._get_many = await prepare("SELECT key, value FROM kv WHERE key = ANY($1)")
        bare._put = await prepare(_UPSERT.format("VALUES ($1, $2, $3)"))
        bare._put_many = await prepare(_UPSERT.format(_ARRAYS))
        bare._equal = await prepare(f"{_COLUMNS} WHERE kind = $1 ORDER BY key LIMIT {FOUND}")
        bare._page = await prepare(
            f"{_COLUMNS} WHERE depth >= $1 ORDER BY depth, key LIMIT {FOUND}"
        )
        return bare

    def get(self, key: str) -> Awaitable[Any]:
        return self._get.fetchval(key.encode())

    def put(self, key: str, value: bytes) -> Awaitable[Any]:
        return self._put.fetch(key.encode(), value, 1)

    def get_in_group(self, key: str) -> Awaitable[Any]:
        return self._read(key.encode())

    def put_in_group(self, key: str, value: bytes) -> Awaitable[Any]:
        return self._write((key.encode(), value))

    def equal(self, kind: str) -> Awaitable[Any]:
        return self._equal.fetch(kind)

    def page(self, least: float) -> Awaitable[Any]:
        return self._page.fetch(least)

    async def _gets(self, keys: Sequence[bytes]) -> Sequence[Any]:
        found = dict(await self._get_many.fetch(keys))
        return [found.get(key) for key in keys]

    async def _puts(self, items: Sequence[tuple[bytes, bytes]]) -> Sequence[Any]:
        new = dict(items)  # one statement cannot touch a row twice
        await self._put_many.fetch(list(new), list(new.values()), [1] * len(new))
        return items

    async def fill(self, entries: Sequence[Record]) -> None:
        await self._connection.executemany(
            "INSERT INTO kv VALUES ($1, $2, 1)", [(key.encode(), fresh()) for key in KEYS]
        )
        rows = [(key.encode(), *rest) for key, *rest in entries]
        await self._connection.copy_records_to_table("found", records=rows)
        await self._connection.execute("VACUUM ANALYZE")  # of ION's tables, too

    async def close(self) -> None:
        await self._connection.close()


@contextlib.asynccontextmanager
async def both(folder: Path) -> AsyncIterator[tuple[Ion, Bare]]:
    """Open both sides on a private server."""
    server = PostgresServer(DURABLE)
    with server:
        ion = await Ion.open(open_datastore(server.url()))
        bare = await Bare.open(server.url())
        try:
            yield ion, bare
        finally:
            await bare.close()
            await ion.close()
