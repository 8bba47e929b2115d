"""Redis: ION's engine against redis-py, doing the same work on a server started for it.

``python -m benchmarks.stores.redis [seconds]`` prints rates and ratios. Both sides take turns, so
that a machine that gets slower is slower for both; the ratio is the median of the turns'.

redis-py is used in the best way known for each row: one caller calls; 64 share pipelines of what
waits together. ION's puts keep the order of keys and a revision besides; the bare ones do not.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import Any

from redis.asyncio import Redis

from benchmarks.stores.sqlite import KEYS, PAGE, Ion, compare, fresh
from ion.stores.opening import open_datastore
from ion.testing.servers import RedisServer

DEPTHS = [n / 10 for n in range(len(KEYS))]


class Bare:
    """redis-py: a call at a time, or pipelines of what waits together."""

    def __init__(self, url: str) -> None:
        self.client = Redis.from_url(url)
        self._waiting: list[tuple[asyncio.Future[Any], str, bytes | None]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, key: str, value: bytes) -> None:
        await self.client.set(key, value)

    async def get(self, key: str) -> bytes:
        value: bytes = await self.client.get(key)
        return value

    def put_in_group(self, key: str, value: bytes) -> asyncio.Future[Any]:
        return self._added(key, value)

    def get_in_group(self, key: str) -> asyncio.Future[Any]:
        return self._added(key, None)

    async def find(self, least: float) -> list[Any]:
        found = await self.client.zrangebyscore(
            "depth", least, "+inf", start=0, num=PAGE, withscores=True
        )
        values = await self.client.mget([key for key, _ in found])
        return list(zip(found, values, strict=True))

    def _added(self, key: str, value: bytes | None) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((future, key, value))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send())
        return future

    async def _send(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting, []
            pipeline = self.client.pipeline(transaction=False)
            for _, key, value in some:
                if value is None:
                    pipeline.get(key)
                else:
                    pipeline.set(key, value)
            for (future, *_), answer in zip(some, await pipeline.execute(), strict=True):
                future.set_result(answer)


async def main(seconds: float, server: RedisServer) -> None:
    """Fill both, then compare row by row."""
    datastore = open_datastore(server.url(1))
    await datastore.open()
    found = await datastore.index_store("found", {"depth": "float"})
    ion, bare = Ion(await datastore.store("kv"), found), Bare(server.url(2))
    try:
        await fill(ion, bare)
        await measure(ion, bare, seconds)
    finally:
        await bare.client.aclose()
        await datastore.close()


async def fill(ion: Ion, bare: Bare) -> None:
    """Put all keys."""
    places = list(zip(KEYS, DEPTHS, strict=True))
    await asyncio.gather(*(ion.put(key, fresh()) for key in KEYS))
    await asyncio.gather(*(ion.found.put(k, fresh(), index={"depth": d}) for k, d in places))
    await asyncio.gather(*(bare.put_in_group(key, fresh()) for key in KEYS))
    await bare.client.zadd("depth", dict(places))


async def measure(ion: Ion, bare: Bare, seconds: float) -> None:
    """Compare all rows."""
    turn, least = itertools.cycle(KEYS[::7]), itertools.cycle(range(0, 600, 7))
    await compare("query, a page of 100", lambda: ion.find(next(least)),
                  lambda: bare.find(next(least)), 1, seconds)  # fmt: skip
    rows: list[tuple[int, Any, Any]] = [
        (1, bare.get, bare.put),
        (64, bare.get_in_group, bare.put_in_group),
    ]
    for callers, get, put in rows:
        await compare(f"get, callers {callers}", lambda: ion.get(next(turn)),
                      lambda get=get: get(next(turn)), callers, seconds)  # fmt: skip
        await compare(f"put, callers {callers}", lambda: ion.put(next(turn), fresh()),
                      lambda put=put: put(next(turn), fresh()), callers, seconds)  # fmt: skip


if __name__ == "__main__":
    with RedisServer() as server:
        assert isinstance(server, RedisServer)
        asyncio.run(main(float(sys.argv[1]) if sys.argv[1:] else 3.0, server))
