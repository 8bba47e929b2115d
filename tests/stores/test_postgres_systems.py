"""Several systems, and several buses, on one PostgreSQL database."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ion import Container
from ion.base.errors import ConfigurationError, StartError
from ion.stores.postgres import schema_lock
from ion.stores.postgres.datastore import PostgresDatastore
from ion.stores.postgres.schema import own_schema
from tests.stores.conftest import Open

pytestmark = pytest.mark.postgres
DEADLINE = 30.0
MARK = "SELECT system FROM ion.ion_schema"


async def until(is_so: Callable[[], Awaitable[Any]]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + DEADLINE
    while not await is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_two_systems_share_nothing(opened: Open, postgres_url: str) -> None:
    """The first one has the schema of old, the other one its own; each finds it again."""
    long = "B" + "b" * 90
    for round_ in range(2):
        for sysname in ("a", long, "ion"):
            datastore = await opened(sysname=sysname)
            store = await datastore.store("tasks")
            assert await store.get("of") == (sysname.encode() if round_ else None)
            await store.put("of", sysname.encode())
            await datastore.close()
    assert len(own_schema(long)) == 63
    assert (await opened(sysname="a")).url.endswith(postgres_url.rpartition("/")[2])
    assert (await opened(sysname="ion")).url.endswith("?schema=ion_ion")
    assert await (await (await opened()).store("tasks")).get("of") == b"a"  # whoever says nothing


async def test_systems_that_come_at_once_have_one_each(opened: Open) -> None:
    names = [f"s{number % 4}" for number in range(8)]
    datastores = await asyncio.gather(*(opened(sysname=name) for name in names))
    urls = {name: datastore.url for name, datastore in zip(names, datastores, strict=True)}
    assert len({datastore.url for datastore in datastores}) == len(set(urls.values())) == 4


async def test_what_an_earlier_release_wrote_is_the_first_one_s(opened: Open, admin: Any) -> None:
    await (await (await opened()).store("a")).put("k", b"old")
    await admin.execute("ALTER TABLE ion.ion_schema DROP COLUMN system")
    await admin.execute("UPDATE ion.ion_schema SET version = 1")
    assert await (await (await opened(sysname="lab")).store("a")).get("k") == b"old"
    assert await (await (await opened(sysname="other")).store("a")).get("k") is None
    assert await admin.fetchval(MARK) == "lab"


async def test_a_schema_of_another_system_is_refused(opened: Open, admin: Any) -> None:
    await (await (await opened("?schema=mine", sysname="a")).store("s")).put("k", b"v")
    with pytest.raises(ConfigurationError, match="schema 'mine' is of system 'a'") as refused:
        await opened("?schema=mine", sysname="b")
    await admin.execute(refused.value.message.rpartition("in the database: ")[2])
    assert await (await (await opened("?schema=mine", sysname="b")).store("s")).get("k") == b"v"
    with pytest.raises(ConfigurationError, match="is of system 'b'"):
        await opened("?schema=mine", sysname="a")


async def test_containers_have_that_of_their_system(postgres_url: str) -> None:
    """What one has left to be sent, to be fired or to be found is no other's."""
    config = {"store.url": postgres_url}
    first = Container("memory://", sysname="a", config=config)
    second = Container("memory://", sysname="b", config=config)
    async with first, second:
        await (await (await first.datastore()).store("x")).put("k", b"a's")
        assert await (await (await second.datastore()).store("x")).get("k") is None


# one bus


async def test_containers_of_another_bus_are_refused(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_lock, "PATIENCE", 0.2)
    first, second, third = [await opened(sysname="a") for _ in range(3)]
    other = await opened(sysname="b")
    await first.claim("rabbit@here//")
    await second.claim("rabbit@here//")
    await other.claim("rabbit@there//")  # it has a schema of its own
    who = f"'ion {os.getpid()} on .*, bus rabbit@here//'"
    for left in (first, second):
        with pytest.raises(StartError, match=who):
            await third.claim("rabbit@there//")
        await left.close()
    monkeypatch.setattr(schema_lock, "PATIENCE", DEADLINE)
    await third.claim("rabbit@there//")


async def test_a_lock_that_was_lost_is_taken_again(
    opened: Open, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_lock, "PATIENCE", 0.2)
    holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
    first, second = await opened(sysname="a"), await opened(sysname="a")
    await first.claim("memory 1 x")
    (lost,) = await admin.fetchrow(holders)
    await admin.execute(f"SELECT pg_terminate_backend({lost})")
    await until(lambda: admin.fetchval(f"{holders} AND pid <> {lost}"))
    with pytest.raises(StartError):
        await second.claim("memory 2 y")


async def test_a_container_claims_its_database(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_lock, "PATIENCE", 0.2)
    config = {"store.url": postgres_url}
    first, second = (Container("memory://", sysname="a", config=config) for _ in range(2))
    first.claims_store = second.claims_store = True
    async with first, second:
        await first.datastore()
        with pytest.raises(StartError, match="each would take the other's work"):
            await second.datastore()
        await first.stop()
        monkeypatch.setattr(schema_lock, "PATIENCE", DEADLINE)
        await second.datastore()


async def test_a_close_that_is_cancelled_leaves_no_connection(
    postgres_url: str, admin: Any
) -> None:
    """It goes on to its end, which whoever closes it again awaits."""
    datastore = PostgresDatastore(postgres_url, timeout=20.0)
    await datastore.open()
    store = await datastore.store("a")
    calls = [asyncio.ensure_future(store.get(str(number))) for number in range(50)]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(datastore.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    assert closing.cancelled()
    await datastore.close()
    await asyncio.wait(calls)
    await until(lambda: _alone(admin))


async def _alone(admin: Any) -> bool:
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    return await admin.fetchval(others) == 1
