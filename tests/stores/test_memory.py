"""What only the datastore in memory does: it is shared by name, as long as it is open."""

from __future__ import annotations

import asyncio

import pytest

from ion.base.errors import ConfigurationError
from ion.stores.memory.datastore import MemoryDatastore
from ion.stores.opening import open_datastore
from ion.stores.store import Put


async def opened(url: str = "memory://") -> MemoryDatastore:
    datastore = open_datastore(url)
    await datastore.open()
    return datastore


async def test_without_a_name_it_is_private():
    one, two = await opened(), await opened()
    await (await one.store("a")).put("k", b"1")
    assert await two.names() == []


async def test_a_name_is_shared_as_long_as_it_is_open():
    one, two, third = [await opened(f"memory://{name}") for name in ("m1", "m1", "m2")]
    await (await one.store("a")).put("k", b"1")
    await one.close()
    await one.close()
    assert await (await two.store("a")).get("k") == b"1"
    assert await third.names() == []
    await two.close()
    again = await opened("memory://m1")
    assert await again.names() == []
    await again.close()
    await third.close()


@pytest.mark.parametrize("url", ["memory:///", "memory://a/b", "memory://a?b=c"])
def test_a_url_that_says_more_is_refused(url):
    with pytest.raises(ConfigurationError):
        open_datastore(url)


async def test_a_call_is_one_step():
    store = await (await opened()).store("a")
    seen = []

    async def look():
        while len(seen) < 50:
            entries = (await store.scan()).items
            seen.append({entry.value for entry in entries})
            await asyncio.sleep(0)

    async def write():
        for turn in range(50):
            await store.write([Put(key, b"%d" % turn) for key in "abcd"])
            await asyncio.sleep(0)

    await asyncio.gather(look(), write())
    assert {len(values) for values in seen} <= {0, 1}


async def test_passwords_are_not_repeated():
    with pytest.raises(ConfigurationError) as raised:
        open_datastore("postgres//me:secret@host/db")
    assert "secret" not in str(raised.value)
