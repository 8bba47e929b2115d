"""Units of work over any datastore that can commit changes to several stores at once.

A unit keeps what it writes, and the revisions of what it reads by key; its end is one ``commit``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import cast

import msgspec

from ion.base.errors import InvalidRequest, LifecycleError
from ion.stores.limits import (
    check_batch,
    check_limit,
    check_many,
    check_sum,
    key_bytes,
    prefix_bytes,
)
from ion.stores.overlay import Overlay, Own
from ion.stores.query import Query, checked
from ion.stores.store import (
    ABSENT,
    Attributes,
    Datastore,
    Entry,
    IndexStore,
    Indices,
    Page,
    Put,
    Reindex,
    Remove,
    Store,
    UnitOfWork,
    Write,
)

_AT_A_TIME = 128  # keys that are read side by side


def unit_of_work(
    datastore: Datastore, indices: Mapping[str, Indices | None], *, pauses: bool = False
) -> AbstractAsyncContextManager[UnitOfWork]:
    """Begin a unit of work on the opened stores of a datastore; see its ``unit_of_work``.

    :param indices: store name -> declared attributes; None: a plain store. Each is opened again at
        its first use in the unit, which must cost the engine nothing.
    :param pauses: lets other tasks run at each call that asks the engine, for an engine that never
        waits: calls side by side are found out there, too.
    """
    return _Unit(datastore, indices, pauses)


class _Turn:
    """Lets one call at a time into a unit, until its end."""

    __slots__ = ("_is_taken", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self._is_taken = False

    def __enter__(self) -> None:
        if self.is_over:
            message = "this unit of work is over: begin another one"
            raise LifecycleError(message)
        if self._is_taken:
            message = "a unit of work takes one call at a time: await each before the next"
            raise LifecycleError(message)
        self._is_taken = True

    def __exit__(self, *_: object) -> None:
        self._is_taken = False


class _Unit:
    """See :class:`~ion.stores.store.UnitOfWork`."""

    def __init__(
        self, datastore: Datastore, indices: Mapping[str, Indices | None], pauses: bool
    ) -> None:
        self.datastore = datastore
        self.pauses = pauses
        self.turn = _Turn()
        self._is_begun = False
        self._indices = indices
        self._overlays: dict[str, Overlay] = {}

    async def __aenter__(self) -> UnitOfWork:
        if self._is_begun:
            message = "a unit of work is begun once: make another one with unit_of_work()"
            raise LifecycleError(message)
        self._is_begun = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with self.turn:
                    await self._commit()
        finally:
            self.turn.is_over = True

    def store(self, name: str) -> Store:
        """See :meth:`UnitOfWork.store`."""
        return cast("Store", self._view(name, is_indexed=False))

    def index_store(self, name: str) -> IndexStore:
        """See :meth:`UnitOfWork.index_store`."""
        return cast("IndexStore", self._view(name, is_indexed=True))

    def _view(self, name: str, *, is_indexed: bool) -> _View:
        if name not in self._indices:
            message = f"store {name!r} is not open: open it before the unit begins, as in on_init"
            raise InvalidRequest(message)
        overlay = self._overlays.get(name)
        if overlay is None:
            overlay = self._overlays[name] = Overlay(name, self._indices[name])
        if overlay.is_indexed is not is_indexed:
            message = f"{name!r} is {'a plain' if is_indexed else 'an index'} store"
            raise InvalidRequest(message)
        return _View(self, overlay)

    def check_room(self, more: int, size: int, reads: int = 0) -> None:
        """Refuse what the end could not do at once.

        :raises ContentTooLarge: with ``more`` writes, or ``size`` more bytes, it is too large.
        """
        overlays = self._overlays.values()
        check_sum(
            more + sum(len(overlay.own) for overlay in overlays),
            size + sum(overlay.size for overlay in overlays),
            reads + sum(len(overlay.reads) for overlay in overlays),
        )

    async def _commit(self) -> None:
        overlays = self._overlays.values()
        changes = [change for overlay in overlays for change in overlay.changes()]
        reads = [read for overlay in overlays for read in overlay.stale_if_changed()]
        if changes or reads:
            await self.datastore.commit(changes, reads)


class _View:
    """A store as its unit sees it; also an index store, where it is one."""

    def __init__(self, unit: _Unit, overlay: Overlay) -> None:
        self.name = overlay.name
        self.indices = overlay.indices
        self._unit = unit
        self._turn = unit.turn
        self._overlay = overlay
        self._engine: IndexStore | None = None

    async def get(self, key: str) -> bytes | None:
        """See :meth:`Store.get`."""
        entry = await self.entry(key)
        return entry.value if entry is not None else None

    async def has(self, key: str) -> bool:
        """See :meth:`Store.has`."""
        return await self.entry(key) is not None

    async def entry(self, key: str) -> Entry | None:
        """See :meth:`Store.entry`."""
        with self._turn:
            return await self._read(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See :meth:`Store.get_many`."""
        check_many(keys)
        with self._turn:
            entries = await self._entries(list(dict.fromkeys(keys)))
        return {key: entry.value for key, entry in entries.items() if entry is not None}

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        revision: int | None = None,
        index: Attributes | None = None,
    ) -> int:
        """See :meth:`IndexStore.put`."""
        return (await self.write([Put(key, value, revision, index)]))[0]

    async def update_index(
        self, key: str, index: Attributes, *, revision: int | None = None
    ) -> int:
        """See :meth:`IndexStore.update_index`; the key counts as read."""
        return (await self.write([Reindex(key, index, revision)]))[0]

    async def remove(self, key: str, *, revision: int | None = None) -> bool:
        """See :meth:`Store.remove`; the key counts as read."""
        with self._turn:
            found = self._overlay.seen(key_bytes(key))
            if found is None:
                entry = await self._read(key)
                found = entry.revision if entry is not None else ABSENT
            await self._write([Remove(key, revision)])
            return found != ABSENT

    async def write(self, batch: Sequence[Write]) -> list[int]:
        """See :meth:`Store.write`."""
        check_batch(batch)
        with self._turn:
            return await self._write(batch)

    async def clear(self) -> None:
        """Remove what is there now; more than a batch can is too large."""
        with self._turn:
            after = None
            while True:
                page = await self._keys("", after, 1000)
                await self._write([Remove(key) for key in page.items])
                after = page.cursor
                if after is None:
                    return

    async def scan(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[Entry]:
        """See :meth:`Store.scan`."""
        start = key_bytes(after) if after is not None else None
        bounds = prefix_bytes(prefix), start, check_limit(limit)
        with self._turn:
            engine = await self._opened()
            while True:
                found = await engine.scan(prefix, after=after, limit=limit)
                page = self._overlay.scanned(found, *bounds)
                after = page.cursor
                if page.items or after is None:
                    return page

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        """See :meth:`Store.keys`."""
        with self._turn:
            return await self._keys(prefix, after, check_limit(limit))

    async def query(self, query: Query) -> Page[Entry]:
        """See :meth:`IndexStore.query`."""
        query = checked(query, self.indices)
        with self._turn:
            engine = await self._opened()
            while True:
                page = self._overlay.queried(query, await engine.query(query))
                if page.items or page.cursor is None:
                    return page
                query = msgspec.structs.replace(query, cursor=page.cursor)

    async def count(self, query: Query) -> int:
        """See :meth:`IndexStore.count`."""
        query = checked(query, self.indices)
        with self._turn:
            engine = await self._opened()
            keys = [own.write.key for own in self._overlay.own.values()]
            before = {key: await engine.entry(key) for key in keys}
            return await engine.count(query) + self._overlay.gained(query, before)

    async def _keys(self, prefix: str, after: str | None, limit: int) -> Page[str]:
        engine = await self._opened()
        while True:
            start = key_bytes(after) if after is not None else None
            found = await engine.keys(prefix, after=after, limit=limit)
            page = self._overlay.listed(found, prefix_bytes(prefix), start, limit)
            after = page.cursor
            if page.items or after is None:
                return page

    async def _read(self, key: str) -> Entry | None:
        return (await self._entries([key]))[key]

    async def _entries(self, keys: Sequence[str]) -> dict[str, Entry | None]:
        """Return what is there for each key; what the engine has is taken down."""
        overlay = self._overlay
        wanted = [key for key in keys if key_bytes(key) not in overlay.own]
        news = sum(key_bytes(key) not in overlay.reads for key in wanted)
        if not wanted:
            return {key: overlay.own[key_bytes(key)].entry for key in keys}
        self._unit.check_room(0, 0, news)
        engine = await self._opened()
        found: dict[str, Entry | None] = {}
        for start in range(0, len(wanted), _AT_A_TIME):
            some = wanted[start : start + _AT_A_TIME]
            found.update(zip(some, await _all(engine, some), strict=True))
        for key, entry in found.items():
            overlay.record(key, entry)
        return {key: _seen(overlay.own.get(key_bytes(key)), found.get(key)) for key in keys}

    async def _write(self, batch: Sequence[Write]) -> list[int]:
        before = await self._entries([write.key for write in batch if self._must_read(write)])
        done = {
            key_bytes(write.key): self._overlay.applied(write, before.get(write.key))
            for write in batch
        }
        self._unit.check_room(*self._overlay.growth(done))
        self._overlay.add(done)
        return [one.entry.revision if one.entry is not None else ABSENT for one in done.values()]

    def _must_read(self, write: Write) -> bool:
        if isinstance(write, Reindex):
            return True
        return write.revision is not None and self._overlay.seen(key_bytes(write.key)) is None

    async def _opened(self) -> IndexStore:
        if self._unit.pauses:
            await asyncio.sleep(0)
        if self._engine is None:
            datastore, name = self._unit.datastore, self.name
            if self._overlay.is_indexed:
                self._engine = await datastore.index_store(name, self.indices)
            else:
                self._engine = cast("IndexStore", await datastore.store(name))
        return self._engine


async def _all(engine: Store, keys: Sequence[str]) -> list[Entry | None]:
    if len(keys) == 1:
        return [await engine.entry(keys[0])]
    return await asyncio.gather(*(engine.entry(key) for key in keys))


def _seen(own: Own | None, found: Entry | None) -> Entry | None:
    return own.entry if own is not None else found
