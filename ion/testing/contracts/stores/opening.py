"""The part of the store contract about opening, closing and what stores there are."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ion.base.errors import ConfigurationError, InvalidRequest, Unavailable
from ion.stores.opening import open_datastore
from ion.stores.query import A, Query
from ion.stores.store import Datastore, Put, Store
from ion.testing.contracts.stores.bench import Bench, NewDatastore, values

NAMES = ["a", "select", "pg_class", "sqlite_master", "users", "default", "a0", "a_b", "z" * 48]


class OpeningContract(Bench):
    """Open, close, names, drop."""

    async def test_what_it_is(self, datastore: Datastore) -> None:
        """Its URL is of its scheme."""
        assert datastore.scheme
        assert datastore.url.startswith(f"{datastore.scheme}://")

    async def test_before_it_is_open(self, new_datastore: NewDatastore) -> None:
        """It says that it is not."""
        datastore = new_datastore()
        for call in (lambda: datastore.store("a"), datastore.names, lambda: datastore.drop("a")):
            with pytest.raises(Unavailable, match="not open"):
                await call()
        await datastore.close()

    async def test_after_it_is_closed(self, new_datastore: NewDatastore) -> None:
        """All calls say so, those of its stores too; to close it twice is fine."""
        datastore = new_datastore()
        await datastore.open()
        await datastore.open()
        store = await datastore.store("a")
        indexed = await datastore.index_store("b", {"i": "int"})
        await datastore.close()
        await datastore.close()
        calls = [
            datastore.names,
            lambda: datastore.store("a"),
            lambda: store.get("a"),
            lambda: store.entry("a"),
            lambda: store.has("a"),
            lambda: store.get_many(["a"]),
            lambda: store.put("a", b""),
            lambda: store.remove("a"),
            lambda: store.write([Put("a", b"")]),
            store.scan,
            store.keys,
            store.clear,
            lambda: indexed.query(Query(A("i") == 1)),
            lambda: indexed.count(Query()),
            lambda: indexed.update_index("a", {"i": 1}),
        ]
        for call in calls:
            with pytest.raises(Unavailable, match="not open"):
                await call()  # type: ignore[no-untyped-call]

    @pytest.mark.parametrize("is_awaited", [True, False])
    async def test_what_was_begun_is_finished(
        self, new_datastore: NewDatastore, other: Datastore, is_awaited: bool
    ) -> None:
        """Where it is closed meanwhile: each write is done, or says that it was not.

        So it is where whoever closes it is cancelled: it is closed all the same, in a while.
        """
        datastore = new_datastore()
        await datastore.open()
        store = await datastore.store("a")
        tasks = [asyncio.ensure_future(store.put(f"{n}", b"")) for n in range(50)]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(datastore.close())
        await asyncio.sleep(0)
        if not is_awaited:
            closing.cancel()
        await asyncio.wait({closing})
        await datastore.close()
        for _ in range(10):  # whoever was answered goes on
            await asyncio.sleep(0)
        assert all(task.done() for task in tasks)
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        assert all(isinstance(result, int | Unavailable) for result in done), done
        there = await values(await other.store("a"))
        assert {f"{n}" for n, result in enumerate(done) if isinstance(result, int)} <= set(there)

    async def test_a_cancelled_call(self, store: Store) -> None:
        """It ends at once, and what comes after it works."""
        for turn in range(20):
            task = asyncio.ensure_future(store.put(f"{turn}", b"x" * 1000))
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.put("after", b"%d" % turn)
            assert await store.get("after") == b"%d" % turn

    async def test_stores_by_name(self, datastore: Datastore, other: Datastore) -> None:
        """Of any name, also those that an engine has a use for."""
        assert await datastore.names() == []
        for name in NAMES:
            store = await datastore.store(name)
            assert store.name == name
            await store.put("k", name.encode())
        await datastore.index_store("indexed", {"i": "int"})
        assert await other.names() == sorted([*NAMES, "indexed"])
        for name in NAMES:
            assert await (await other.store(name)).get("k") == name.encode()

    async def test_a_store_is_dropped(self, datastore: Datastore, other: Datastore) -> None:
        """With all that is in it; another one of that name may be of another kind."""
        for name in ("a", "ab", "b"):
            await (await datastore.store(name)).put("k", b"1")
        await datastore.drop("a")
        await datastore.drop("a")
        assert await datastore.names() == await other.names() == ["ab", "b"]
        indexed = await datastore.index_store("a", {"x": "int"})
        assert await values(indexed) == {}
        await indexed.put("k", b"2", index={"x": 1})
        await datastore.drop("a")
        typed = await datastore.index_store("a", {"x": "str"})
        assert await typed.count(Query()) == 0
        await typed.put("k", b"3", index={"x": "1"})
        assert await typed.count(Query(A("x") == "1")) == 1
        assert await (await other.store("ab")).get("k") == b"1"

    async def test_a_store_that_another_drops(self, datastore: Datastore, other: Datastore) -> None:
        """Is not written to any more; opened again it is a new one, of whatever kind."""
        store = await datastore.store("a")
        indexed = await datastore.index_store("b", {"x": "int"})
        await asyncio.gather(store.put("k", b"1"), indexed.put("k", b"1", index={"x": 1}))
        for name in ("a", "b"):
            await other.drop(name)
        with pytest.raises(InvalidRequest):
            await store.put("k", b"2")
        with pytest.raises(InvalidRequest):
            await indexed.put("k", b"2", index={"x": 2})
        await (await datastore.store("a")).put("l", b"3")
        assert await values(await other.store("a")) == {"l": b"3"}
        indexed = await datastore.index_store("b", {"x": "int"})
        await indexed.put("l", b"3", index={"x": 3})
        await other.drop("b")
        with contextlib.suppress(InvalidRequest):  # some find out now, and some made it anew
            await datastore.index_store("b", {"x": "int", "y": "str"})
        indexed = await datastore.index_store("b", {"x": "int", "y": "str"})
        await indexed.put("m", b"4", index={"y": "4"})
        assert await indexed.count(Query()) == 1
        await other.drop("b")
        made = await other.index_store("b", {"x": "int"})
        with pytest.raises(InvalidRequest):  # y would be lost
            await indexed.put("n", b"5", index={"x": 5, "y": "5"})
        assert await made.count(Query()) == 0

    async def test_many_open_the_same(self, datastore: Datastore, other: Datastore) -> None:
        """A new one, at a time: it is made once."""
        clients = [datastore, other]
        stores = await asyncio.gather(*(clients[n % 2].store("new") for n in range(20)))
        await asyncio.gather(*(store.put(f"{n}", b"") for n, store in enumerate(stores)))
        assert len(await values(stores[0])) == 20

    async def test_many_clients_come_at_a_time(self, new_datastore: NewDatastore) -> None:
        """To an empty database: one of them makes what there must be."""
        clients = [new_datastore() for _ in range(6)]
        try:
            await asyncio.gather(*(client.open() for client in clients))
            stores = [await client.store("a") for client in clients]
            await asyncio.gather(*(store.put(f"{n}", b"") for n, store in enumerate(stores)))
            assert len(await values(stores[0])) == 6
        finally:
            await asyncio.gather(*(client.close() for client in clients))

    @pytest.mark.parametrize("url", ["", "nope://x", "no url", "://", None])
    def test_a_url_that_is_none(self, url: str) -> None:
        """It is refused, and names those that there are."""
        with pytest.raises(ConfigurationError, match="sqlite://"):
            open_datastore(url)


class KeepingContract(Bench):
    """What an engine that keeps its data has after all clients are gone."""

    async def test_all_is_there_again(self, new_datastore: NewDatastore) -> None:
        """Values, revisions, attributes and stores."""
        datastore = new_datastore()
        await datastore.open()
        store = await datastore.store("a")
        indexed = await datastore.index_store("b", {"i": "int", "s": "str"})
        revision = await store.put("k", b"\0\xff")
        await store.put("gone", b"")
        await store.remove("gone")
        await indexed.put("x", b"1", index={"i": 2**63 - 1, "s": "\U0001f40b"})
        entry = await indexed.entry("x")
        await datastore.close()

        datastore = new_datastore()
        await datastore.open()
        try:
            assert await datastore.names() == ["a", "b"]
            store = await datastore.store("a")
            assert await values(store) == {"k": b"\0\xff"}
            await store.put("k", b"2", revision=revision)
            indexed = await datastore.index_store("b", {"i": "int"})
            assert dict(indexed.indices) == {"i": "int", "s": "str"}
            assert (await indexed.query(Query(A("s") == "\U0001f40b"))).items == [entry]
        finally:
            await datastore.close()

    async def test_what_is_gone_stays_gone(self, new_datastore: NewDatastore) -> None:
        """Removed, cleared or dropped."""
        datastore = new_datastore()
        await datastore.open()
        for name in ("removed", "cleared", "dropped"):
            await (await datastore.store(name)).put("k", b"")
        await (await datastore.store("removed")).remove("k")
        await (await datastore.store("cleared")).clear()
        await datastore.drop("dropped")
        await datastore.close()

        await datastore.open()
        try:
            assert await datastore.names() == ["cleared", "removed"]
            for name in ("removed", "cleared", "dropped"):
                assert await values(await datastore.store(name)) == {}
        finally:
            await datastore.close()

    async def test_the_same_datastore_opens_again(self, new_datastore: NewDatastore) -> None:
        """After it was closed."""
        datastore = new_datastore()
        for turn in range(3):
            await datastore.open()
            store = await datastore.store("a")
            assert len(await values(store)) == turn
            await store.put(f"{turn}", b"")
            await datastore.close()
