"""What both sides do: the values, the records that are found, and ION's side of it.

A side has ``get``, ``put`` for one caller and ``get_in_group``, ``put_in_group`` for many, which
share what their engine can share; ``equal`` finds the 20 records of a kind, ``page`` the next 20
from a depth on; each returns key, value, revision and attributes of what it found.

The bare side hands out its driver's rows as they are: by hand, who wants the next page has all that
it begins with in the last row. ION's has entries with their attributes by name, and a cursor, and
looks for one entry more: that is what its interface costs, and is in its time.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from benchmarks.stores.turns import BARE, ION, Call
from ion.stores.query import A, Query
from ion.stores.store import Datastore, IndexStore, Put, Store

KEYS = [f"key-{n:06}" for n in range(10_000)]
SIZE = 1024  # bytes of a value
RECORD = 256  # bytes of a record that is found
FOUND = 20  # records of one kind, and of a page
_BATCH = 1000
_body = os.urandom(SIZE - 8)
_count = itertools.count(1)
Record = tuple[str, bytes, int, str, float]  # key, value, revision, kind, depth


def fresh() -> bytes:
    """Return a value that was not there yet: some engines would not write the same one again."""
    return next(_count).to_bytes(8, "big") + _body


def records(entries: int) -> list[Record]:
    """Return what is to be found: 20 of each kind, strewn, each at a depth of its own."""
    kinds = max(entries // FOUND, 1)
    body = os.urandom(RECORD)
    return [(f"found-{n:07}", body, n + 1, f"kind-{n % kinds:06}", n / 8) for n in range(entries)]


class Side(Protocol):
    """One of the two."""

    def get(self, key: str) -> Awaitable[Any]: ...
    def put(self, key: str, value: bytes) -> Awaitable[Any]: ...
    def get_in_group(self, key: str) -> Awaitable[Any]: ...
    def put_in_group(self, key: str, value: bytes) -> Awaitable[Any]: ...
    def equal(self, kind: str) -> Awaitable[Sequence[Any]]: ...
    def page(self, least: float) -> Awaitable[Sequence[Any]]: ...
    async def fill(self, entries: Sequence[Record]) -> None: ...
    async def close(self) -> None: ...


@runtime_checkable
class AtOnce(Protocol):
    """A side whose driver has one command for many."""

    def get_at_once(self, key: str) -> Awaitable[Any]: ...
    def put_at_once(self, key: str, value: bytes) -> Awaitable[Any]: ...


class Ion:
    """ION's engine, by its public interface; callers know nothing of each other."""

    def __init__(self, datastore: Datastore, values: Store, found: IndexStore) -> None:
        self._datastore = datastore
        self._values = values
        self._found = found
        self.get = self.get_in_group = values.get
        self.put = self.put_in_group = values.put

    @classmethod
    async def open(cls, datastore: Datastore) -> Ion:
        """Open the datastore, and its stores."""
        await datastore.open()
        found = await datastore.index_store("found", {"kind": "str", "depth": "float"})
        return cls(datastore, await datastore.store("kv"), found)

    async def equal(self, kind: str) -> list[Any]:
        return (await self._found.query(Query(A("kind") == kind, limit=FOUND))).items

    async def page(self, least: float) -> list[Any]:
        query = Query(A("depth") >= least, order=("depth",), limit=FOUND)
        return (await self._found.query(query)).items

    async def fill(self, entries: Sequence[Record]) -> None:
        for some in batches(KEYS):
            await self._values.write([Put(key, fresh()) for key in some])
        for some in batches(entries):
            puts = [Put(k, v, index={"kind": kind, "depth": d}) for k, v, _, kind, d in some]
            await self._found.write(puts)

    async def close(self) -> None:
        await self._datastore.close()


def batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Return items in batches that all engines take."""
    return [items[at : at + _BATCH] for at in range(0, len(items), _BATCH)]


def workload(ion: Side, bare: Side, entries: int) -> dict[str, tuple[dict[str, Call], int]]:
    """Return what is measured: name -> calls of both sides, and the number of callers."""
    kinds = max(entries // FOUND, 1)
    turn = itertools.cycle(KEYS[::7])
    kind = itertools.cycle([f"kind-{n * 31 % kinds:06}" for n in range(kinds)])
    depth = itertools.cycle([n * 977 % max(entries - FOUND, 1) / 8 for n in range(1000)])

    def both(make: Callable[[Side], Call]) -> dict[str, Call]:
        return {ION: make(ion), BARE: make(bare)}

    work = {
        "get1": (both(lambda s: lambda: s.get(next(turn))), 1),
        "put1": (both(lambda s: lambda: s.put(next(turn), fresh())), 1),
        "get64": (both(lambda s: lambda: s.get_in_group(next(turn))), 64),
        "put64": (both(lambda s: lambda: s.put_in_group(next(turn), fresh())), 64),
        "equal": (both(lambda s: lambda: s.equal(next(kind))), 1),
        "page": (both(lambda s: lambda: s.page(next(depth))), 1),
    }
    if isinstance(bare, AtOnce):
        gets: dict[str, Call] = {
            ION: lambda: ion.get(next(turn)),
            BARE: lambda: bare.get_at_once(next(turn)),
        }
        puts: dict[str, Call] = {
            ION: lambda: ion.put(next(turn), fresh()),
            BARE: lambda: bare.put_at_once(next(turn), fresh()),
        }
        work |= {"get64_at_once": (gets, 64), "put64_at_once": (puts, 64)}
    return work
