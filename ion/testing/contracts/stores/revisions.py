"""The part of the store contract about revisions and compare-and-set."""

from __future__ import annotations

import asyncio

import pytest

from ion.base.errors import Conflict, InvalidRequest
from ion.stores.limits import new_revision
from ion.stores.store import ABSENT, Datastore, IndexStore, Put, Reindex, Store
from ion.testing.contracts.stores.bench import Bench

RACERS = 20


class RevisionsContract(Bench):
    """What writes return, and what they may expect."""

    async def test_each_write_has_a_revision_of_its_own(self, store: Store) -> None:
        """Also one of the same value, and after a removal."""
        revisions = [await store.put("a", b"1") for _ in range(5)]
        await store.remove("a")
        revisions.append(await store.put("a", b"1"))
        assert len(set(revisions)) == 6
        assert all(ABSENT < revision < 1 << 63 for revision in revisions)
        entry = await store.entry("a")
        assert entry is not None
        assert entry.revision == revisions[-1]

    async def test_a_put_that_expects_what_is_there(self, store: Store) -> None:
        """It is done, and its revision is what the next one expects."""
        first = await store.put("a", b"1")
        second = await store.put("a", b"2", revision=first)
        await store.put("a", b"3", revision=second)
        assert await store.get("a") == b"3"

    async def test_a_put_that_expects_another(self, store: Store) -> None:
        """It conflicts, says where, and nothing is done."""
        first = await store.put("a", b"1")
        second = await store.put("a", b"2")
        with pytest.raises(Conflict, match="'a' of store 'things'") as raised:
            await store.put("a", b"3", revision=first)
        assert raised.value.details["key"] == "a"
        assert raised.value.details["store"] == "things"
        assert raised.value.details["expected"] == first
        assert raised.value.details.get("revision", second) == second
        entry = await store.entry("a")
        assert entry is not None
        assert (entry.value, entry.revision) == (b"2", second)

    async def test_a_put_that_expects_nothing(self, store: Store) -> None:
        """It makes a key, once."""
        await store.put("a", b"1", revision=ABSENT)
        with pytest.raises(Conflict, match="there is a value already"):
            await store.put("a", b"2", revision=ABSENT)
        assert await store.get("a") == b"1"
        await store.remove("a")
        await store.put("a", b"3", revision=ABSENT)
        assert await store.get("a") == b"3"

    async def test_a_put_that_expects_what_is_gone(self, store: Store) -> None:
        """It makes nothing; nor does it replace what came in between."""
        first = await store.put("a", b"1")
        await store.remove("a")
        with pytest.raises(Conflict):
            await store.put("a", b"2", revision=first)
        assert await store.get("a") is None
        await store.put("a", b"1")
        with pytest.raises(Conflict):
            await store.put("a", b"2", revision=first)
        assert await store.get("a") == b"1"

    async def test_a_revision_that_nothing_can_have(self, store: Store) -> None:
        """Is a conflict for who expects it, and for nobody else; nor can anything get it."""
        there = [await store.put(f"{n}", b"1") for n in range(12)]
        none = (-1, 2**63, 2**70, -(2**70))
        expected = [none[n % 4] if n % 3 else revision for n, revision in enumerate(there)]
        calls = [store.put(f"{n}", b"2", revision=each) for n, each in enumerate(expected)]
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(result, int) for result in done] == [n % 3 == 0 for n in range(12)]
        assert all(isinstance(result, int | Conflict) for result in done)
        for each in none:
            with pytest.raises(Conflict):
                await store.remove("1", revision=each)
            with pytest.raises(Conflict):
                await store.write([Put("0", b"3"), Put("1", b"3", revision=each)])
            with pytest.raises(InvalidRequest):
                await store.write([Put("0", b"3"), Put("1", b"3", becomes=each)])
        assert [await store.get(f"{n}") for n in range(3)] == [b"2", b"1", b"1"]

    async def test_a_removal_that_expects_a_revision(self, store: Store) -> None:
        """Of another one it conflicts."""
        first = await store.put("a", b"1")
        second = await store.put("a", b"2")
        with pytest.raises(Conflict):
            await store.remove("a", revision=first)
        assert await store.get("a") == b"2"
        assert await store.remove("a", revision=second) is True
        with pytest.raises(Conflict):
            await store.remove("a", revision=second)

    async def test_a_removal_that_expects_nothing(self, store: Store) -> None:
        """It says that there is nothing, or conflicts."""
        assert await store.remove("a", revision=ABSENT) is False
        await store.put("a", b"1")
        with pytest.raises(Conflict):
            await store.remove("a", revision=ABSENT)
        assert await store.get("a") == b"1"

    async def test_attributes_that_expect_a_revision(self, indexed: IndexStore) -> None:
        """They are compared and set as values are."""
        first = await indexed.put("a", b"1", index={"i": 1})
        second = await indexed.update_index("a", {"i": 2}, revision=first)
        assert second not in {first, ABSENT}
        with pytest.raises(Conflict):
            await indexed.update_index("a", {"i": 3}, revision=first)
        with pytest.raises(Conflict):
            await indexed.put("a", b"2", revision=first, index={"i": 3})
        with pytest.raises(Conflict):
            await indexed.update_index("b", {"i": 3}, revision=first)
        entry = await indexed.entry("a")
        assert entry is not None
        assert (entry.value, entry.revision, dict(entry.index)) == (b"1", second, {"i": 2})

    async def test_a_writer_may_say_which_revision_it_makes(self, indexed: IndexStore) -> None:
        """So that it can find out whether a write was done."""
        first, second = new_revision(), new_revision()
        assert await indexed.write([Put("a", b"1", becomes=first)]) == [first]
        entry = await indexed.entry("a")
        assert entry is not None
        assert entry.revision == first
        again = Reindex("a", {"i": 1}, revision=first, becomes=second)
        assert await indexed.write([again]) == [second]
        with pytest.raises(Conflict):
            await indexed.write([again])

    async def test_one_of_many_writers_wins(self, store: Store, other: Datastore) -> None:
        """Of all who have read the same, in each round."""
        there = await other.store("things")
        expected = ABSENT
        for turn in range(5):
            tries = [
                (store, there)[number % 2].put("a", f"{turn} {number}".encode(), revision=expected)
                for number in range(RACERS)
            ]
            done = await asyncio.gather(*tries, return_exceptions=True)
            won = [number for number, result in enumerate(done) if isinstance(result, int)]
            assert len(won) == 1, done
            assert sum(isinstance(result, Conflict) for result in done) == RACERS - 1
            assert await store.get("a") == f"{turn} {won[0]}".encode()
            expected = done[won[0]]  # type: ignore[assignment]

    async def test_a_counter_that_many_add_to(self, store: Store, other: Datastore) -> None:
        """Each addition counts once."""
        there = await other.store("things")
        await store.put("n", b"0")

        async def add(where: Store) -> None:
            while True:
                entry = await where.entry("n")
                assert entry is not None
                try:
                    await where.put("n", b"%d" % (int(entry.value) + 1), revision=entry.revision)
                except Conflict:
                    continue
                return

        await asyncio.gather(*(add((store, there)[number % 2]) for number in range(RACERS)))
        assert await store.get("n") == b"%d" % RACERS

    async def test_one_of_many_removals_says_that_it_was_there(
        self, store: Store, other: Datastore
    ) -> None:
        """The others find nothing."""
        there = await other.store("things")
        for _ in range(3):
            await store.put("a", b"1")
            tries = [(store, there)[number % 2].remove("a") for number in range(RACERS)]
            assert sum(await asyncio.gather(*tries)) == 1
