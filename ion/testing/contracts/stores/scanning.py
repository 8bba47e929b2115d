"""The part of the store contract about scanning."""

from __future__ import annotations

import asyncio
import random

import pytest

from ion.base.errors import InvalidRequest
from ion.stores.limits import MAX_PAGE, PAGE_BYTES, key_bytes
from ion.stores.store import Datastore, IndexStore, Put, Remove, Store
from ion.testing.contracts.stores.bench import (
    MIB,
    Bench,
    any_key,
    listed,
    pages,
    scanned,
    values,
)

WILD = [
    "%",
    "_",
    "*",
    "?",
    "[",
    "]",
    "[a",
    "[a-c]",
    "\\",
    "\\%",
    "^",
    "$",
    ".",
    "(",
    "+",
    "-",
    "\0",
]


class ScanningContract(Bench):
    """Scan and keys: prefixes, order, pages."""

    async def test_an_empty_store(self, store: Store) -> None:
        """It has one page, which is empty."""
        for page in (await store.scan(), await store.scan("a"), await store.scan(after="a")):
            assert (page.items, page.cursor) == ([], None)
        assert ((await store.keys()).items, (await store.keys()).cursor) == ([], None)

    async def test_keys_are_in_the_order_of_their_bytes(self, store: Store) -> None:
        """Of all bytes, and the shorter first."""
        chance = random.Random(1)
        data = {chance.randbytes(chance.randint(1, 4)) for _ in range(150)}
        data |= {bytes([byte]) for byte in range(256)} | {b"\xff\xff", b"\xff\xff\xff", b"\0\0"}
        data |= {"\U0001f40b".encode(), "\uffee".encode(), b"a", b"aa", b"a\0", b"A", b"b"}
        await store.write([Put(any_key(key), key) for key in data])
        in_order = [any_key(key) for key in sorted(data)]
        assert await listed(store) == in_order
        assert [entry.key for entry in await scanned(store, limit=13)] == in_order
        assert [entry.value for entry in await scanned(store)] == sorted(data)

    @pytest.mark.parametrize("limit", [1, 2, 5, 6, 7, 1000])
    async def test_pages(self, store: Store, limit: int) -> None:
        """All but the last are full, and the last one says so."""
        keys = [f"p{number}" for number in range(6)]
        await store.write([Put(key, b"") for key in [*keys, "a", "o\U0010ffff", "q"]])
        found = await pages(lambda after: store.keys("p", after=after, limit=limit))
        assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
        assert len(found) == -(-6 // limit)
        assert [key for page in found for key in page] == keys
        entries = await pages(lambda after: store.scan("p", after=after, limit=limit))
        assert [[entry.key for entry in page] for page in entries] == found

    async def test_after_any_key(self, store: Store) -> None:
        """Also one that is not there, or before the prefix, or behind it."""
        await store.write([Put(key, b"") for key in ("a", "b1", "b2", "b3", "c")])
        assert (await store.keys(after="b15")).items == ["b2", "b3", "c"]
        assert (await store.keys("b", after="b1")).items == ["b2", "b3"]
        assert (await store.keys("b", after="a")).items == ["b1", "b2", "b3"]
        assert (await store.keys("b", after="b3")).items == []
        assert (await store.keys("b", after="x")).items == []
        assert (await store.keys("b1", limit=1)).cursor is None
        assert (await store.keys("b", limit=1)).cursor == "b1"

    async def test_prefixes(self, store: Store) -> None:
        """They end nowhere in particular: within a character, if need be."""
        data = [b"a", b"ab", b"abc", b"ac", "\u00e9a".encode(), "\u00ea".encode(), b"\xc3"]
        data += [b"\xfe\xff", b"\xff", b"\xff\xff", b"\xff\xff\x00"]
        await store.write([Put(any_key(key), b"") for key in data])
        for prefix in (b"", b"a", b"ab", b"abcd", b"b", b"\xc3", b"\xc3\xa9", b"\xff", b"\xff\xff"):
            expected = [any_key(key) for key in sorted(data) if key.startswith(prefix)]
            assert await listed(store, any_key(prefix)) == expected
            assert await listed(store, any_key(prefix), limit=1) == expected
            assert [entry.key for entry in await scanned(store, any_key(prefix))] == expected

    async def test_no_character_is_a_wildcard(self, store: Store) -> None:
        """In a prefix they stand for themselves."""
        keys = sorted({"a", "b", "ab", "xa", *WILD, *(f"{wild}a" for wild in WILD)})
        await store.write([Put(key, b"") for key in keys])
        for wild in WILD:
            expected = sorted(key for key in keys if key.startswith(wild))
            assert await listed(store, wild) == expected
            assert [entry.key for entry in await scanned(store, wild)] == expected

    async def test_a_page_ends_where_its_values_are_large(self, store: Store) -> None:
        """With the one that reaches the bound; no value is too large for a page of its own."""
        sizes = {"a": 3 * MIB, "b": 5 * MIB, "c": 1, "d": PAGE_BYTES, "e": PAGE_BYTES + 1, "f": 1}
        for key, size in sizes.items():
            await store.put(key, bytes(size))
        found = await pages(lambda after: store.scan(after=after))
        assert [[entry.key for entry in page] for page in found] == [
            ["a", "b"], ["c", "d"], ["e"], ["f"],
        ]  # fmt: skip
        assert [len(entry.value) for page in found for entry in page] == list(sizes.values())
        assert (await store.keys()).items == list(sizes)

    async def test_what_stays_is_seen_once(self, store: Store, other: Datastore) -> None:
        """Though others write meanwhile, on all sides of the cursor."""
        stable = [f"{number:03}" for number in range(200)]
        await store.write([Put(key, b"") for key in stable])
        there = await other.store("things")

        async def disturb() -> None:
            chance = random.Random(2)
            keys = [f"{number:03}x" for number in range(0, 200, 5)]
            for turn in range(20):
                some = chance.sample(keys, 10)
                await there.write([Put(key, b"") if turn % 2 else Remove(key) for key in some])

        async def look() -> list[str]:
            found = await pages(lambda after: store.scan(after=after, limit=7))
            return [entry.key for page in found for entry in page]

        seen, listing, *_ = await asyncio.gather(look(), listed(store, limit=7), disturb())
        for keys in (seen, listing):
            assert [key for key in keys if not key.endswith("x")] == stable
            assert keys == sorted(set(keys))

    async def test_what_a_cursor_stood_on_may_go(self, store: Store) -> None:
        """The next page begins behind it all the same."""
        await store.write([Put(key, b"") for key in "abcd"])
        page = await store.scan(limit=2)
        await store.remove("b")
        assert [entry.key for entry in (await store.scan(after=page.cursor)).items] == ["c", "d"]

    async def test_entries_are_whole(self, indexed: IndexStore) -> None:
        """As :meth:`Store.entry` returns them."""
        for number in range(5):
            await indexed.put(f"{number}", b"%d" % number, index={"i": number, "b": True})
        for entry in await scanned(indexed):
            assert entry == await indexed.entry(entry.key)

    @pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1, True, 1.0, None])
    async def test_a_page_of_no_size(self, store: Store, limit: int) -> None:
        """It is refused."""
        with pytest.raises(InvalidRequest):
            await store.scan(limit=limit)
        with pytest.raises(InvalidRequest):
            await store.keys(limit=limit)

    async def test_the_largest_page(self, store: Store) -> None:
        """It is one page."""
        await store.write([Put(f"{number}", b"") for number in range(3000)])
        assert len((await store.scan(limit=MAX_PAGE)).items) == 3000
        assert len((await store.keys(limit=MAX_PAGE)).items) == 3000
        assert len((await store.scan()).items) == 1000

    async def test_a_store_is_cleared(self, store: Store, indexed: IndexStore) -> None:
        """And nothing else is."""
        await store.write([Put(f"{number}", b"") for number in range(1500)])
        await indexed.put("a", b"", index={"i": 1})
        await store.clear()
        assert await values(store) == {}
        assert await store.get("1") is None
        assert await values(indexed) == {"a": b""}
        await store.put("1", b"again")
        assert await values(store) == {"1": b"again"}
        await indexed.clear()
        assert await values(indexed) == {}

    async def test_prefix_bytes_are_checked_like_keys(self, store: Store) -> None:
        """Too long, or no text: refused."""
        assert len(key_bytes("k" * 1024)) == 1024
        for prefix in ("k" * 1025, "\ud800", b"k"):
            with pytest.raises(InvalidRequest):
                await store.scan(prefix)  # type: ignore[arg-type]
            with pytest.raises(InvalidRequest):
                await store.keys(prefix)  # type: ignore[arg-type]
