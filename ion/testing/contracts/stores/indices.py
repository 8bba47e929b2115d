"""The part of the store contract about index attributes."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from ion.base.errors import InvalidRequest, NotFound
from ion.stores.limits import MAX_INDICES, MAX_KEY, Kind
from ion.stores.query import A, Query
from ion.stores.store import Datastore, IndexStore, Page
from ion.testing.contracts.stores.bench import INDICES, Bench

KEPT: dict[str, list[Any]] = {
    "s": ["", " ", "a ", "A", "\u00e9", "e\u0301", "\U0001f40b", "\uffff", "%_*'\"\\", "\n", "\x01",
          "x" * MAX_KEY],
    "i": [0, 1, -1, 2**31, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)],
    "f": [0.0, -1.5, 0.1, 5e-324, -5e-324, 1.7976931348623157e308, math.inf, -math.inf, 2.0**70],
    "b": [True, False],
}  # fmt: skip
REFUSED: dict[str, list[Any]] = {
    "s": [1, b"a", True, "\0", "a\0b", "\ud800", "\udcff", "x" * (MAX_KEY + 1), "\u00e9" * 513],
    "i": [1.0, "1", True, 2**63, -(2**63) - 1],
    "f": ["1", True, math.nan, 10**400],
    "b": [1, 0, "true"],
    "nope": [1, "a", None],
}
WORDS = [
    "order", "select", "value", "key", "revision", "index", "group", "from", "rowid",
    "ctid",
    "oid", "name", "is", "null", "user", "xmin", "id", "a" * 47 + "1", "a" * 47 + "2",
]  # fmt: skip


def keys(page: Page[Any]) -> list[str]:
    """Return the keys of entries."""
    return [entry.key for entry in page.items]


class IndicesContract(Bench):
    """Attributes: put, update_index, declaring."""

    async def test_a_value_has_attributes(self, indexed: IndexStore) -> None:
        """Those that are None, or left out, it has not."""
        await indexed.put("a", b"1", index={"s": "x", "i": None, "f": 1.5, "b": False})
        await indexed.put("b", b"1")
        a, b = await indexed.entry("a"), await indexed.entry("b")
        assert a is not None
        assert b is not None
        assert dict(a.index) == {"s": "x", "f": 1.5, "b": False}
        assert dict(b.index) == {}
        for entry in (a, b):
            dict.update(entry.index, s="mine")
        assert await indexed.entry("a") != a
        assert await indexed.count(Query(A("s") == "mine")) == 0

    async def test_a_put_replaces_all_attributes(self, indexed: IndexStore) -> None:
        """Those that it does not name are gone, from queries too."""
        await indexed.put("a", b"1", index={"s": "x", "i": 1})
        await indexed.put("a", b"2", index={"f": 2.0})
        entry = await indexed.entry("a")
        assert entry is not None
        assert dict(entry.index) == {"f": 2.0}
        assert keys(await indexed.query(Query(A("s") == "x"))) == []
        assert keys(await indexed.query(Query(A("f") == 2.0))) == ["a"]
        await indexed.put("a", b"3")
        assert keys(await indexed.query(Query(A("f") == 2.0))) == []

    @pytest.mark.parametrize("name", KEPT)
    async def test_attributes_come_back_as_they_were(self, indexed: IndexStore, name: str) -> None:
        """Of the same type, to the last bit; and are found by their value."""
        for number, value in enumerate(KEPT[name]):
            await indexed.put(f"{number}", b"", index={name: value})
        for number, value in enumerate(KEPT[name]):
            entry = await indexed.entry(f"{number}")
            assert entry is not None
            assert dict(entry.index) == {name: value}
            assert type(entry.index[name]) is type(value)
            assert keys(await indexed.query(Query(A(name) == value))) == [f"{number}"]
        in_order = sorted(range(len(KEPT[name])), key=KEPT[name].__getitem__)
        assert keys(await indexed.query(Query(order=(name,)))) == [str(n) for n in in_order]
        assert keys(await indexed.query(Query(order=(f"-{name}",)))) == [
            str(n) for n in in_order[::-1]
        ]

    async def test_zero_has_no_sign(self, indexed: IndexStore) -> None:
        """-0.0 is 0.0, in queries and in their order."""
        for key, value in {"a": 0.0, "b": -0.0, "c": 0}.items():
            await indexed.put(key, b"", index={"f": value})
        for value in (0.0, -0.0, 0):
            assert keys(await indexed.query(Query(A("f") == value))) == ["a", "b", "c"]
            assert keys(await indexed.query(Query(A("f").is_in([value])))) == ["a", "b", "c"]
            assert keys(await indexed.query(Query(A("f") < value))) == []
        assert keys(await indexed.query(Query(order=("f",)))) == ["a", "b", "c"]
        assert keys(await indexed.query(Query(order=("-f",), limit=2))) == ["a", "b"]

    async def test_an_int_is_a_float_where_one_is_declared(self, indexed: IndexStore) -> None:
        """It comes back as a float."""
        await indexed.put("a", b"", index={"f": 3})
        entry = await indexed.entry("a")
        assert entry is not None
        assert type(entry.index["f"]) is float
        assert keys(await indexed.query(Query(A("f") >= 3))) == ["a"]

    @pytest.mark.parametrize("name", REFUSED)
    async def test_what_is_no_such_attribute(self, indexed: IndexStore, name: str) -> None:
        """It is refused, and nothing is done."""
        revision = await indexed.put("a", b"1", index={"i": 1})
        for value in REFUSED[name]:
            with pytest.raises(InvalidRequest, match=name):
                await indexed.put("a", b"2", index={name: value})
            with pytest.raises(InvalidRequest, match=name):
                await indexed.update_index("a", {name: value})
            if value is not None:
                with pytest.raises(InvalidRequest, match=name):
                    await indexed.query(Query(A(name) == value))
        entry = await indexed.entry("a")
        assert entry is not None
        assert (entry.value, entry.revision, dict(entry.index)) == (b"1", revision, {"i": 1})

    async def test_attributes_change_without_the_value(self, indexed: IndexStore) -> None:
        """Only those that are named; None takes one away."""
        await indexed.put("a", b"value", index={"s": "x", "i": 1, "b": True})
        revision = await indexed.update_index("a", {"i": 2, "f": 0.5, "b": None})
        entry = await indexed.entry("a")
        assert entry is not None
        assert (entry.value, entry.revision) == (b"value", revision)
        assert dict(entry.index) == {"s": "x", "i": 2, "f": 0.5}
        assert keys(await indexed.query(Query(A("i") == 2))) == ["a"]
        assert keys(await indexed.query(Query(A("i") == 1))) == []
        assert keys(await indexed.query(Query(A("b").is_absent()))) == ["a"]
        again = await indexed.update_index("a", {})
        assert again != revision

    async def test_attributes_of_what_is_not_there(self, indexed: IndexStore) -> None:
        """They cannot be changed."""
        with pytest.raises(NotFound, match="'a'"):
            await indexed.update_index("a", {"i": 1})
        assert await indexed.get("a") is None
        assert await indexed.count(Query()) == 0

    async def test_what_is_removed_is_not_found(self, indexed: IndexStore) -> None:
        """By no attribute, also where the key is put again."""
        await indexed.put("a", b"", index={"i": 1, "s": "x"})
        await indexed.remove("a")
        assert keys(await indexed.query(Query(A("i") == 1))) == []
        await indexed.put("a", b"", index={"i": 2})
        assert keys(await indexed.query(Query(A("s") == "x"))) == []
        assert keys(await indexed.query(Query(A("i") > 0))) == ["a"]
        await indexed.clear()
        assert await indexed.count(Query(A("i") > 0)) == 0

    async def test_attributes_are_added_later(self, datastore: Datastore, other: Datastore) -> None:
        """What is there has none; whoever has it open goes on."""
        old = await datastore.index_store("more", {"a": "int"})
        await old.put("k", b"1", index={"a": 1})
        new = await other.index_store("more", {"b": "str", "a": "int"})
        assert dict(new.indices) == {"a": "int", "b": "str"}
        entry = await new.entry("k")
        assert entry is not None
        assert dict(entry.index) == {"a": 1}
        assert keys(await new.query(Query(A("b").is_absent()))) == ["k"]
        await new.put("l", b"2", index={"a": 2, "b": "x"})
        assert keys(await new.query(Query(A("b") == "x"))) == ["l"]
        await old.put("m", b"3", index={"a": 3})
        await old.update_index("k", {"a": 4})
        assert keys(await old.query(Query(A("a") > 0, order=("a",)))) == ["l", "m", "k"]
        again = await datastore.index_store("more", {"b": "str"})
        assert dict(again.indices) == {"a": "int", "b": "str"}
        assert keys(await again.query(Query(A("b") == "x"))) == ["l"]

    async def test_attributes_that_are_there(self, datastore: Datastore, other: Datastore) -> None:
        """They cannot be of another type; nothing is changed."""
        await datastore.index_store("typed", {"a": "int"})
        for where in (datastore, other):
            with pytest.raises(InvalidRequest, match="'a' of store 'typed' is of type int"):
                await where.index_store("typed", {"b": "str", "a": "float"})
        assert dict((await other.index_store("typed", {})).indices) == {"a": "int"}

    async def test_plain_or_indexed(self, datastore: Datastore, other: Datastore) -> None:
        """A store stays what it was made as."""
        await datastore.store("plain")
        await datastore.index_store("typed", {})
        for where in (datastore, other):
            with pytest.raises(InvalidRequest, match="plain"):
                await where.index_store("plain", {"a": "int"})
            with pytest.raises(InvalidRequest, match="index store"):
                await where.store("typed")

    async def test_attributes_of_any_name(self, datastore: Datastore) -> None:
        """Also those that an engine has a use for, and the longest."""
        kinds: dict[str, Kind] = dict.fromkeys(WORDS, "int")
        store = await datastore.index_store("a" * 48, kinds)
        twin = await datastore.index_store("a" * 47 + "b", kinds)
        await store.put("k", b"value", index={word: n for n, word in enumerate(WORDS)})
        await twin.put("k", b"twin")
        for number, word in enumerate(WORDS):
            assert keys(await store.query(Query(A(word) == number, order=(word,)))) == ["k"]
        entry = await store.entry("k")
        assert entry is not None
        assert (entry.value, dict(entry.index)) == (b"value", {w: n for n, w in enumerate(WORDS)})

    async def test_as_many_as_there_may_be(self, datastore: Datastore) -> None:
        """All of them can be put, changed and ordered by; one more is refused."""
        kinds: dict[str, Kind] = {f"a{number}": "int" for number in range(MAX_INDICES)}
        store = await datastore.index_store("many", kinds)
        await store.put("k", b"", index=dict.fromkeys(kinds, 1))
        await store.update_index("k", dict.fromkeys(kinds, 2))
        entry = await store.entry("k")
        assert entry is not None
        assert dict(entry.index) == dict.fromkeys(kinds, 2)
        with pytest.raises(InvalidRequest, match="too many"):
            await datastore.index_store("more", {**kinds, "x": "int"})
        with pytest.raises(InvalidRequest, match="too many"):
            await datastore.index_store("many", {"x": "int"})

    @pytest.mark.parametrize("name", ["", "A", "1a", "_a", "a-b", "a.b", "a b", "a" * 49, "\u00e9"])
    async def test_names_that_are_none(self, datastore: Datastore, name: str) -> None:
        """Of stores and of attributes."""
        with pytest.raises(InvalidRequest, match="no name"):
            await datastore.store(name)
        with pytest.raises(InvalidRequest, match="no name"):
            await datastore.index_store(name, {})
        with pytest.raises(InvalidRequest, match="no name"):
            await datastore.index_store("fine", {name: "int"})
        with pytest.raises(InvalidRequest, match="no name"):
            await datastore.drop(name)
        assert await datastore.names() == []

    async def test_a_type_that_is_none(self, datastore: Datastore) -> None:
        """It is refused."""
        with pytest.raises(InvalidRequest, match="'text'"):
            await datastore.index_store("a", {"b": "text"})  # type: ignore[dict-item]

    async def test_many_declare_at_a_time(self, datastore: Datastore, other: Datastore) -> None:
        """All of it is there in the end."""
        clients = [datastore, other]
        stores = await asyncio.gather(
            *(clients[n % 2].index_store("race", {f"a{n // 2}": "int"}) for n in range(12))
        )
        for number, store in enumerate(stores):
            await store.put(f"{number:02}", b"", index={f"a{number // 2}": number})
        whole = await other.index_store("race", {f"a{n}": "int" for n in range(6)})
        for number in range(12):
            found = await whole.query(Query(A(f"a{number // 2}") == number))
            assert keys(found) == [f"{number:02}"]

    async def test_index_stores_of_the_same_attributes(self, datastore: Datastore) -> None:
        """They see nothing of each other."""
        one = await datastore.index_store("one", INDICES)
        two = await datastore.index_store("two", INDICES)
        await one.put("a", b"1", index={"i": 1})
        await two.put("b", b"2", index={"i": 1})
        assert keys(await one.query(Query(A("i") == 1))) == ["a"]
        assert await two.count(Query(A("i") == 1)) == 1
