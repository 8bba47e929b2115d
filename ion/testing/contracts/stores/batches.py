"""The part of the store contract about batches."""

from __future__ import annotations

import asyncio

import pytest

from ion.base.errors import Conflict, ContentTooLarge, InvalidRequest, IonError, NotFound
from ion.stores.limits import MAX_BATCH, MAX_VALUE
from ion.stores.store import ABSENT, Datastore, IndexStore, Put, Reindex, Remove, Store, Write
from ion.testing.contracts.stores.bench import Bench, scanned, values

FAILING: dict[str, tuple[Write, type[IonError]]] = {
    "a put of another revision": (Put("b", b"x", revision=12345), Conflict),
    "a put where nothing may be": (Put("b", b"x", revision=ABSENT), Conflict),
    "a put that expects something": (Put("none", b"x", revision=12345), Conflict),
    "a removal of another revision": (Remove("b", revision=12345), Conflict),
    "a removal of nothing": (Remove("none", revision=12345), Conflict),
    "attributes of another revision": (Reindex("b", {"i": 1}, revision=12345), Conflict),
    "attributes of nothing": (Reindex("none", {"i": 1}), NotFound),
    "an undeclared attribute": (Put("b", b"x", index={"nope": 1}), InvalidRequest),
    "an attribute of another type": (Reindex("b", {"i": "1"}), InvalidRequest),
    "no key": (Put("", b"x"), InvalidRequest),
    "no value": (Put("b", "text"), InvalidRequest),  # type: ignore[arg-type]
}


class BatchesContract(Bench):
    """All of it, or nothing."""

    async def test_all_writes_are_done(self, indexed: IndexStore) -> None:
        """They return what each did, in order."""
        for key in ("a", "b", "c"):
            await indexed.put(key, key.encode(), index={"i": 1, "s": "old"})
        batch: list[Write] = [
            Put("d", b"", index={"i": 4}),
            Remove("a"),
            Reindex("b", {"i": 2}),
            Put("c", b"new"),
            Remove("none"),
        ]
        done = await indexed.write(batch)
        assert done[1] == done[4] == ABSENT
        assert [(e.key, e.value, e.revision, dict(e.index)) for e in await scanned(indexed)] == [
            ("b", b"b", done[2], {"i": 2, "s": "old"}),
            ("c", b"new", done[3], {}),
            ("d", b"", done[0], {"i": 4}),
        ]

    async def test_a_batch_of_nothing(self, store: Store) -> None:
        """It does nothing."""
        assert await store.write([]) == []

    async def test_a_batch_that_expects_revisions(self, store: Store) -> None:
        """Each write its own."""
        first = await store.put("a", b"1")
        second = await store.put("b", b"1")
        batch: list[Write] = [
            Put("a", b"2", revision=first),
            Remove("b", revision=second),
            Put("c", b"2", revision=ABSENT),
        ]
        await store.write(batch)
        assert await values(store) == {"a": b"2", "c": b"2"}
        with pytest.raises(Conflict):
            await store.write(batch)

    @pytest.mark.parametrize("place", [0, 2, 4])
    @pytest.mark.parametrize("failing", FAILING)
    async def test_one_that_fails(self, indexed: IndexStore, failing: str, place: int) -> None:
        """Nothing of the batch is done, wherever it stands."""
        await indexed.put("a", b"1", index={"i": 1})
        await indexed.put("b", b"1", index={"i": 1})
        await indexed.put("c", b"1", index={"i": 1})
        before = await scanned(indexed)
        write, error = FAILING[failing]
        batch: list[Write] = [Put("a", b"2"), Remove("c"), Put("d", b"2"), Put("e", b"2")]
        batch.insert(place, write)
        with pytest.raises(error):
            await indexed.write(batch)
        assert await scanned(indexed) == before
        await indexed.write([other for other in batch if other is not write])
        assert await values(indexed) == {"a": b"2", "b": b"1", "d": b"2", "e": b"2"}

    async def test_a_conflict_says_where(self, store: Store) -> None:
        """Which key it was."""
        await store.put("b", b"1")
        with pytest.raises(Conflict) as raised:
            await store.write([Put("a", b"2"), Put("b", b"2", revision=ABSENT)])
        assert raised.value.details["key"] == "b"

    async def test_a_key_twice(self, store: Store) -> None:
        """It is refused, also where it is spelled in two ways."""
        with pytest.raises(InvalidRequest, match="once"):
            await store.write([Put("a", b"1"), Put("b", b"1"), Remove("a")])
        with pytest.raises(InvalidRequest, match="once"):
            await store.write([Put("\u00e9", b"1"), Put("\udcc3\udca9", b"1")])
        assert await values(store) == {}

    async def test_the_largest_batch(self, store: Store) -> None:
        """All of it, and one more is refused."""
        batch = [Put(f"k{number:05}", b"%d" % number) for number in range(MAX_BATCH)]
        with pytest.raises(ContentTooLarge, match=str(MAX_BATCH)):
            await store.write([*batch, Put("more", b"")])
        assert await store.get("k00000") is None
        done = await store.write(batch)
        assert len(set(done)) == MAX_BATCH
        found = await store.get_many([put.key for put in batch])
        assert found == {put.key: put.value for put in batch}
        await store.write([Remove(put.key) for put in batch])
        assert await values(store) == {}

    async def test_too_many_bytes(self, store: Store) -> None:
        """They are refused, though each value may be put."""
        value = bytes(MAX_VALUE)
        with pytest.raises(ContentTooLarge):
            await store.write([Put(f"{number}", value) for number in range(5)])
        assert await values(store) == {}

    async def test_too_many_reads(self, store: Store) -> None:
        """They are refused."""
        with pytest.raises(ContentTooLarge):
            await store.get_many([f"{number}" for number in range(MAX_BATCH + 1)])

    async def test_batches_side_by_side(self, store: Store, other: Datastore) -> None:
        """One comes after the other, whatever the order of their keys."""
        there = await other.store("things")
        keys = [f"k{number}" for number in range(8)]

        async def write(where: Store, number: int) -> None:
            order = keys if number % 2 else keys[::-1]
            await where.write([Put(key, b"%d" % number) for key in order])

        await asyncio.gather(*(write((store, there)[n % 3 == 0], n) for n in range(20)))
        assert len(set((await values(store)).values())) == 1

    async def test_one_of_many_batches_wins(self, store: Store, other: Datastore) -> None:
        """Of those that expect the same, and none of the others leaves anything."""
        there = await other.store("things")
        first = await store.put("shared", b"")
        tries = [
            (store, there)[n % 2].write(
                [Put(f"own{n}", b""), Put("shared", b"%d" % n, revision=first)]
            )
            for n in range(20)
        ]
        done = await asyncio.gather(*tries, return_exceptions=True)
        won = [number for number, result in enumerate(done) if isinstance(result, list)]
        assert len(won) == 1, done
        assert await values(store) == {f"own{won[0]}": b"", "shared": b"%d" % won[0]}
