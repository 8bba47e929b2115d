"""Values that are worked on where they were read: an engine that reads in threads saves a hop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

from ion.stores.store import Store

T = TypeVar("T")


@runtime_checkable
class ReadsInThreads(Protocol):
    """A store whose engine reads large values in threads."""

    async def get_in_thread(self, key: str, work: Callable[[bytes], T]) -> tuple[bytes, T] | None:
        """Return a value and what ``work`` made of it in the same thread; None: it is absent.

        Errors as :meth:`Store.get`, and what ``work`` raises.
        """


async def get_and(store: Store, key: str, work: Callable[[bytes], T]) -> tuple[bytes, T] | None:
    """Return a value and what ``work`` made of it in a thread; None: it is absent.

    :param work: for what takes long; it sees the value and nothing else of the store.
    """
    if isinstance(store, ReadsInThreads):
        return await store.get_in_thread(key, work)
    value = await store.get(key)
    return (value, await asyncio.to_thread(work, value)) if value is not None else None
