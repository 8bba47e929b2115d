"""Entering drafts into the catalog: what their blobs are called, and what they replace."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ion.base.errors import Conflict
from ion.services.contexts import rows
from ion.services.contexts.catalog import Catalog, Change, Tags
from ion.services.contexts.codes import OVER_LIMIT, ItemError
from ion.services.contexts.draft import Draft
from ion.services.contexts.rows import DATA, OWN, PENDING, ROW, SHELF, SOURCE, Blob, Part
from ion.stores.store import Put, Remove


class Entered:
    """What a change has come to.

    :ivar created: tags that were not there before.
    """

    def __init__(self) -> None:
        self.created: list[str] = []


async def enter(catalog: Catalog, drafts: Sequence[Draft], most: int) -> Entered:
    """Enter drafts whose contents were read, all at once; what their sources had is replaced.

    :param most: bytes of a tag.
    :raises ItemError: a tag would be larger.
    :raises Conflict: a blob is there already, of another source; or a content was taken for
        abandoned.
    :raises Unavailable: the store is away.
    """

    def plan(there: Tags, change: Change) -> Entered:
        entered = Entered()
        rooms: dict[str, _Room] = {}
        for draft in drafts:
            room = rooms.get(draft.tag)
            if room is None:
                tag = there.get(draft.tag)
                room = rooms[draft.tag] = _Room(draft.tag, tag.parts if tag is not None else {})
                if tag is None:
                    entered.created.append(draft.tag)
            key, part = room.take(draft)
            room.check(most)
            change.parts[draft.tag, key] = part
            if part.where == ROW:
                change.writes.append(Put(DATA + part.place, draft.data or b""))
            elif part.where == SHELF:
                change.writes.append(Remove(PENDING + part.place, draft.revision))
        _drop_replaced(change)
        return entered

    return await catalog.change({draft.tag for draft in drafts}, plan)


def _drop_replaced(change: Change) -> None:
    """Leave out contents that a later draft of the same source replaces at once."""
    kept = {part.place for part in change.parts.values() if part is not None}
    change.writes = [
        write
        for write in change.writes
        if not write.key.startswith(DATA) or write.key.removeprefix(DATA) in kept
    ]


class _Room:
    """A tag while it is being filled."""

    def __init__(self, tag: str, parts: dict[str, Part]) -> None:
        self._tag = tag
        self._keys = {part.source: key for key, part in parts.items()}
        self._parts = dict(parts)
        self._names = {blob.name for part in parts.values() for blob in part.blobs}
        self._size = sum(part.size for part in parts.values())

    def take(self, draft: Draft) -> tuple[str, Part]:
        """Return the key and the row of a draft, whose names clash with no other source's.

        :raises Conflict: its name is that of another source's blob.
        """
        key = self._keys.get(draft.source)
        if key is not None:
            was = self._parts[key]
            self._names.difference_update(blob.name for blob in was.blobs)
            self._size -= was.size
            part = _part(draft, "" if draft.name else key.removeprefix(SOURCE))
        else:
            key, part = self._placed(draft)
        self._keys[draft.source] = key
        self._parts[key] = part
        self._names.update(blob.name for blob in part.blobs)
        self._size += part.size
        return key, part

    def _placed(self, draft: Draft) -> tuple[str, Part]:
        if draft.name:
            if draft.name in self._names:
                message = f"tag {self._tag!r} has a blob {draft.name!r} of another source"
                raise Conflict(message, details={"tag": self._tag, "blob": draft.name})
            return OWN + draft.name, _part(draft, "")
        for prefix in _prefixes(draft.base):
            if SOURCE + prefix in self._parts:
                continue
            part = _part(draft, prefix)
            if self._names.isdisjoint([blob.name for blob in part.blobs]):
                return SOURCE + prefix, part
        raise AssertionError(draft.base)

    def check(self, most: int) -> None:
        """Refuse what is too large.

        :raises ItemError: it is over ``most`` bytes.
        """
        if self._size > most:
            message = f"tag {self._tag!r} would have {self._size} bytes: {most} at most (max_tag)"
            raise ItemError(OVER_LIMIT, message)


def _prefixes(base: str) -> itertools.chain[str]:
    return itertools.chain(("", base), (f"{base}~{number}" for number in itertools.count(2)))


def _part(draft: Draft, prefix: str) -> Part:
    start = f"{prefix}/" if prefix else ""
    blobs = [
        Blob(start + blob.name, blob.offset, blob.size, blob.crc, blob.data) for blob in draft.blobs
    ]
    texts = dict(draft.extra)
    if draft.description is not None:
        texts["description"] = draft.description(draft.length).encode()
    blobs += [rows.short_blob(start + name, data) for name, data in texts.items()]
    where = SHELF if draft.place else ROW if draft.data else ""
    place = draft.place or (rows.new_place() if where else "")
    return Part(
        source=draft.source,
        origin=draft.origin,
        at=rows.now(),
        mtime=draft.mtime,
        media=draft.media,
        size=draft.length,
        where=where,
        place=place,
        ref=draft.ref,
        blobs=blobs,
    )
