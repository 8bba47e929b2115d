"""PostgreSQL: stores against the bare driver doing the same, interleaved, in one run.

``python -m benchmarks.stores.postgres [ROUNDS]`` prints a table: rates per second (medians), and
ours over the bare one. The bare side is asyncpg at its best: prepared statements on one connection;
for many callers, what waits while a round trip is under way goes as one statement.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import uvloop

from ion.stores.opening import open_datastore
from ion.stores.query import A, Query
from ion.testing.servers import PostgresServer

KEYS = [f"key{number:05}" for number in range(2000)]
DATA = [key.encode() for key in KEYS]
VALUE = os.urandom(1024)
CALLS = 2000  # of all callers together, in one measurement
MANY = 64
LIMIT = 100

Call = Callable[[int], Awaitable[Any]]

_TABLE = (
    "CREATE TABLE bare (key BYTEA PRIMARY KEY, value BYTEA NOT NULL, revision BIGINT NOT NULL, "
    'kind TEXT COLLATE "C"); CREATE INDEX ON bare (kind, key)'
)
_UPSERT = (
    "INSERT INTO bare (key, value, revision) {} ON CONFLICT (key) "
    "DO UPDATE SET value = excluded.value, revision = excluded.revision"
)


class Coalesced:
    """Calls that wait together, as one: as lean as it can be."""

    def __init__(self, do: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]) -> None:
        self._do = do
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    def call(self, item: Any) -> asyncio.Future[Any]:
        """Return what an item returns."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return future

    async def _run(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting, []
            for (_, future), result in zip(
                some, await self._do([item for item, _ in some]), strict=True
            ):
                future.set_result(result)
            await asyncio.sleep(0)
        self._task = None


async def bare_calls(connection: Any) -> dict[str, tuple[Call, int]]:
    """Return what is measured of the driver, with the number of callers."""
    await connection.execute(_TABLE)
    rows = [(key, VALUE, 1, f"k{number % 20}") for number, key in enumerate(DATA)]
    await connection.executemany("INSERT INTO bare VALUES ($1, $2, $3, $4)", rows)
    await connection.execute("ANALYZE bare")
    get_one = await connection.prepare("SELECT value FROM bare WHERE key = $1")
    get_many = await connection.prepare("SELECT key, value FROM bare WHERE key = ANY($1)")
    put_one = await connection.prepare(_UPSERT.format("VALUES ($1, $2, $3)"))
    arrays = "SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::int8[])"
    put_many = await connection.prepare(_UPSERT.format(arrays))
    query = await connection.prepare(
        f"SELECT key, value, revision, kind FROM bare WHERE kind = $1 ORDER BY key LIMIT {LIMIT}"
    )

    async def gets(keys: Sequence[bytes]) -> Sequence[Any]:
        found = dict(await get_many.fetch(keys))
        return [found.get(key) for key in keys]

    async def puts(keys: Sequence[bytes]) -> Sequence[Any]:
        await put_many.fetch(keys, [VALUE] * len(keys), [2] * len(keys))
        return keys

    reading, writing = Coalesced(gets), Coalesced(puts)
    return {
        "get, 1 caller": (lambda n: get_one.fetchval(DATA[n]), 1),
        "put, 1 caller": (lambda n: put_one.fetch(DATA[n], VALUE, 2), 1),
        f"get, {MANY} callers": (lambda n: reading.call(DATA[n]), MANY),
        f"put, {MANY} callers": (lambda n: writing.call(DATA[n]), MANY),
        f"query, {LIMIT} entries": (lambda n: query.fetch(f"k{n % 20}"), 1),
    }


async def own_calls(datastore: Any) -> dict[str, tuple[Call, int]]:
    """Return the same of ours."""
    store = await datastore.store("plain")
    found = await datastore.index_store("found", {"kind": "str"})
    for number, key in enumerate(KEYS):
        await store.put(key, VALUE)
        await found.put(key, VALUE, index={"kind": f"k{number % 20}"})

    def query(number: int) -> Awaitable[Any]:
        return found.query(Query(A("kind") == f"k{number % 20}", limit=LIMIT))  # type: ignore[no-any-return]

    return {
        "get, 1 caller": (lambda n: store.get(KEYS[n]), 1),
        "put, 1 caller": (lambda n: store.put(KEYS[n], VALUE), 1),
        f"get, {MANY} callers": (lambda n: store.get(KEYS[n]), MANY),
        f"put, {MANY} callers": (lambda n: store.put(KEYS[n], VALUE), MANY),
        f"query, {LIMIT} entries": (query, 1),
    }


async def rate(call: Call, callers: int, calls: int) -> float:
    """Return calls per second."""

    async def caller(first: int) -> None:
        for turn in range(calls // callers):
            await call((first * 31 + turn * callers) % len(KEYS))

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return calls / (time.perf_counter() - began)


async def measure(url: str, rounds: int) -> None:
    """Measure both sides in turn, and print the table."""
    connection = await asyncpg.connect(url)
    datastore = open_datastore(f"{url}?schema=bench_{time.time_ns()}")
    await datastore.open()
    bare, own = await bare_calls(connection), await own_calls(datastore)
    await connection.execute("VACUUM ANALYZE")
    for what, (call, callers) in own.items():
        calls = CALLS * (4 if callers > 1 else 1) // (10 if "query" in what else 1)
        found: dict[str, list[float]] = {"bare": [], "own": []}
        for _ in range(rounds):
            found["bare"].append(await rate(bare[what][0], callers, calls))
            found["own"].append(await rate(call, callers, calls))
        rates = {side: statistics.median(seen) for side, seen in found.items()}
        ratios = [o / b for o, b in zip(found["own"], found["bare"], strict=True)]
        ratio = statistics.median(ratios)
        print(f"{what:20} bare {rates['bare']:8,.0f}  own {rates['own']:8,.0f}  {ratio:5.2f}")
    await datastore.close()
    await connection.execute("DROP TABLE bare")
    await connection.close()


def main() -> None:
    """Measure on a private server, on both kinds of loop."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with PostgresServer() as server:
        assert isinstance(server, PostgresServer)
        for name, run in {"asyncio": asyncio.run, "uvloop": uvloop.run}.items():
            print(name)
            run(measure(server.url(), rounds))


if __name__ == "__main__":
    main()
