"""The bench that datastores are tested on: fixtures, and what several parts need."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias, TypeVar

import pytest

from ion.stores.store import Datastore, Entry, IndexStore, Indices, Page, Store

NewDatastore: TypeAlias = Callable[[], Datastore]
T = TypeVar("T")

LONG = os.environ.get("ION_LONG") == "1"
INDICES: Indices = {"s": "str", "i": "int", "f": "float", "b": "bool"}
MIB = 1024 * 1024


def any_key(data: bytes) -> str:
    """Return the key of some bytes, as ``os.fsdecode`` does."""
    return data.decode("utf-8", "surrogateescape")


class Bench:
    """Fixtures: ``datastore``, and ``other``, a second client of the same database."""

    @pytest.fixture
    def new_datastore(self) -> NewDatastore:
        """Give the factory of datastores; to be overridden."""
        raise NotImplementedError

    @pytest.fixture
    async def datastore(self, new_datastore: NewDatastore) -> AsyncIterator[Datastore]:
        """Give an open datastore."""
        async with AsyncExitStack() as stack:
            yield await opened(new_datastore, stack)

    @pytest.fixture
    async def other(self, new_datastore: NewDatastore) -> AsyncIterator[Datastore]:
        """Give a second open datastore on the same database."""
        async with AsyncExitStack() as stack:
            yield await opened(new_datastore, stack)

    @pytest.fixture
    async def store(self, datastore: Datastore) -> Store:
        """Give an empty store."""
        return await datastore.store("things")

    @pytest.fixture
    async def indexed(self, datastore: Datastore) -> IndexStore:
        """Give an empty index store with an attribute of each type."""
        return await datastore.index_store("found", INDICES)


async def opened(new_datastore: NewDatastore, stack: AsyncExitStack) -> Datastore:
    """Return a datastore that the stack closes."""
    datastore = new_datastore()
    await datastore.open()
    stack.push_async_callback(datastore.close)
    return datastore


async def pages(ask: Callable[[str | None], Awaitable[Page[T]]]) -> list[list[T]]:
    """Return all pages; ``ask`` gets the cursor of the one before."""
    found = []
    page = await ask(None)
    found.append(page.items)
    while page.cursor is not None:
        assert page.items, "a page that is not the last one is empty"
        page = await ask(page.cursor)
        found.append(page.items)
    return found


async def scanned(store: Store, prefix: str = "", limit: int = 1000) -> list[Entry]:
    """Return all entries below a prefix."""
    found = await pages(lambda after: store.scan(prefix, after=after, limit=limit))
    return [entry for page in found for entry in page]


async def listed(store: Store, prefix: str = "", limit: int = 1000) -> list[str]:
    """Return all keys below a prefix."""
    found = await pages(lambda after: store.keys(prefix, after=after, limit=limit))
    return [key for page in found for key in page]


async def values(store: Store) -> dict[str, bytes]:
    """Return all that is in a store."""
    return {entry.key: entry.value for entry in await scanned(store)}
