"""What a unit of work has written to one store, and read of it: laid over what the engine has.

No I/O: the unit hands in what the engine gave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ion.stores.errors import StaleRead, conflict, not_there
from ion.stores.limits import (
    PAGE_BYTES,
    check_attributes,
    check_value,
    key_bytes,
    key_text,
    new_revision,
    write_size,
)
from ion.stores.ordering import page_of, position, sort_key
from ion.stores.query import Query, is_true, position_of
from ion.stores.store import (
    ABSENT,
    Change,
    Entry,
    Indices,
    Page,
    Put,
    Read,
    Reindex,
    Remove,
    Write,
)


class Own(msgspec.Struct, frozen=True):
    """A key that the unit has written.

    :ivar write: the one write that does all that the unit has done to it.
    :ivar entry: as the unit sees it; None: it is removed.
    """

    write: Write
    entry: Entry | None


class Overlay:
    """What a unit has written to one store, and read of it.

    :param indices: the declared attributes; None: it is a plain store.
    :ivar size: the bytes of all values that are to be written.
    """

    def __init__(self, name: str, indices: Indices | None) -> None:
        self.name = name
        self.indices = indices or {}
        self.is_indexed = indices is not None
        self.own: dict[bytes, Own] = {}
        self.reads: dict[bytes, int] = {}
        self.size = 0

    def seen(self, key: bytes) -> int | None:
        """Return the revision that the unit knows a key to be of; None: it has not read it."""
        own = self.own.get(key)
        if own is None:
            return self.reads.get(key)
        return own.entry.revision if own.entry is not None else ABSENT

    def record(self, key: str, found: Entry | None) -> None:
        """Take down what the engine has for a key.

        :raises StaleRead: it had something else before.
        """
        revision = found.revision if found is not None else ABSENT
        first = self.reads.setdefault(key_bytes(key), revision)
        if first != revision:
            raise StaleRead(conflict(self.name, key, first, revision))

    def applied(self, write: Write, before: Entry | None) -> Own:
        """Return what a write makes of a key; nothing is changed yet.

        :param before: what is there, where the write changes attributes.
        :raises Conflict: it expects another revision.
        :raises NotFound: it changes the attributes of what is not there.
        :raises InvalidRequest: its attributes are not those of the store, or its value is none.
        :raises ContentTooLarge: its value is.
        """
        key = key_bytes(write.key)
        if isinstance(write, Put):
            check_value(write.value, write.key)
            index = check_attributes(write.index or {}, self.indices)
        elif isinstance(write, Reindex):
            check_attributes(write.index, self.indices)
        found = self.seen(key)
        if write.revision is not None and found is not None and write.revision != found:
            raise conflict(self.name, write.key, write.revision, found)
        if isinstance(write, Remove):
            return Own(Remove(write.key), None)
        if isinstance(write, Put):
            return _put(write.key, bytes(write.value), index, write.becomes)
        if before is None:
            raise not_there(self.name, write.key)
        return self._reindexed(write, before, self.own.get(key))

    def _reindexed(self, write: Reindex, before: Entry, own: Own | None) -> Own:
        index = check_attributes({**before.index, **write.index}, self.indices)
        if own is not None and isinstance(own.write, Put):
            return _put(write.key, before.value, index, write.becomes)
        changed = dict(write.index)
        if own is not None and isinstance(own.write, Reindex):
            changed = {**own.write.index, **changed}
        revision = write.becomes or new_revision()
        kept = Reindex(write.key, changed, becomes=revision)
        return Own(kept, Entry(write.key, before.value, revision, index))

    def growth(self, done: Mapping[bytes, Own]) -> tuple[int, int]:
        """Return how many writes and bytes of values there will be more, once these are added."""
        replaced = [self.own[key] for key in done if key in self.own]
        return len(done) - len(replaced), _size(done.values()) - _size(replaced)

    def add(self, done: Mapping[bytes, Own]) -> None:
        """Take up what :meth:`applied` has returned, by key."""
        self.size += self.growth(done)[1]
        self.own.update(done)

    def changes(self) -> Iterator[Change]:
        """Give the writes to be done: what was read expects the revision that was read."""
        for key, own in self.own.items():
            read = self.reads.get(key)
            if isinstance(own.write, Remove) and read == ABSENT:
                continue  # it was made in the unit, and gone again; the read holds it so
            yield Change(self.name, msgspec.structs.replace(own.write, revision=read))

    def stale_if_changed(self) -> Iterator[Read]:
        """Give the reads to be held against what is there: those that no write expects."""
        for key, revision in self.reads.items():
            own = self.own.get(key)
            if own is None or (isinstance(own.write, Remove) and revision == ABSENT):
                yield Read(self.name, key_text(key), revision)

    def scanned(
        self, page: Page[Entry], prefix: bytes, after: bytes | None, limit: int
    ) -> Page[Entry]:
        """Return a page of the engine's scan as the unit sees it."""
        end = key_bytes(page.cursor) if page.cursor is not None else None
        entries = {key_bytes(entry.key): entry for entry in page.items}
        for key, own in self._between(prefix, after, end):
            entries.pop(key, None)
            if own.entry is not None:
                entries[key] = own.entry
        taken: list[Entry] = []
        size = 0
        for key in sorted(entries):
            if len(taken) == limit or size >= PAGE_BYTES:
                return Page(taken, taken[-1].key)
            taken.append(entries[key])
            size += len(entries[key].value)
        return Page(taken, page.cursor)

    def listed(self, page: Page[str], prefix: bytes, after: bytes | None, limit: int) -> Page[str]:
        """Return a page of the engine's keys as the unit sees it."""
        end = key_bytes(page.cursor) if page.cursor is not None else None
        keys = {key_bytes(key) for key in page.items}
        for key, own in self._between(prefix, after, end):
            if own.entry is None:
                keys.discard(key)
            else:
                keys.add(key)
        taken = [key_text(key) for key in sorted(keys)]
        if len(taken) > limit:
            return Page(taken[:limit], taken[limit - 1])
        return Page(taken, page.cursor)

    def _between(
        self, prefix: bytes, after: bytes | None, end: bytes | None
    ) -> Iterator[tuple[bytes, Own]]:
        for key, own in self.own.items():
            is_after = after is None or key > after
            if is_after and (end is None or key <= end) and key.startswith(prefix):
                yield key, own

    def queried(self, query: Query, page: Page[Entry]) -> Page[Entry]:
        """Return a page of the engine's answer to a checked query as the unit sees it."""
        rank = sort_key(query)
        entries = [entry for entry in page.items if key_bytes(entry.key) not in self.own]
        start, end = (
            rank(place) if place is not None else None
            for place in (
                position_of(query),
                position_of(msgspec.structs.replace(query, cursor=page.cursor)),
            )
        )
        for own in self.own.values():
            entry = own.entry
            if entry is None or not is_true(query.where, entry.index):
                continue
            place = rank(position(query, entry))
            if (start is None or start < place) and (end is None or not end < place):
                entries.append(entry)
        entries.sort(key=lambda entry: rank(position(query, entry)))
        merged = page_of(query, entries[: query.limit + 1])
        return merged if merged.cursor is not None else Page(merged.items, page.cursor)

    def gained(self, query: Query, before: dict[str, Entry | None]) -> int:
        """Return how many more entries the query is true of by what the unit has written.

        :param before: what the engine has, for each key that the unit has written.
        """
        now = [own.entry for own in self.own.values()]
        was = [before[own.write.key] for own in self.own.values()]
        return sum(_is_found(query, entry) for entry in now) - sum(
            _is_found(query, entry) for entry in was
        )


def _put(
    key: str, value: bytes, index: dict[str, str | int | float | bool], becomes: int | None
) -> Own:
    revision = becomes or new_revision()
    return Own(
        Put(key, value, index=dict(index), becomes=revision),
        Entry(key, value, revision, index),
    )


def _size(owns: Iterable[Own]) -> int:
    return sum(write_size(own.write) for own in owns)


def _is_found(query: Query, entry: Entry | None) -> bool:
    return entry is not None and is_true(query.where, entry.index)
