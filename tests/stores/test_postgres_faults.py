"""PostgreSQL breaks in every way: what was acknowledged is there, calls end, later ones work."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ion.base.errors import Conflict, Damaged, IonError, Unavailable
from ion.stores.postgres.datastore import PostgresDatastore
from ion.stores.query import A, Query
from ion.stores.store import ABSENT, Change, Put, Read
from ion.testing.servers import PostgresServer
from tests.stores.conftest import Open

pytestmark = pytest.mark.postgres
DEADLINE = 30.0


async def until_it_works(call: Callable[[], Awaitable[Any]]) -> Any:
    """Return what a call returns once it does not raise Unavailable."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return await call()
        except Unavailable:
            assert time.monotonic() < end, "it does not work again"
            await asyncio.sleep(0.02)


class Writers:
    """Some who put, and batches too, until they are told to stop; they keep a record."""

    def __init__(self, datastore: PostgresDatastore) -> None:
        self.datastore = datastore
        self.acknowledged: dict[str, bytes] = {}
        self.batches: list[list[str]] = []
        self.errors: list[BaseException] = []
        self._numbers = itertools.count()
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, count: int = 16) -> None:
        self.store = await self.datastore.store("things")
        for number in range(count):
            work = self._batch if number % 4 == 0 else self._put
            self._tasks.append(asyncio.ensure_future(self._repeat(work)))
        await self.more()

    async def more(self, count: int = 50) -> None:
        """Wait until there are more acknowledged."""
        goal, end = len(self.acknowledged) + count, time.monotonic() + DEADLINE
        while len(self.acknowledged) < goal:
            assert time.monotonic() < end, self.errors[-1:]
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._is_over = True
        await asyncio.wait_for(asyncio.gather(*self._tasks), DEADLINE)

    async def _repeat(self, work: Callable[[int], Awaitable[None]]) -> None:
        while not self._is_over:
            try:
                await work(next(self._numbers))
            except IonError as error:
                self.errors.append(error)
                await asyncio.sleep(0.01)

    async def _put(self, number: int) -> None:
        await self.store.put(f"one-{number}", b"%d" % number)
        self.acknowledged[f"one-{number}"] = b"%d" % number

    async def _batch(self, number: int) -> None:
        keys = [f"batch-{number}-{part}" for part in range(5)]
        self.batches.append(keys)
        await self.store.write([Put(key, b"%d" % number, revision=ABSENT) for key in keys])
        self.acknowledged.update(dict.fromkeys(keys, b"%d" % number))

    async def check(self) -> None:
        """Nothing acknowledged is lost, no batch is in part, and all errors say what it is."""
        found = await self.store.get_many(list(self.acknowledged))
        assert found == self.acknowledged
        for keys in self.batches:
            there = await self.store.get_many(keys)
            assert len(there) in {0, len(keys)}
        assert all(isinstance(error, Unavailable) for error in self.errors), self.errors


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_the_server_is_gone_and_comes_back(
    opened: Open, postgres_server: PostgresServer, how: str
) -> None:
    writers = Writers(await opened())
    await writers.start()
    await asyncio.to_thread(getattr(postgres_server, how))
    await asyncio.to_thread(postgres_server.start)
    await writers.more()
    await writers.stop()
    await writers.check()


async def test_while_it_is_away_calls_end(opened: Open, postgres_server: PostgresServer) -> None:
    """Within their time; after some seconds at once."""
    datastore = await opened(timeout=2.0)
    store = await datastore.store("things")
    await store.put("a", b"1")
    await asyncio.to_thread(postgres_server.stop)
    try:
        calls = [store.get("a"), store.put("a", b"2"), store.scan(), datastore.names()]
        began = time.monotonic()
        done = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), DEADLINE)
        assert time.monotonic() - began < 10.0
        assert all(isinstance(error, Unavailable) for error in done), done
        assert all("does it run?" in str(error) or "stopped" in str(error) for error in done)
    finally:
        await asyncio.to_thread(postgres_server.start)
    assert await until_it_works(lambda: store.get("a")) == b"1"


async def test_connections_are_cut(opened: Open, admin: Any) -> None:
    """Reads do not notice; a write that was under way says that it may be done."""
    datastore = await opened()
    writers = Writers(datastore)
    await writers.start()
    for _ in range(5):
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ion'"
        )
        await writers.store.get("one-1")
        await writers.more(10)
    await writers.stop()
    await writers.check()


async def test_a_read_is_done_again_where_the_connection_is_cut(opened: Open, admin: Any) -> None:
    store = await (await opened()).store("things")
    await store.put("a", b"1")
    reading = asyncio.ensure_future(store._engine.run(Sleeper().once, is_read=True))
    await until_asleep(admin)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'ion' AND query LIKE '%pg_sleep%'"
    )
    assert await asyncio.wait_for(reading, DEADLINE) == "done"


class Sleeper:
    """Work that waits the first time, and is done the second."""

    calls = 0

    async def once(self, line: Any) -> str:
        self.calls += 1
        if self.calls == 1:
            await line.once("SELECT pg_sleep(60)")
        return "done"


async def until_asleep(admin: Any, like: str = "%pg_sleep%", count: int = 1) -> None:
    """Wait until statements like this are under way."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ion' "
        "AND state = 'active' AND query LIKE $1"
    )
    end = time.monotonic() + DEADLINE
    while await admin.fetchval(sql, like) < count:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
        await admin.fetchval("SELECT pg_stat_clear_snapshot()")  # else kept in a transaction


async def test_a_frozen_server(opened: Open, postgres_server: PostgresServer) -> None:
    """Calls end in their time, whatever they do; when it goes on, so does everything."""
    datastore = await opened(timeout=1.5)
    store = await datastore.store("things")
    await store.put("a", b"1")
    postgres_server.suspend()
    try:
        calls: list[Any] = [store.put(f"{number}", b"") for number in range(20)]
        calls += [store.get("a"), store.scan(), store.write([Put("x", b""), Put("y", b"")])]
        calls += [datastore.commit([Change("things", Put("z", b""))], [Read("things", "a", 1)])]
        done = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), DEADLINE)
        assert all(isinstance(error, Unavailable) for error in done), done
        assert "in time" in str(done[0])
        assert "not known whether the write was done" in str(done[0])
    finally:
        postgres_server.resume()
    assert await until_it_works(lambda: store.get("a")) == b"1"


async def test_a_cancelled_call_does_no_harm_to_others(opened: Open) -> None:
    store = await (await opened()).store("things")
    tasks = [asyncio.ensure_future(store.put(f"{number}", b"x" * 100)) for number in range(100)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), DEADLINE)
    assert all(isinstance(result, int) for result in done[1::2]), done
    keys = [f"{number}" for number in range(1, 100, 2)]
    assert set(await store.get_many(keys)) == set(keys)
    assert await store.get("1") == b"x" * 100


async def test_a_row_that_somebody_has_locked(opened: Open, admin: Any) -> None:
    """Whoever writes it waits, and is told in the end; nobody else waits."""
    datastore = await opened(timeout=2.0)
    store = await datastore.store("things")
    await store.put("locked", b"1")
    table = store.table.shape.sql
    await admin.execute("BEGIN")
    await admin.execute(f"SELECT FROM {table} WHERE key = 'locked' FOR UPDATE")
    tasks = [asyncio.ensure_future(store.put(f"{number}", b"")) for number in range(20)]
    held = asyncio.ensure_future(store.put("locked", b"2"))
    unit = datastore.commit(
        [Change("things", Put("locked", b"3")), Change("things", Put("o", b""))]
    )
    await asyncio.gather(*tasks)
    with pytest.raises(Unavailable, match="locked by somebody"):
        await unit
    with pytest.raises(Unavailable, match=r"locked by somebody|in time"):
        await held
    await admin.execute("COMMIT")
    assert await store.get("locked") == b"1"
    await store.put("locked", b"4")
    assert await store.get("o") is None


async def test_a_lock_that_is_given_back(opened: Open, admin: Any) -> None:
    """Then it is done."""
    store = await (await opened()).store("things")
    await store.put("locked", b"1")
    await admin.execute("BEGIN")
    await admin.execute(f"SELECT FROM {store.table.shape.sql} WHERE key = 'locked' FOR UPDATE")
    held = asyncio.ensure_future(store.put("locked", b"2"))
    await until_asleep(admin, "INSERT%")
    await admin.execute("COMMIT")
    await asyncio.wait_for(held, DEADLINE)
    assert await store.get("locked") == b"2"


async def test_commits_that_cross_each_other(opened: Open) -> None:
    """What each reads, and is not there, the other puts: all end, and some order is the truth."""
    one, two = await opened(), await opened()
    for datastore in (one, two):
        await datastore.store("a")
        await datastore.store("b")
    for turn in range(5):
        x, y = f"x{turn}", f"y{turn}"
        tries = [
            one.commit(
                [Change("a", Put(x, b"")), Change("b", Put(x, b""))], [Read("b", y, ABSENT)]
            ),
            two.commit(
                [Change("b", Put(y, b"")), Change("a", Put(y, b""))], [Read("a", x, ABSENT)]
            ),
        ]
        done = await asyncio.wait_for(asyncio.gather(*tries, return_exceptions=True), DEADLINE)
        assert sum(isinstance(result, list) for result in done) == 1, done
        assert sum(isinstance(result, Conflict) for result in done) == 1, done
    names = [entry.key for entry in (await (await one.store("a")).scan()).items]
    assert len(names) == 5


async def test_updates_that_wait_for_each_other(opened: Open) -> None:
    """Two clients change the same rows at a time, in any order: all is done."""
    stores = [await (await opened()).index_store("f", {"i": "int"}) for _ in range(2)]
    keys = [f"{number}" for number in range(30)]
    await stores[0].write([Put(key, b"") for key in keys])
    calls = [
        stores[n % 2].update_index(key, {"i": n})
        for n in range(4)
        for key in (keys, keys[::-1])[n % 2]
    ]
    await asyncio.wait_for(asyncio.gather(*calls), DEADLINE)
    assert await stores[0].count(Query(A("i") >= 0)) == 30


async def test_a_database_that_becomes_read_only(opened: Open, admin: Any) -> None:
    """Reads go on; writes say it, and go on when it is over."""
    store = await (await opened()).store("things")
    await store.put("a", b"1")
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ion'"
    )
    with pytest.raises(Unavailable, match="read-only"):
        await until_said(lambda: store.put("a", b"2"), "read-only")
    assert await store.get("a") == b"1"
    await admin.execute("SET default_transaction_read_only = off")
    await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await until_it_works(lambda: store.put("a", b"3"))
    assert await store.get("a") == b"3"


async def until_said(call: Callable[[], Awaitable[Any]], word: str) -> None:
    """Call until an error has this word, and raise that."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            await call()
        except Unavailable as error:
            if word in str(error):
                raise
        await asyncio.sleep(0.02)


async def test_a_server_without_a_free_connection(opened: Open, admin: Any) -> None:
    """What connections there are do the work."""
    datastore = await opened()
    store = await datastore.store("things")
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"CREATE ROLE few{name} LOGIN CONNECTION LIMIT 2")
    await admin.execute(f"GRANT ALL ON SCHEMA ion TO few{name}")
    await admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA ion TO few{name}")
    few = PostgresDatastore(store._engine.pool.address.dsn.replace("//ion@", f"//few{name}@"))
    await few.open()
    try:
        there = await few.store("things")
        calls: list[Any] = [there.scan() for _ in range(30)]
        calls += [there.write([Put(f"{n}", b""), Put(f"{n}b", b"")]) for n in range(30)]
        await asyncio.wait_for(asyncio.gather(*calls), DEADLINE)
        one_more = PostgresDatastore(few._address.dsn)
        with pytest.raises(Unavailable, match=r"free connection.*\?pool="):
            await one_more.open()
    finally:
        await few.close()
        await admin.execute(f"DROP OWNED BY few{name}; DROP ROLE few{name}")


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE {table}",
        "ALTER TABLE {table} DROP COLUMN revision",
        "ALTER TABLE {table} DROP COLUMN a_i",
        "ALTER TABLE {table} DROP CONSTRAINT {name}_pkey",
        "ALTER TABLE {table} ALTER COLUMN value TYPE int USING 1",
    ],
)
async def test_a_table_altered_by_hand(opened: Open, admin: Any, statement: str) -> None:
    store = await (await opened()).index_store("found", {"i": "int"})
    await store.put("a", b"1", index={"i": 1})
    name = store.table.shape.own_name.strip('"')
    made = name.rpartition("_")[0] + f"_{store.table.shape.generation - 1}"
    await admin.execute(statement.format(table=store.table.shape.sql, name=made))
    with pytest.raises(Damaged, match="by hand"):
        await store.put("a", b"2", index={"i": 2})
