"""Redis: redis-py: a caller alone calls, many share pipelines of what waits.

``at_once`` goes beyond pipelines: one MGET or MSET for all that waits, half the work for redis-py.

A bare value has its revision in front, as ION's have; nothing keeps the keys in order, which ION's
puts do besides. The server keeps an append-only file, synced each second; both sides share it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from benchmarks.stores.gathering import Gathered
from benchmarks.stores.sides import FOUND, KEYS, Ion, Record, batches, fresh
from ion.stores.opening import open_datastore
from ion.testing.servers import RedisServer

_REVISION = (1).to_bytes(8, "big")


class Bare:
    """A client of redis-py.

    The records of a kind are a sorted set in the order of their keys; all are in one by depth.
    """

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url)
        self._read = Gathered(self._gets).call
        self._write = Gathered(self._puts).call
        self._mget = Gathered(self._client.mget).call
        self._mset = Gathered(self._msets).call

    def get(self, key: str) -> Awaitable[Any]:
        return self._client.get(key)

    def put(self, key: str, value: bytes) -> Awaitable[Any]:
        return self._client.set(key, _REVISION + value)

    def get_in_group(self, key: str) -> Awaitable[Any]:
        return self._read(key)

    def put_in_group(self, key: str, value: bytes) -> Awaitable[Any]:
        return self._write((key, value))

    def get_at_once(self, key: str) -> Awaitable[Any]:
        return self._mget(key)

    def put_at_once(self, key: str, value: bytes) -> Awaitable[Any]:
        return self._mset((key, value))

    async def equal(self, kind: str) -> list[Any]:
        keys = await self._client.zrange(kind, 0, FOUND - 1)
        return list(zip(keys, await self._client.mget(keys), strict=True))

    async def page(self, least: float) -> list[Any]:
        found = await self._client.zrange(
            "depth", least, "+inf", byscore=True, offset=0, num=FOUND, withscores=True
        )
        values = await self._client.mget([key for key, _ in found])
        return list(zip(found, values, strict=True))

    async def fill(self, entries: Sequence[Record]) -> None:
        for some in batches(KEYS):
            await self._client.mset({key: _REVISION + fresh() for key in some})
        for some in batches(entries):
            pipeline = self._client.pipeline(transaction=False)
            for key, value, _, kind, depth in some:
                pipeline.set(key, _REVISION + value)
                pipeline.zadd(kind, {key: 0})
                pipeline.zadd("depth", {key: depth})
            await pipeline.execute()

    async def close(self) -> None:
        await self._client.aclose()

    async def _gets(self, keys: Sequence[str]) -> Sequence[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
        return await pipeline.execute()

    async def _puts(self, items: Sequence[tuple[str, bytes]]) -> Sequence[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for key, value in items:
            pipeline.set(key, _REVISION + value)
        return await pipeline.execute()

    async def _msets(self, items: Sequence[tuple[str, bytes]]) -> Sequence[Any]:
        await self._client.mset({key: _REVISION + value for key, value in items})
        return items


@contextlib.asynccontextmanager
async def both(folder: Path) -> AsyncIterator[tuple[Ion, Bare]]:
    """Open both sides on a private server, each in a database of its own."""
    server = RedisServer()
    with server:
        ion = await Ion.open(open_datastore(server.url(1)))
        bare = Bare(server.url(2))
        try:
            yield ion, bare
        finally:
            await bare.close()
            await ion.close()
