"""The part of the store contract about conflicts of units of work."""

from __future__ import annotations

import asyncio
import random

import pytest

from ion.base.errors import Conflict
from ion.stores.store import (
    ABSENT,
    Datastore,
    Put,
    Store,
)
from ion.testing.contracts.stores.bench import Bench, values


class UnitConflictsContract(Bench):
    """What others do meanwhile."""

    @pytest.mark.parametrize("way", ["get", "has", "entry", "get_many", "remove"])
    @pytest.mark.parametrize("was_there", [True, False])
    async def test_what_it_has_read_must_not_change(
        self, store: Store, datastore: Datastore, way: str, was_there: bool
    ) -> None:
        """Or nothing of it is done: be it written in it or not."""
        if was_there:
            await store.put("a", b"1")
        with pytest.raises(Conflict, match="'a' of store 'things'"):
            async with datastore.unit_of_work() as unit:
                own = unit.store("things")
                await getattr(own, way)(["a"] if way == "get_many" else "a")
                await own.put("b", b"mine")
                await store.put("a", b"theirs")
        assert await values(store) == {"a": b"theirs"}

    async def test_what_it_only_reads_must_not_change_either(
        self, store: Store, datastore: Datastore
    ) -> None:
        """So that all that it has read was there at one time."""
        await store.put("a", b"1")
        with pytest.raises(Conflict):
            async with datastore.unit_of_work() as unit:
                await unit.store("things").get("a")
                await store.put("a", b"2")
        async with datastore.unit_of_work() as unit:
            assert await unit.store("things").get("a") == b"2"

    async def test_what_it_reads_again_has_not_changed(
        self, store: Store, datastore: Datastore
    ) -> None:
        """The second read conflicts already."""
        await store.put("a", b"1")
        with pytest.raises(Conflict):
            async with datastore.unit_of_work() as unit:
                assert await unit.store("things").get("a") == b"1"
                await store.remove("a")
                with pytest.raises(Conflict):
                    await unit.store("things").get("a")

    async def test_revisions_in_it(self, store: Store, datastore: Datastore) -> None:
        """They are compared with what it sees."""
        first = await store.put("a", b"1")
        async with datastore.unit_of_work() as unit:
            own = unit.store("things")
            with pytest.raises(Conflict):
                await own.put("a", b"2", revision=ABSENT)
            with pytest.raises(Conflict):
                await own.remove("a", revision=12345)
            second = await own.put("a", b"2", revision=first)
            with pytest.raises(Conflict):
                await own.put("a", b"3", revision=first)
            await own.put("a", b"3", revision=second)
            third = await own.put("b", b"1", revision=ABSENT)
            with pytest.raises(Conflict):
                await own.put("b", b"2", revision=ABSENT)
            assert await own.remove("b", revision=third) is True
            await own.put("b", b"4", revision=ABSENT)
            assert await own.remove("none", revision=ABSENT) is False
        assert await values(store) == {"a": b"3", "b": b"4"}

    @pytest.mark.parametrize("made", [False, True])
    async def test_a_revision_in_it_is_held_to_its_end(
        self, store: Store, datastore: Datastore, made: bool
    ) -> None:
        """What was compared may not change."""
        revision = await store.put("a", b"1") if made else ABSENT
        with pytest.raises(Conflict):
            async with datastore.unit_of_work() as unit:
                await unit.store("things").put("a", b"mine", revision=revision)
                await store.put("a", b"theirs")
        assert await values(store) == {"a": b"theirs"}

    async def test_money_is_neither_made_nor_lost(
        self, datastore: Datastore, other: Datastore
    ) -> None:
        """By many who pay each other at a time, between two stores."""
        clients = [datastore, other]
        banks = [await datastore.store(name) for name in ("north", "south")]
        for client in clients:
            for name in ("north", "south"):
                await (await client.store(name)).put("till", b"100")
        for bank in banks:
            await bank.write([Put(f"{number}", b"100") for number in range(3)])

        async def pay(number: int) -> int:
            chance, tries = random.Random(number), 0
            names = chance.sample(["north", "south"], 2)
            keys = [f"{chance.randrange(3)}" for _ in names]
            while True:
                tries += 1
                try:
                    async with clients[number % 2].unit_of_work() as unit:
                        await _add(unit.store(names[0]), keys[0], -7)
                        await _add(unit.store(names[1]), keys[1], 7)
                except Conflict:
                    continue
                return tries

        await asyncio.gather(*(pay(number) for number in range(20)))
        found = [await values(bank) for bank in banks]
        assert sum(int(value) for bank in found for value in bank.values()) == 800

    async def test_each_looks_at_what_the_other_writes(
        self, store: Store, datastore: Datastore, other: Datastore
    ) -> None:
        """One of the two is done: both together were true of no order."""
        await other.store("things")
        await store.write([Put("a", b"on"), Put("b", b"on")])
        met = asyncio.Barrier(2)

        async def leave(client: Datastore, mine: str, theirs: str) -> bool:
            try:
                async with client.unit_of_work() as unit:
                    is_on = await unit.store("things").get(theirs) == b"on"
                    await met.wait()
                    if is_on:
                        await unit.store("things").put(mine, b"off")
            except Conflict:
                return False
            return True

        done = await asyncio.gather(leave(datastore, "a", "b"), leave(other, "b", "a"))
        assert sum(done) == 1
        assert sorted((await values(store)).values()) == [b"off", b"on"]


async def _add(store: Store, key: str, amount: int) -> None:
    there = await store.get(key)
    assert there is not None
    await store.put(key, b"%d" % (int(there) + amount))
