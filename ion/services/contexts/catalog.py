"""The catalog: which tags there are and what is in them, kept in one store of the datastore.

Each change is one write: rows of sources come and go together, with the places that are no longer
needed and a record of the last changes. That record is compared and set, so that changes of several
instances come one after another; by it, an instance that knows the catalog in memory finds out what
others have changed since, with one reading.

A catalog over ``most`` blobs is not known in memory: it is read for each pattern.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from ion.base import clock
from ion.base.errors import Conflict, Unavailable
from ion.services.contexts import rows
from ion.services.contexts.directory import Directory, Tag
from ion.services.contexts.rows import (
    CHANGES,
    DATA,
    PARTS,
    ROW,
    SHELF,
    TRASH,
    Changes,
    Part,
    Pending,
    changes_of,
    encoded,
    part_key,
    part_of,
    tag_and_part,
)
from ion.stores.limits import new_revision
from ion.stores.store import ABSENT, Put, Remove, Store, Write

_TRIES = 30
_PAGE = 1000

T = TypeVar("T")
Tags = dict[str, Tag]


class Change:
    """What is to be done to the catalog at once.

    :ivar parts: (tag, part) -> what is to be there; None: nothing.
    :ivar writes: further rows.
    """

    def __init__(self) -> None:
        self.parts: dict[tuple[str, str], Part | None] = {}
        self.writes: list[Write] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        return not self.parts and not self.writes


class Catalog:
    """See the module; made by the service.

    :param store: plain.
    :param most: blobs that are known in memory.
    """

    def __init__(self, store: Store, most: int) -> None:
        self.store = store
        self._most = most
        self._known = Directory()
        self._is_large = False
        self._lock = asyncio.Lock()

    # looking

    async def tag(self, name: str) -> Tag | None:
        """Return a tag as it is now, or None."""
        if await self._sync():
            return self._known.tags.get(name)
        return await self._read(name)

    async def tags(self, of: Callable[[str], bool]) -> AsyncIterator[Tag]:
        """Iterate the tags of whose names ``of`` is true, in their order."""
        if await self._sync():
            for tag in [tag for tag in self._known.all() if of(tag.name)]:
                yield tag
            return
        async for tag in self._scanned(PARTS):
            if of(tag.name):
                yield tag

    async def names(self, prefix: str, after: str | None, limit: int) -> list[str]:
        """Return the names of some tags, in their order."""
        found: list[str] = []
        async for tag in self.tags(
            lambda name: name.startswith(prefix) and (after is None or name > after)
        ):
            found.append(tag.name)
            if len(found) == limit:
                break
        return found

    async def _read(self, name: str) -> Tag | None:
        async for tag in self._scanned(f"{PARTS}{name}\0"):
            return tag
        return None

    async def _scanned(self, prefix: str) -> AsyncIterator[Tag]:
        parts: dict[str, Part] = {}
        before: str | None = None
        after: str | None = None
        while True:
            page = await self.store.scan(prefix, after=after, limit=_PAGE)
            for entry in page.items:
                tag, part = tag_and_part(entry.key)
                if tag != before and parts:
                    yield Tag(before or "", parts)
                    parts = {}
                before = tag
                parts[part] = part_of(entry.key, entry.value)
            after = page.cursor
            if after is None:
                break
        if parts:
            yield Tag(before or "", parts)

    # what others have changed

    async def _sync(self) -> bool:
        """Bring what is known in memory up to date; return False where it is too much for that."""
        if self._is_large:
            return False
        entry = await self.store.entry(CHANGES)
        if (entry.revision if entry is not None else ABSENT) == self._known.revision:
            return True
        async with self._lock:
            return await self._refresh()

    async def _refresh(self) -> bool:
        """As :meth:`_sync`; the lock is held."""
        for _ in range(_TRIES):
            entry = await self.store.entry(CHANGES)
            revision = entry.revision if entry is not None else ABSENT
            if revision == self._known.revision:
                return True
            changes = changes_of(entry.value if entry is not None else None)
            touched = changes.since(self._known.id) if self._known.id is not None else None
            if not await self._load(touched):
                self._is_large = True
                self._known.clear()
                return False
            self._known.id = changes.items[-1][0] if changes.items else ""
            self._known.revision = revision
        message = "the contexts are changed all the while"
        raise Unavailable(message)

    async def _load(self, touched: set[str] | None) -> bool:
        if touched is not None:
            for name in touched:
                self._known.set(await self._read(name) or Tag(name, {}))
            return True
        self._known.clear()
        count = 0
        async for tag in self._scanned(PARTS):
            self._known.set(tag)
            count += sum(len(part.blobs) for part in tag.parts.values())
            if count > self._most:
                return False
        return True

    # changing

    async def change(self, tags: set[str], plan: Callable[[Tags, Change], T]) -> T:
        """Change the catalog at once.

        :param tags: that it is about.
        :param plan: says what is to be done to them as they are now (those that are there); it is
            asked anew where others come before. What it raises is raised, and nothing is done.
        :raises Unavailable: the store is away, or others change it all the while.
        :raises Conflict: another row is not of the revision that the plan gave for it.
        :raises ContentTooLarge: it is more than one batch.
        """
        async with self._lock:
            for number in range(_TRIES):
                there, last = await self._as_is(tags)
                change = Change()
                result = plan(there, change)
                if change.is_empty or await self._write(change, there, last):
                    return result
                await clock.sleep(0.001 * min(number, 20) * (1 + secrets.randbelow(4)))
        message = "others change the contexts all the while"
        raise Unavailable(message)

    async def _as_is(self, tags: set[str]) -> tuple[Tags, tuple[int, Changes]]:
        """Return the tags that are there, and the record of changes as it was before."""
        entry = await self.store.entry(CHANGES)
        revision = entry.revision if entry is not None else ABSENT
        last = revision, changes_of(entry.value if entry is not None else None)
        if not self._is_large and (revision == self._known.revision or await self._refresh()):
            if self._known.revision != revision:
                return await self._as_is(tags)
            known = self._known.tags
            return {name: known[name] for name in tags if name in known}, last
        found = {name: await self._read(name) for name in tags}
        return {name: tag for name, tag in found.items() if tag is not None}, last

    async def _write(self, change: Change, there: Tags, last: tuple[int, Changes]) -> bool:
        """Write a change; return False where others came before."""
        revision, changes = last
        touched = {tag for tag, _ in change.parts}
        own = secrets.token_hex(6)
        becomes = new_revision()
        changes = changes.and_then(own, touched)
        record = Put(CHANGES, encoded(changes), revision=revision, becomes=becomes)
        try:
            await self.store.write([*_rows(change, there), record])
        except Conflict as conflict:
            if conflict.details.get("key") not in (None, CHANGES):
                raise
            return False
        if self._is_large:
            return True
        by_tag: dict[str, dict[str, Part | None]] = {name: {} for name in touched}
        for (name, part), row in change.parts.items():
            by_tag[name][part] = row
        for name, rows_of_it in by_tag.items():
            self._known.set((there.get(name) or Tag(name, {})).with_parts(rows_of_it))
        self._known.id, self._known.revision = own, becomes
        return True


def _rows(change: Change, there: Tags) -> list[Write]:
    """Return what a change writes: rows of sources, and what is to go with those that were."""
    writes: list[Write] = list(change.writes)
    for (tag, name), part in change.parts.items():
        key = part_key(tag, name)
        writes.append(Remove(key) if part is None else Put(key, encoded(part)))
        was = there[tag].parts.get(name) if tag in there else None
        if was is not None and was.where == ROW:
            writes.append(Remove(DATA + was.place))
        elif was is not None and was.where == SHELF:
            gone = Pending(rows.now(), was.ref)
            writes.append(Put(TRASH + was.place, encoded(gone)))
    return writes
