"""The part of the store contract about queries."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import msgspec
import pytest

from ion.base.errors import InvalidRequest
from ion.stores.limits import MAX_PAGE, PAGE_BYTES
from ion.stores.query import (
    MAX_DEPTH,
    MAX_TERMS,
    A,
    And,
    In,
    Not,
    Or,
    Position,
    Predicate,
    Query,
    cursor_of,
)
from ion.stores.store import Datastore, IndexStore, Put, Remove
from ion.testing.contracts.stores.bench import LONG, Bench, pages
from ion.testing.contracts.stores.oracle import (
    POOL,
    asked,
    comparisons,
    expected,
    filled,
    random_order,
    random_predicate,
)

RANDOM = 1000 if LONG else 60
REFUSED: dict[str, Query] = {
    "an attribute that is not declared": Query(A("nope") == 1),
    "an order by none": Query(order=("nope",)),
    "the same twice": Query(order=("i", "-i")),
    "no attribute": Query(order=("",)),
    "two signs": Query(order=("--i",)),
    "another type": Query(A("i") == "1"),
    "a bool is no int": Query(A("i") == True),  # noqa: E712
    "a float is no int": Query(A("i") > 1.5),
    "None": Query(A("i") == None),  # noqa: E711
    "one of another type": Query(A("s").is_in(["a", 1])),
    "a prefix of a number": Query(A("i").begins_with("1")),
    "a prefix that is none": Query(A("s").begins_with(1)),  # type: ignore[arg-type]
    "within others": Query((A("i") == 1) & ~((A("s") == "a") | (A("b") == 1))),
    "absence of what is not declared": Query(A("nope").is_absent()),
    "a page of nothing": Query(limit=0),
    "a page of too much": Query(limit=MAX_PAGE + 1),
    "no predicate": Query("i == 1"),  # type: ignore[arg-type]
    "too many values": Query(A("i").is_in(range(MAX_TERMS + 1))),
    "too many terms": Query(Or(tuple(A("i") == n for n in range(MAX_TERMS + 1)))),
    "no cursor": Query(cursor=""),
    "a cursor of no meaning": Query(cursor="AAAA"),
    "a cursor that is none": Query(cursor="!$%&/"),
}


class QueriesContract(Bench):
    """Queries and counts, against what they mean."""

    async def test_an_empty_store(self, indexed: IndexStore) -> None:
        """Nothing is found in it, on one page."""
        page = await indexed.query(Query(A("i") == 1))
        assert (page.items, page.cursor) == ([], None)
        assert await indexed.count(Query()) == 0

    async def test_a_condition_alone(self, indexed: IndexStore) -> None:
        """It is no query, which the error says, and what would be one."""
        condition: Any = A("i") == 1
        for ask in (indexed.query, indexed.count):
            with pytest.raises(InvalidRequest, match=r"Query\(Compare\("):
                await ask(condition)

    async def test_entries_are_whole(self, indexed: IndexStore) -> None:
        """As :meth:`Store.entry` returns them."""
        entries = await filled(indexed, count=20)
        found = (await indexed.query(Query(limit=MAX_PAGE))).items
        assert found == sorted(entries, key=lambda e: e.key.encode("utf-8", "surrogateescape"))
        assert [await indexed.entry(entry.key) for entry in found] == found

    async def test_every_comparison(self, indexed: IndexStore) -> None:
        """Of each operator, type and value; and its opposite."""
        entries = await filled(indexed)
        for predicate in comparisons():
            for where in (predicate, Not(predicate)):
                query = Query(where, limit=MAX_PAGE)
                assert await asked(indexed, query) == expected(query, entries), where
                assert await indexed.count(query) == len(expected(query, entries)), where

    async def test_every_order(self, indexed: IndexStore) -> None:
        """Up and down, alone and by twos, on pages that end anywhere."""
        entries = await filled(indexed, count=60)
        names = [sign + name for name in POOL for sign in ("", "-")]
        orders: list[tuple[str, ...]] = [(), *((name,) for name in names)]
        orders += [
            (one, two)
            for one, two in itertools.permutations(names, 2)
            if one.strip("-") != two.strip("-")
        ]
        for number, order in enumerate(orders):
            query = Query(order=order, limit=7 + number % 5)
            assert await asked(indexed, query) == expected(query, entries), order

    async def test_any_query(self, indexed: IndexStore) -> None:
        """Nested, ordered and paged by chance (always the same)."""
        entries = await filled(indexed, seed=2)
        chance = random.Random(3)
        for _ in range(RANDOM):
            query = Query(
                random_predicate(chance), random_order(chance), limit=chance.choice([3, 20, 1000])
            )
            assert await asked(indexed, query) == expected(query, entries), query
            assert await indexed.count(query) == len(expected(query, entries)), query

    async def test_after_many_changes(self, indexed: IndexStore) -> None:
        """Queries find what is there now, and nothing of what was."""
        chance = random.Random(4)
        entries = {entry.key: entry for entry in await filled(indexed, count=80)}
        for key in chance.sample(sorted(entries), 60):
            index = {name: chance.choice(pool) for name, pool in POOL.items()}
            match chance.randrange(3):
                case 0:
                    await indexed.remove(key)
                    del entries[key]
                case 1:
                    await indexed.put(key, b"new", index=index)
                    entries[key] = msgspec.structs.replace(entries[key], index=index)
                case 2:
                    await indexed.update_index(key, {"s": None, "i": index["i"]})
                    kept = {**entries[key].index, "i": index["i"]}
                    kept.pop("s", None)
                    entries[key] = msgspec.structs.replace(entries[key], index=kept)
        for predicate in comparisons()[::5]:
            query = Query(predicate, order=("i",), limit=9)
            assert await asked(indexed, query) == expected(query, list(entries.values())), query

    async def test_what_is_absent(self, indexed: IndexStore) -> None:
        """No comparison is true of it; its opposite is."""
        await indexed.put("has", b"", index={"i": 1})
        await indexed.put("not", b"")
        wheres: dict[str, Predicate] = {
            "has": A("i") == 1,
            "": A("i") != 1,
            "not": ~(A("i") == 1),
            "has not": ~(A("i") != 1),
            "not ": A("i").is_absent(),
            "has ": ~A("i").is_absent(),
            " not": ~A("i").is_in([1, 2]),
        }
        for found, where in wheres.items():
            assert await asked(indexed, Query(where)) == found.split(), where
        assert await asked(indexed, Query(order=("i",))) == ["not", "has"]
        assert await asked(indexed, Query(order=("-i",))) == ["has", "not"]
        assert await asked(indexed, Query(order=("i",), limit=1)) == ["not", "has"]

    async def test_a_page_may_be_of_another_size(self, indexed: IndexStore) -> None:
        """A cursor is of the query, whatever its limit."""
        entries = await filled(indexed, count=30)
        query = Query(~(A("i") == 0), order=("-s", "f"), limit=4)
        first = await indexed.query(query)
        rest = msgspec.structs.replace(query, cursor=first.cursor, limit=100)
        found = [*first.items, *(await indexed.query(rest)).items]
        assert [entry.key for entry in found] == expected(query, entries)

    async def test_entries_without_attributes(self, indexed: IndexStore) -> None:
        """They are the same ones on the same pages, with what they are ordered by."""
        await filled(indexed, count=30)
        for order in ((), ("-f", "b")):
            query = Query(~(A("i") == 0), order=order, limit=7)
            lean = msgspec.structs.replace(query, index=False)
            for _ in range(2):
                page, same = await indexed.query(query), await indexed.query(lean)
                assert same.cursor == page.cursor
                assert [(e.key, e.value, e.revision) for e in same.items] == [
                    (e.key, e.value, e.revision) for e in page.items
                ]
                for name in ("f", "b") if order else ():
                    assert [e.index.get(name) for e in same.items] == [
                        e.index.get(name) for e in page.items
                    ]

    async def test_a_cursor_of_another_query(self, indexed: IndexStore) -> None:
        """It is refused, be the other ever so like."""
        await filled(indexed, count=30)
        query = Query(A("i") >= 0, order=("s",), limit=2)
        cursor = (await indexed.query(query)).cursor
        assert cursor is not None
        others = [
            Query(A("i") > 0, order=("s",)),
            Query(A("i") >= 1, order=("s",)),
            Query(A("i") >= 0, order=("-s",)),
            Query(A("i") >= 0, order=("f",)),
            Query(A("i") >= 0),
        ]
        damaged = [cursor[:-3], cursor + "A", cursor[:4] + "_" + cursor[5:], cursor[5:]]
        wrong = [msgspec.structs.replace(other, cursor=cursor) for other in others]
        damaged.append(cursor_of(query, Position((5,), b"k")))  # of another type
        wrong += [msgspec.structs.replace(query, cursor=text) for text in damaged]
        for one in wrong:
            with pytest.raises(InvalidRequest, match="cursor"):
                await indexed.query(one)

    async def test_a_cursor_is_for_everybody(self, indexed: IndexStore, other: Datastore) -> None:
        """It holds all that is needed: another client goes on where one left off."""
        entries = await filled(indexed, count=30)
        there = await other.index_store("found", dict(indexed.indices))
        query = Query(order=("-f", "s"), limit=3)
        clients = itertools.cycle([indexed, there])
        found = await pages(
            lambda cursor: next(clients).query(msgspec.structs.replace(query, cursor=cursor))
        )
        assert [entry.key for page in found for entry in page] == expected(query, entries)

    @pytest.mark.parametrize("name", REFUSED)
    async def test_a_query_that_is_none(self, indexed: IndexStore, name: str) -> None:
        """It is refused, with or without entries."""
        with pytest.raises(InvalidRequest):
            await indexed.query(REFUSED[name])
        await indexed.put("a", b"", index={"i": 1, "s": "a"})
        with pytest.raises(InvalidRequest):
            await indexed.query(REFUSED[name])

    async def test_the_largest_queries(self, indexed: IndexStore) -> None:
        """They work."""
        entries = await filled(indexed, count=40)
        deep: Predicate = A("i") == 0
        for turn in range(MAX_DEPTH):
            deep = Not(deep) if turn % 3 else (deep | (A("b") == True))  # noqa: E712
        left: Predicate = A("i") == 0
        for number in range(MAX_DEPTH):
            left = (left & (A("i") < 2)) if number % 2 else (left | (A("f") == number))
        values = (*POOL["i"], *range(100, 100 + MAX_TERMS - len(POOL["i"])))
        wide: list[Predicate] = [
            deep,
            left,
            In("i", values),
            Or(tuple(A("i") == value for value in values)),
            Not(Or(tuple(A("i") == value for value in values))),
            And(tuple(A("s") != str(value) for value in values)),
        ]
        for where in wide:
            query = Query(where, order=tuple(POOL), limit=11)
            assert await asked(indexed, query) == expected(query, entries)
        with pytest.raises(InvalidRequest, match="nested"):
            await indexed.query(Query(Not(Not(deep))))

    async def test_a_page_ends_where_its_values_are_large(self, indexed: IndexStore) -> None:
        """With the one that reaches the bound."""
        for number, size in enumerate([PAGE_BYTES // 2 + 1, PAGE_BYTES, 1, PAGE_BYTES, 1, 1]):
            await indexed.put(f"{number}", bytes(size), index={"i": -number})
        found = await pages(lambda cursor: indexed.query(Query(order=("-i",), cursor=cursor)))
        assert [[entry.key for entry in page] for page in found] == [
            ["0", "1"], ["2", "3"], ["4", "5"],
        ]  # fmt: skip

    async def test_what_stays_is_found_once(self, indexed: IndexStore, other: Datastore) -> None:
        """Though others write meanwhile, on all sides of the cursor."""
        stable = [f"{number:03}" for number in range(100)]
        await indexed.write([Put(key, b"", index={"i": int(key) // 3}) for key in stable])
        there = await other.index_store("found", dict(indexed.indices))

        async def disturb() -> None:
            chance = random.Random(5)
            keys = [f"{number:03}x" for number in range(0, 100, 5)]
            for turn in range(20):
                some = chance.sample(keys, 5)
                batch: list[Any] = [
                    Put(key, b"", index={"i": chance.randrange(40)}) if turn % 2 else Remove(key)
                    for key in some
                ]
                await there.write(batch)

        async def look() -> list[str]:
            query = Query(A("i") >= 0, order=("-i",), limit=7)
            found = await pages(
                lambda cursor: indexed.query(msgspec.structs.replace(query, cursor=cursor))
            )
            return [entry.key for page in found for entry in page]

        seen, _ = await asyncio.gather(look(), disturb())
        in_order = sorted(stable, key=lambda key: (-(int(key) // 3), key))
        assert [key for key in seen if not key.endswith("x")] == in_order
