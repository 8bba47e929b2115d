"""The part of the store contract about keys and values."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ion.stores.store import Datastore, Store
from ion.testing.contracts.stores.bench import MIB, Bench, any_key, listed, values

ALL_BYTES = bytes(range(256))
VALUES = [b"", b"\0", ALL_BYTES, b"\n", b"nul\0nul", b"\xff" * 5000, ALL_BYTES * 400]
LOOKALIKES = [
    "a", "A", "a ", " a", "a\0", "a\n", "\0", "\0\0", "'", '"', "\\", "%", "_", "{a}", "a:b", "a/b",
    "\u00e9", "e\u0301", "\ufb01", "fi", "\u212b", "\u00c5", "\U0001f40b", "\ufeff", "None",
    "1", "1.0",
]  # fmt: skip


class ValuesContract(Bench):
    """Get, put, remove, has, entry, get_many."""

    async def test_what_is_absent_is_none(self, store: Store) -> None:
        """No call raises for it."""
        assert await store.get("a") is None
        assert await store.entry("a") is None
        assert await store.has("a") is False
        assert await store.get_many(["a", "b"]) == {}
        assert await store.remove("a") is False

    @pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{len(value)}-{value[:1].hex()}")
    async def test_any_bytes_are_a_value(self, store: Store, value: bytes) -> None:
        """Empty ones too, by every way of reading."""
        revision = await store.put("a", value)
        assert await store.get("a") == value
        assert await store.has("a") is True
        assert await store.get_many(["a"]) == {"a": value}
        entry = await store.entry("a")
        assert entry is not None
        assert (entry.key, entry.value, entry.revision) == ("a", value, revision)
        assert (await store.scan()).items == [entry]

    async def test_a_value_of_some_mebibytes(self, store: Store, other: Datastore) -> None:
        """It comes back as it was, to others too."""
        value = ALL_BYTES * (3 * MIB // 256) + b"end"
        await store.put("a", value)
        assert await store.get("a") == value
        assert await (await other.store("things")).get("a") == value
        entry = await store.entry("a")
        assert entry is not None
        assert entry.value == value

    async def test_a_value_is_bytes_however_it_is_given(self, store: Store) -> None:
        """What becomes of the caller's buffer later is of no matter."""
        buffer: Any = bytearray(b"abc")
        await store.put("a", buffer)
        view: Any = memoryview(buffer)
        await store.put("m", view[1:])
        buffer[:] = b"xyz"
        got = await store.get("a"), await store.get("m")
        assert got == (b"abc", b"bc")
        assert [type(value) for value in got] == [bytes, bytes]

    async def test_a_value_is_replaced_and_removed(self, store: Store) -> None:
        """And can be put again."""
        await store.put("a", b"1" * 1000)
        await store.put("a", b"2")
        assert await store.get("a") == b"2"
        assert await store.remove("a") is True
        assert await store.get("a") is None
        assert await store.has("a") is False
        assert await store.remove("a") is False
        await store.put("a", b"")
        assert await store.get("a") == b""

    async def test_others_see_what_was_put(self, store: Store, other: Datastore) -> None:
        """At once, and what was removed no more."""
        there = await other.store("things")
        revision = await store.put("a", b"1")
        assert await there.get("a") == b"1"
        entry = await there.entry("a")
        assert entry is not None
        assert entry.revision == revision
        await there.remove("a")
        assert await store.get("a") is None

    async def test_a_key_with_every_byte_in_it(self, store: Store) -> None:
        """And one of each byte alone."""
        keys = [any_key(ALL_BYTES), *(any_key(bytes([byte])) for byte in range(256))]
        for number, key in enumerate(keys):
            await store.put(key, str(number).encode())
        for number, key in enumerate(keys):
            assert await store.get(key) == str(number).encode()
            assert await store.has(key)
        assert await values(store) == {key: str(n).encode() for n, key in enumerate(keys)}
        assert await store.get_many(keys) == {key: str(n).encode() for n, key in enumerate(keys)}
        assert all([await store.remove(key) for key in keys])
        assert await values(store) == {}

    async def test_keys_that_look_alike_are_different(self, store: Store) -> None:
        """Nothing is trimmed, folded or normalised."""
        for key in LOOKALIKES:
            assert not await store.has(key), key
            await store.put(key, key.encode())
        assert await store.get_many(LOOKALIKES) == {key: key.encode() for key in LOOKALIKES}
        assert await listed(store) == sorted(LOOKALIKES)

    async def test_escaped_bytes_that_are_text_are_that_text(self, store: Store) -> None:
        """A key is its bytes."""
        await store.put("\udcc3\udca9", b"1")
        assert await store.get("\u00e9") == b"1"
        assert await listed(store) == ["\u00e9"]

    async def test_the_longest_keys(self, store: Store) -> None:
        """They differ in the last byte only."""
        keys = [any_key(b"k" * 1023 + bytes([byte])) for byte in (0, 97, 98, 255)]
        keys.append("\U0001f40b" * 256)
        for key in keys:
            await store.put(key, key.encode("utf-8", "surrogateescape"))
        for key in keys:
            assert await store.get(key) == key.encode("utf-8", "surrogateescape")
        assert await listed(store) == keys

    async def test_stores_see_nothing_of_each_other(self, datastore: Datastore) -> None:
        """Also where one's name, with a key, reads like another's."""
        names = ["a", "aa", "a_", "a_b", "b", "a0"]
        stores = [await datastore.store(name) for name in names]
        for store in stores:
            for key in ("a", "_b", "b", ":b", "aa"):
                await store.put(key, f"{store.name} {key}".encode())
        await stores[0].clear()
        await stores[1].remove("b")
        assert await values(stores[0]) == {}
        assert await listed(stores[1]) == [":b", "_b", "a", "aa"]
        for store in stores[2:]:
            assert await values(store) == {
                key: f"{store.name} {key}".encode() for key in ("a", "_b", "b", ":b", "aa")
            }

    async def test_an_index_store_and_a_plain_one(self, datastore: Datastore) -> None:
        """They see nothing of each other either."""
        plain, indexed = await datastore.store("a"), await datastore.index_store("b", {"a": "int"})
        await plain.put("k", b"plain")
        await indexed.put("k", b"indexed", index={"a": 1})
        assert await plain.get("k") == b"plain"
        assert await indexed.get("k") == b"indexed"

    async def test_many_at_a_time(self, store: Store) -> None:
        """Those that are there, once each; none where none was asked for."""
        keys = [f"k{number:04}" for number in range(1200)]
        for start in range(0, 1200, 200):
            await asyncio.gather(
                *(store.put(key, key.encode()) for key in keys[start : start + 200])
            )
        assert await store.get_many(keys) == {key: key.encode() for key in keys}
        assert await store.get_many(["x", "k0007", "y", "k0007"]) == {"k0007": b"k0007"}
        assert await store.get_many([]) == {}

    async def test_calls_side_by_side(self, store: Store) -> None:
        """Each gets its own answer, and a task's own writes are done in their order."""

        async def work(number: int) -> None:
            for turn in range(10):
                value = f"{number} {turn}".encode()
                await store.put(f"{number}", value)
                assert await store.get(f"{number}") == value
            assert await store.remove(f"{number}") is (number >= 0)

        await asyncio.gather(*(work(number) for number in range(64)))
        assert await values(store) == {}
