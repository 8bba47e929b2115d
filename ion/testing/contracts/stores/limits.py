"""The part of the store contract about what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ion.base.errors import ContentTooLarge, InvalidRequest
from ion.stores.limits import MAX_KEY, MAX_VALUE
from ion.stores.store import Put, Remove, Store
from ion.testing.contracts.stores.bench import LONG, MIB, Bench, values

KEYS: dict[str, Any] = {
    "empty": "",
    "too long": "k" * (MAX_KEY + 1),
    "too long in bytes": "\u00e9" * 513,
    "too long by escapes": "\udc80" * (MAX_KEY + 1),
    "half a character": "\ud83d",
    "bytes": b"a",
    "a number": 1,
    "None": None,
    "a list": ["a"],
}


class LimitsContract(Bench):
    """Keys and values that are none."""

    @pytest.mark.parametrize("name", KEYS)
    async def test_a_key_that_is_none(self, store: Store, name: str) -> None:
        """Every call refuses it."""
        key = KEYS[name]
        calls = [
            lambda: store.get(key),
            lambda: store.entry(key),
            lambda: store.has(key),
            lambda: store.get_many(["a", key]),
            lambda: store.put(key, b""),
            lambda: store.remove(key),
            lambda: store.write([Put("a", b""), Put(key, b"")]),
            lambda: store.write([Remove(key), Put("a", b"")]),
        ]
        for call in calls:
            with pytest.raises(InvalidRequest):
                await call()  # type: ignore[no-untyped-call]
        assert await values(store) == {}

    @pytest.mark.parametrize("value", ["text", None, 1, ["a"], [1]], ids=repr)
    async def test_a_value_that_is_none(self, store: Store, value: Any) -> None:
        """It is refused."""
        with pytest.raises(InvalidRequest, match="a value is bytes"):
            await store.put("a", value)
        with pytest.raises(InvalidRequest, match="a value is bytes"):
            await store.write([Put("b", b""), Put("a", value)])
        assert await values(store) == {}

    async def test_a_value_too_large(self, store: Store) -> None:
        """It is refused, says how large it may be and what to do, and leaves what is there."""
        await store.put("a", b"1")
        large: list[Any] = [bytes(MAX_VALUE + 1), bytearray(MAX_VALUE + 1)]
        for value in large:
            with pytest.raises(ContentTooLarge, match=f"{MAX_VALUE} .* blob"):
                await store.put("a", value)
        with pytest.raises(ContentTooLarge):
            await store.write([Put("b", b""), Put("a", bytes(MAX_VALUE + 1))])
        assert await values(store) == {"a": b"1"}

    async def test_a_large_value(self, store: Store) -> None:
        """The largest there may be, in long runs."""
        size = MAX_VALUE if LONG else 12 * MIB
        value = bytes(size - 1) + b"x"
        await store.put("a", value)
        found = await store.get("a")
        assert found == value
        assert [len(entry.value) for entry in (await store.scan()).items] == [size]
        await store.remove("a")
