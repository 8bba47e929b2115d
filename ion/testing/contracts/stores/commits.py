"""The part of the store contract about commits to several stores."""

from __future__ import annotations

import pytest

from ion.base.errors import Conflict, ContentTooLarge, InvalidRequest, NotFound
from ion.stores.limits import MAX_VALUE
from ion.stores.store import (
    ABSENT,
    Change,
    Datastore,
    IndexStore,
    Put,
    Read,
    Reindex,
    Remove,
    Store,
)
from ion.testing.contracts.stores.bench import Bench, scanned, values


class CommitContract(Bench):
    """Changes to several stores at once."""

    async def test_all_changes_are_done(
        self, store: Store, indexed: IndexStore, datastore: Datastore
    ) -> None:
        """In all stores; they return what each did."""
        await store.put("a", b"1")
        await indexed.put("a", b"1", index={"i": 1})
        revision = await indexed.put("b", b"1", index={"i": 1})
        done = await datastore.commit(
            [
                Change("things", Put("a", b"2")),
                Change("found", Remove("a")),
                Change("found", Reindex("b", {"s": "x"}, revision=revision)),
                Change("things", Put("b", b"2", revision=ABSENT)),
            ]
        )
        assert done[1] == ABSENT
        assert [(e.key, e.value, e.revision) for e in await scanned(store)] == [
            ("a", b"2", done[0]),
            ("b", b"2", done[3]),
        ]
        assert [(e.key, e.value, e.revision, dict(e.index)) for e in await scanned(indexed)] == [
            ("b", b"1", done[2], {"i": 1, "s": "x"})
        ]

    async def test_nothing_to_do(self, datastore: Datastore) -> None:
        """It is done."""
        assert await datastore.commit([]) == []

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            (Change("found", Put("a", b"2", revision=12345)), Conflict),
            (Change("found", Reindex("none", {"i": 1})), NotFound),
            (Change("found", Put("b", b"", index={"nope": 1})), InvalidRequest),
            (Change("things", Put("b", b"", index={"i": 1})), InvalidRequest),
            (Change("things", Put("b", b"x")), InvalidRequest),
            (Change("unopened", Put("b", b"x")), InvalidRequest),
            (Change("things", Put("c", bytes(MAX_VALUE + 1))), ContentTooLarge),
        ],
        ids=["conflict", "not-found", "undeclared", "plain", "twice", "unopened", "too-large"],
    )
    async def test_one_that_fails(
        self,
        store: Store,
        indexed: IndexStore,
        datastore: Datastore,
        change: Change,
        error: type[Exception],
    ) -> None:
        """Nothing is done, in any store."""
        await store.put("a", b"1")
        await indexed.put("a", b"1", index={"i": 1})
        changes = [Change("things", Put("a", b"2")), Change("things", Put("b", b"2")), change]
        for order in (changes, changes[::-1]):
            with pytest.raises(error):
                await datastore.commit([*order, Change("found", Remove("a"))])
        assert await values(store) == {"a": b"1"}
        assert await values(indexed) == {"a": b"1"}

    async def test_reads_that_hold(
        self, store: Store, indexed: IndexStore, datastore: Datastore
    ) -> None:
        """Of what is there, and of what is not."""
        revision = await store.put("a", b"1")
        reads = [Read("things", "a", revision), Read("found", "a", ABSENT)]
        await datastore.commit([Change("found", Put("b", b"2"))], reads)
        await datastore.commit([], reads)
        assert await values(indexed) == {"b": b"2"}

    async def test_a_stale_read(
        self, store: Store, indexed: IndexStore, datastore: Datastore
    ) -> None:
        """Nothing is done, and the error says which it was."""
        first = await store.put("a", b"1")
        await store.put("a", b"2")
        await indexed.put("here", b"")
        stale = [
            Read("things", "a", first),
            Read("things", "a", ABSENT),
            Read("found", "here", ABSENT),
            Read("found", "gone", first),
        ]
        for read in stale:
            for changes in ([Change("found", Put("b", b"2"))], []):
                with pytest.raises(Conflict) as raised:
                    await datastore.commit(changes, [read])
                assert raised.value.details["key"] == read.key
                assert raised.value.details["store"] == read.store
        assert await values(indexed) == {"here": b""}


class NoUnitsContract(Bench):
    """What an engine without transactions over several stores says instead."""

    async def test_there_are_none(
        self, store: Store, indexed: IndexStore, datastore: Datastore
    ) -> None:
        """It is refused, with the engines that have them; a single store's commit is not."""
        assert not datastore.has_transactions
        with pytest.raises(InvalidRequest, match=r"sqlite|postgresql"):
            async with datastore.unit_of_work():
                pass
        with pytest.raises(InvalidRequest, match=r"sqlite|postgresql"):
            await datastore.commit(
                [Change("things", Put("a", b"")), Change("found", Put("a", b""))]
            )
        assert await values(store) == await values(indexed) == {}
        done = await datastore.commit(
            [Change("things", Put("a", b"")), Change("things", Put("b", b""))]
        )
        assert [entry.revision for entry in await scanned(store)] == done
