"""The part of the store contract about what units of work see and do."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest

from ion.base.errors import Conflict, ContentTooLarge, InvalidRequest, LifecycleError, NotFound
from ion.stores import limits
from ion.stores.limits import MAX_BATCH, MAX_VALUE
from ion.stores.query import A, Query
from ion.stores.store import (
    ABSENT,
    Datastore,
    Entry,
    IndexStore,
    Put,
    Remove,
    Store,
)
from ion.testing.contracts.stores.bench import INDICES, Bench, listed, pages, scanned, values
from ion.testing.contracts.stores.oracle import (
    POOL,
    asked,
    expected,
    filled,
    random_order,
    random_predicate,
)


class UnitViewsContract(Bench):
    """What a unit reads and writes, and what becomes of it."""

    async def test_all_of_it_is_done_at_the_end(
        self, store: Store, indexed: IndexStore, datastore: Datastore, other: Datastore
    ) -> None:
        """Others see nothing of it before; the revisions are those that were returned."""
        there = await other.store("things")
        await store.put("old", b"1")
        async with datastore.unit_of_work() as unit:
            first = await unit.store("things").put("new", b"2")
            second = await unit.index_store("found").put("x", b"3", index={"i": 1})
            assert await unit.store("things").remove("old") is True
            assert await values(there) == await values(store) == {"old": b"1"}
            assert await indexed.count(Query()) == 0
        assert await values(there) == {"new": b"2"}
        new, x = await store.entry("new"), await indexed.entry("x")
        assert new is not None
        assert x is not None
        assert (new.revision, x.revision, dict(x.index)) == (first, second, {"i": 1})

    async def test_it_sees_what_it_has_written(self, store: Store, datastore: Datastore) -> None:
        """By every way of reading."""
        await store.put("a", b"1")
        await store.put("b", b"1")
        async with datastore.unit_of_work() as unit:
            own = unit.store("things")
            assert own.name == "things"
            await own.put("a", b"2")
            await own.put("c", b"2")
            await own.remove("b")
            assert await own.get("a") == b"2"
            assert await own.get("b") is None
            assert [await own.has(key) for key in "abcd"] == [True, False, True, False]
            assert await own.get_many(list("abcda")) == {"a": b"2", "c": b"2"}
            assert await values(own) == {"a": b"2", "c": b"2"}
            assert await listed(own, limit=1) == ["a", "c"]
            assert await own.remove("b") is False
            assert await own.remove("c") is True
            assert await own.get("c") is None
        assert await values(store) == {"a": b"2"}

    async def test_an_error_drops_it(self, store: Store, datastore: Datastore) -> None:
        """And goes on to whom it concerns."""
        with pytest.raises(ZeroDivisionError):
            async with datastore.unit_of_work() as unit:
                await unit.store("things").put("a", b"1")
                raise ZeroDivisionError
        assert await values(store) == {}

    async def test_a_cancelled_one_is_dropped(self, store: Store, datastore: Datastore) -> None:
        """As by any error."""
        begun = asyncio.Event()

        async def work() -> None:
            async with datastore.unit_of_work() as unit:
                await unit.store("things").put("a", b"1")
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await values(store) == {}

    async def test_what_it_writes_without_a_look(self, store: Store, datastore: Datastore) -> None:
        """It replaces what others wrote meanwhile."""
        await store.put("a", b"1")
        await store.put("b", b"1")
        async with datastore.unit_of_work() as unit:
            own = unit.store("things")
            await own.put("a", b"mine")
            assert await own.get("a") == b"mine"
            await own.write([Remove("b"), Put("c", b"mine")])
            for key in "abc":
                await store.put(key, b"theirs")
        assert await values(store) == {"a": b"mine", "c": b"mine"}

    async def test_what_was_made_and_removed_in_it(
        self, store: Store, datastore: Datastore
    ) -> None:
        """It was never there."""
        async with datastore.unit_of_work() as unit:
            own = unit.store("things")
            await own.put("a", b"1", revision=ABSENT)
            await own.remove("a")
            await own.put("b", b"1")
            await own.remove("b")
        assert await values(store) == {}
        with pytest.raises(Conflict):
            async with datastore.unit_of_work() as unit:
                await unit.store("things").put("a", b"1", revision=ABSENT)
                await unit.store("things").remove("a")
                await store.put("a", b"theirs")
        assert await values(store) == {"a": b"theirs"}

    async def test_attributes_in_it(self, indexed: IndexStore, datastore: Datastore) -> None:
        """They change one after the other; the value stays."""
        await indexed.put("a", b"1", index={"i": 1, "s": "x", "b": True})
        async with datastore.unit_of_work() as unit:
            own = unit.index_store("found")
            assert dict(own.indices) == dict(INDICES)
            await own.update_index("a", {"i": 2})
            last = await own.update_index("a", {"b": None, "f": 1})
            await own.put("b", b"2", index={"i": 5, "s": "y"})
            await own.update_index("b", {"s": None})
            entry = await own.entry("a")
            assert entry == Entry("a", b"1", last, {"i": 2, "s": "x", "f": 1.0})
            assert await own.count(Query(A("i") > 1)) == 2
            assert [e.key for e in (await own.query(Query(A("s") == "x"))).items] == ["a"]
            await own.remove("b")
            with pytest.raises(NotFound):
                await own.update_index("b", {"s": "z"})
            assert await own.count(Query(A("i") > 1)) == 1
        assert await scanned(indexed) == [entry]

    async def test_a_put_whose_attributes_change(
        self, indexed: IndexStore, datastore: Datastore
    ) -> None:
        """In the same unit: both are done, of a new key and of one that was there."""
        await indexed.put("old", b"1", index={"i": 1, "s": "x"})
        async with datastore.unit_of_work() as unit:
            own = unit.index_store("found")
            for key in ("old", "new"):
                await own.put(key, b"2", index={"f": 2.0})
                await own.update_index(key, {"i": 3})
                await own.update_index(key, {"b": True})
            there = await scanned(own)
        assert await scanned(indexed) == there
        assert [(entry.value, dict(entry.index)) for entry in there] == [
            (b"2", {"b": True, "f": 2.0, "i": 3})
        ] * 2

    async def test_queries_in_it(self, indexed: IndexStore, datastore: Datastore) -> None:
        """They see all that it has written, in order, on any page."""
        chance = random.Random(6)
        entries = {entry.key: entry for entry in await filled(indexed, count=60)}
        async with datastore.unit_of_work() as unit:
            own = unit.index_store("found")
            for number, key in enumerate([*chance.sample(sorted(entries), 40), *"abcdefghij"]):
                index = {name: chance.choice(pool) for name, pool in POOL.items()}
                if number % 4 == 1:
                    await own.remove(key)
                elif number % 4 == 2 and key in entries:
                    await own.update_index(key, {"s": None, "i": index["i"]})
                else:
                    await own.put(key, b"new", index=index)
            now = [entry for key in [*entries, *"abcdefghij"] if (entry := await own.entry(key))]
            assert await scanned(own, limit=7) == await scanned(own)
            assert sorted(entry.key for entry in await scanned(own)) == sorted(e.key for e in now)
            assert await listed(own, limit=3) == [entry.key for entry in await scanned(own)]
            for _ in range(60):
                limit = chance.choice([3, 20, 1000])
                query = Query(random_predicate(chance), random_order(chance), limit=limit)
                found = [entry.key for page in await _all_pages(own, query) for entry in page]
                assert found == expected(query, now), query
                assert await own.count(query) == len(found), query
        for query in (Query(), Query(order=("-i", "s"))):
            assert await asked(indexed, query) == expected(query, now)

    async def test_a_store_is_cleared_in_it(self, store: Store, datastore: Datastore) -> None:
        """At its end; what it puts afterwards is there."""
        await store.write([Put(f"{number}", b"") for number in range(1500)])
        async with datastore.unit_of_work() as unit:
            await unit.store("things").put("mine", b"")
            await unit.store("things").clear()
            assert await values(unit.store("things")) == {}
            await unit.store("things").put("1", b"again")
            assert len(await values(store)) == 1500
        assert await values(store) == {"1": b"again"}


class UnitRulesContract(Bench):
    """What a unit refuses."""

    async def test_a_failed_call_has_done_nothing(
        self, store: Store, indexed: IndexStore, datastore: Datastore
    ) -> None:
        """And the unit goes on."""
        await store.put("a", b"1")
        async with datastore.unit_of_work() as unit:
            own, found = unit.store("things"), unit.index_store("found")
            with pytest.raises(Conflict):
                await own.write([Put("b", b"2"), Put("a", b"2", revision=ABSENT)])
            with pytest.raises(InvalidRequest):
                await own.write([Put("b", b"2"), Put("", b"2")])
            with pytest.raises(InvalidRequest):
                await own.write([Put("b", b"2"), Put("b", b"2")])
            with pytest.raises(InvalidRequest):
                await found.put("x", b"", index={"nope": 1})
            with pytest.raises(NotFound):
                await found.update_index("x", {"i": 1})
            with pytest.raises(ContentTooLarge):
                await own.put("b", bytes(MAX_VALUE + 1))
            await own.put("c", b"3")
        assert await values(store) == {"a": b"1", "c": b"3"}
        assert await values(indexed) == {}

    async def test_it_is_bounded(self, store: Store, datastore: Datastore) -> None:
        """Like a batch; what is too much is refused at once."""
        async with datastore.unit_of_work() as unit:
            own = unit.store("things")
            await own.write([Put(f"{number:05}", b"1") for number in range(MAX_BATCH)])
            with pytest.raises(ContentTooLarge):
                await own.put("more", b"")
            await own.put("00000", b"replaced")
        assert await store.get("00000") == b"replaced"
        assert await store.get("more") is None
        value = bytes(MAX_VALUE)
        with pytest.raises(ZeroDivisionError):
            async with datastore.unit_of_work() as unit:
                for number in range(4):
                    await unit.store("things").put(f"{number}", value)
                with pytest.raises(ContentTooLarge):
                    await unit.store("things").put("4", b"1")
                await unit.store("things").put("3", b"1")
                await unit.store("things").put("4", b"1")
                raise ZeroDivisionError

    async def test_its_reads_are_bounded(
        self, store: Store, datastore: Datastore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are kept to its end."""
        monkeypatch.setattr(limits, "MAX_READS", 300)
        async with datastore.unit_of_work() as unit:
            own = unit.store("things")
            keys = [f"{number}" for number in range(300)]
            assert await own.get_many(keys) == {}
            assert await own.get("0") is None
            with pytest.raises(ContentTooLarge, match="reads"):
                await own.get("more")

    async def test_after_its_end(self, store: Store, datastore: Datastore) -> None:
        """Every call is an error, whatever its end was; it is not begun again."""
        async with (work := datastore.unit_of_work()) as unit:
            own = unit.store("things")
        with pytest.raises(ZeroDivisionError):
            async with datastore.unit_of_work() as unit:
                dropped = unit.store("things")
                raise ZeroDivisionError
        with pytest.raises(LifecycleError, match="begun once"):
            async with work:
                pass
        for view in (own, dropped):
            for call in (view.get, view.has, view.remove):
                with pytest.raises(LifecycleError, match="over"):
                    await call("a")
            for late in (view.put("a", b""), view.scan(), view.keys(), view.clear()):
                with pytest.raises(LifecycleError, match="over"):
                    await late
        assert await values(store) == {}

    async def test_one_call_at_a_time(self, store: Store, datastore: Datastore) -> None:
        """A second one is refused, and the unit goes on."""
        async with datastore.unit_of_work() as unit:
            own = unit.store("things")
            done = await asyncio.gather(own.get("a"), own.get("b"), return_exceptions=True)
            assert sum(isinstance(result, LifecycleError) for result in done) == 1
            assert await own.get("b") is None
            await own.put("a", b"1")
        assert await values(store) == {"a": b"1"}

    async def test_stores_that_are_not_open(
        self, store: Store, indexed: IndexStore, datastore: Datastore
    ) -> None:
        """Or of the other kind: refused."""
        async with datastore.unit_of_work() as unit:
            with pytest.raises(InvalidRequest, match="not open"):
                unit.store("unopened")
            with pytest.raises(InvalidRequest, match="plain"):
                unit.index_store(store.name)
            with pytest.raises(InvalidRequest, match="index"):
                unit.store(indexed.name)


async def _all_pages(store: IndexStore, query: Query) -> list[list[Entry]]:
    """Return all pages; in a unit of work they need not be full."""
    return await pages(lambda cursor: store.query(msgspec.structs.replace(query, cursor=cursor)))
