"""A write that was given up is over before what comes later: wherever the server was with it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ion.base.errors import Unavailable
from ion.stores.postgres.datastore import PostgresDatastore
from ion.stores.postgres.store import PostgresStore
from ion.stores.store import ABSENT, Put, Remove

pytestmark = pytest.mark.postgres
DEADLINE = 30.0
SLOW = b"slow" + bytes(300_000)

# It does not heed that it is cancelled, and holds no key yet.
DEAF = """
CREATE FUNCTION deaf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF substr(NEW.value, 1, 4) = 'slow' THEN
        BEGIN PERFORM pg_sleep({s}); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep({s}); END;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER deaf BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION deaf();
"""


@pytest.fixture
async def datastore(
    postgres_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    """Give a datastore that soon has the server end what it does not stop."""
    monkeypatch.setattr("ion.stores.postgres.engine._QUIET", 0.1)
    options, timeout = request.param
    datastore = PostgresDatastore(postgres_url + options, timeout=timeout)
    await datastore.open()
    yield datastore
    await datastore.close()


async def slow_store(datastore: PostgresDatastore, admin: Any, seconds: float) -> PostgresStore:
    """Return a store that is slow to take what begins with 'slow'."""
    store = await datastore.store("a")
    await store.put("k", b"before")
    await admin.execute(DEAF.format(table=store.table.shape.sql, s=seconds))
    return store


async def at_work(admin: Any) -> list[int]:
    """Return the servers' processes that insert."""
    rows = await admin.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE 'INSERT%' AND state = 'active'"
    )
    return [row[0] for row in rows]


async def until(admin: Any, *, busy: bool) -> list[int]:
    """Wait until the server is at work on a write; or no longer."""
    end = time.monotonic() + DEADLINE
    while bool(pids := await at_work(admin)) != busy:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    return pids


async def give_up(store: PostgresStore, call: asyncio.Future[Any], how: str) -> None:
    """Have a call end at once, and leave the server at work."""
    if how == "cancelled":
        call.cancel()
    else:
        for line in list(store._engine.pool._connections):
            line.end()
    for _ in range(5):  # that is: nobody waits for the server
        await asyncio.sleep(0)
    assert call.done()
    assert call.cancelled() or "not known whether" in str(call.exception())


DIRECT = ("", 2 * DEADLINE)
POOLER = ("?statement_cache_size=0", 2 * DEADLINE)


@pytest.mark.parametrize(
    ("datastore", "what", "how"),
    [
        (DIRECT, "put", "cancelled"),
        (DIRECT, "put", "cut"),
        (DIRECT, "batch", "cancelled"),
        (DIRECT, "new", "cut"),
        (POOLER, "put", "cut"),
        (POOLER, "batch", "cancelled"),
    ],
    indirect=["datastore"],
)
async def test_what_was_given_up_is_not_done_after_what_came_later(
    datastore: PostgresDatastore, admin: Any, what: str, how: str
) -> None:
    store = await slow_store(datastore, admin, 0.4)
    calls = {
        "put": lambda: store.put("k", SLOW),
        "batch": lambda: store.write([Put("k", SLOW), Put("l", b"slow")]),
        "new": lambda: store.put("n", SLOW, revision=ABSENT),
    }
    call = asyncio.ensure_future(calls[what]())
    await until(admin, busy=True)
    await give_up(store, call, how)
    await asyncio.gather(store.put("k", b"later"), store.remove("n"))
    await until(admin, busy=False)
    assert await store.get("k") == b"later"
    assert await store.get("n") is None


@pytest.mark.parametrize("datastore", [DIRECT], indirect=True)
async def test_a_batch_comes_after_a_put_that_waited_with_others(
    datastore: PostgresDatastore, admin: Any
) -> None:
    store = await slow_store(datastore, admin, 0.2)
    one, given_up = (asyncio.ensure_future(store.put(key, SLOW)) for key in ("o", "k"))
    while len(await until(admin, busy=True)) < 2:
        await asyncio.sleep(0)
    given_up.cancel()
    await store.write([Put("k", b"later"), Remove("n")])
    await one
    await until(admin, busy=False)
    assert await store.get("k") == b"later"


@pytest.mark.parametrize("datastore", [("?pool=1", 2 * DEADLINE)], indirect=True)
async def test_a_large_value_that_is_given_up(datastore: PostgresDatastore, admin: Any) -> None:
    """The server reads it for long, and is at work on it for long before it holds the key."""
    store = await datastore.store("a")
    value = bytes(20_000_000)
    begun = time.monotonic()
    await store.put("first", value)
    whole = time.monotonic() - begun
    for number, part in enumerate((0.3, 0.5, 0.7, 0.9)):
        key = f"k{number}"
        put = store.put(key, value) if number % 2 else store.write([Put(key, value)])
        call = asyncio.ensure_future(put)
        await asyncio.sleep(part * whole)
        call.cancel()
        await asyncio.wait([call])
        await store.put(key, b"later")
        await until(admin, busy=False)
        assert await store.get(key) == b"later"


@pytest.mark.parametrize("datastore", [("", 2.0)], indirect=True)
@pytest.mark.parametrize("what", ["put", "batch"])
async def test_what_nobody_knows_of_holds_up_its_key_and_no_other(
    datastore: PostgresDatastore, admin: Any, what: str
) -> None:
    """A frozen server process may go on at any time: until then its key is not written."""
    store = await slow_store(datastore, admin, 0.2)
    given_up = asyncio.ensure_future(store.put("k", SLOW))
    (pid,) = await until(admin, busy=True)
    os.kill(pid, signal.SIGSTOP)
    try:
        await give_up(store, given_up, "cut")
        later = store.put("k", b"2") if what == "put" else store.write([Put("k", b"2")])
        called = asyncio.ensure_future(later)
        await store.put("other", b"1")
        await store.write([Put("other", b"2")])
        with pytest.raises(Unavailable, match=r"was given up.*not begun"):
            await asyncio.wait_for(called, DEADLINE)
        assert await store.get("k") == b"before"
    finally:
        os.kill(pid, signal.SIGCONT)
    end = time.monotonic() + DEADLINE
    while store.table.doubts:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    await store.put("k", b"later")
    await until(admin, busy=False)
    assert await store.get("k") == b"later"


@pytest.mark.parametrize("datastore", [DIRECT], indirect=True)
@pytest.mark.parametrize("how", ["cut", "cancelled"])
async def test_what_the_end_cuts_off_is_not_done_after_what_came_later(
    datastore: PostgresDatastore,
    admin: Any,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("datastore", "pool"):
        monkeypatch.setattr(f"ion.stores.postgres.{module}.LAST_MOMENT", 0.1)
    store = await slow_store(datastore, admin, 0.4)
    calls = [store.put("k", SLOW), store.put("l", SLOW), store.write([Put("m", SLOW)])]
    tasks = [asyncio.ensure_future(call) for call in calls]
    while len(await until(admin, busy=True)) < 3:
        await asyncio.sleep(0)
    closing = asyncio.ensure_future(datastore.close())
    while how == "cancelled" and not store._engine.pool.is_closed:
        await asyncio.sleep(0.01)
    for task in tasks:
        if how == "cancelled":
            task.cancel()
    await closing
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, Unavailable | asyncio.CancelledError) for end in ends), ends
    await datastore.open()
    again = await datastore.store("a")
    for key in "klm":
        await again.put(key, b"later")
    await until(admin, busy=False)
    assert await again.get_many(["k", "l", "m"]) == dict.fromkeys("klm", b"later")


@pytest.mark.parametrize("datastore", [("?pool=1", 2 * DEADLINE)], indirect=True)
async def test_a_read_that_the_end_cuts_off_is_told_at_once(
    datastore: PostgresDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("datastore", "pool"):
        monkeypatch.setattr(f"ion.stores.postgres.{module}.LAST_MOMENT", 0.1)
    store = await datastore.store("a")
    (line,) = store._engine.pool._connections
    assert line.backend is not None
    os.kill(line.backend.pid, signal.SIGSTOP)
    try:
        call = asyncio.ensure_future(store.get("k"))
        await asyncio.sleep(0)
        await datastore.close()
        for _ in range(5):
            await asyncio.sleep(0)
        assert "not open" in str(call.done() and call.exception())
    finally:
        os.kill(line.backend.pid, signal.SIGCONT)


@pytest.mark.parametrize("datastore", [("", 2 * DEADLINE)], indirect=True)
@pytest.mark.parametrize("count", [1, 4])
async def test_what_waited_for_a_lock_and_was_given_up_is_not_done_after_what_came_later(
    datastore: PostgresDatastore, admin: Any, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it wait for itself."""
    monkeypatch.setattr("ion.stores.postgres.engine._FIRST_PAUSE", 0.5)
    monkeypatch.setattr("random.random", lambda: 1.0)
    store = await datastore.store("a")
    keys = [f"k{number}" for number in range(count)]
    await store.write([Put(key, b"before") for key in keys])
    end = time.monotonic() + DEADLINE
    async with admin.transaction():
        await admin.execute(f"SELECT 1 FROM {store.table.shape.sql} FOR UPDATE")
        given_up = [asyncio.ensure_future(store.put(key, b"1")) for key in keys]
        writes, pool = store._writes, store._engine.pool
        while not writes._under_way or writes._flying or len(pool._idle) < len(pool._connections):
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        for call in given_up:
            call.cancel()
        await asyncio.wait(given_up)
    async with asyncio.timeout(DEADLINE / 2):
        await asyncio.gather(*(store.put(key, b"later") for key in keys))
        while writes._under_way:
            await asyncio.sleep(0.01)
    assert await store.get_many(keys) == dict.fromkeys(keys, b"later")
