"""A store in memory."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ion.stores.errors import not_there
from ion.stores.limits import (
    PAGE_BYTES,
    check_attributes,
    check_batch,
    check_limit,
    check_many,
    check_value,
    key_bytes,
    key_text,
    new_revision,
    prefix_bytes,
)
from ion.stores.memory.table import Row, Table
from ion.stores.ordering import page_of, sort_key
from ion.stores.query import Position, Query, checked, is_true, position_of
from ion.stores.store import (
    ABSENT,
    Attributes,
    Entry,
    Indices,
    Page,
    Put,
    Reindex,
    Remove,
    Write,
)

Commit = Callable[[Sequence[tuple[str, Write]]], list[int]]


class MemoryStore:
    """A store and, where attributes are declared, an index store. Every call is one step.

    :param commit: does writes to tables, all or none.
    :param check: raises where the datastore is closed.
    """

    def __init__(self, table: Table, commit: Commit, check: Callable[[], None]) -> None:
        self.name = table.name
        self._table = table
        self._commit = commit
        self._check = check

    @property
    def indices(self) -> Indices:
        """The declared attributes and their types."""
        return self._table.indices or {}

    async def get(self, key: str) -> bytes | None:
        """See :meth:`Store.get`."""
        row = self._row(key)
        return row.value if row is not None else None

    async def entry(self, key: str) -> Entry | None:
        """See :meth:`Store.entry`."""
        row = self._row(key)
        return _entry(key, row) if row is not None else None

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See :meth:`Store.get_many`."""
        check_many(keys)
        rows = {key: self._row(key) for key in keys}
        return {key: row.value for key, row in rows.items() if row is not None}

    async def has(self, key: str) -> bool:
        """See :meth:`Store.has`."""
        return self._row(key) is not None

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
        """See :meth:`IndexStore.update_index`."""
        return (await self.write([Reindex(key, index, revision)]))[0]

    async def remove(self, key: str, *, revision: int | None = None) -> bool:
        """See :meth:`Store.remove`."""
        was_there = self._row(key) is not None
        await self.write([Remove(key, revision)])
        return was_there

    async def write(self, batch: Sequence[Write]) -> list[int]:
        """See :meth:`Store.write`."""
        check_batch(batch)
        self._check()
        return self._commit([(self.name, write) for write in batch])

    async def scan(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[Entry]:
        """See :meth:`Store.scan`."""
        entries: list[Entry] = []
        size = 0
        keys = self._keys(prefix, after)
        for data in itertools.islice(keys, check_limit(limit)):
            entries.append(_entry(key_text(data), self._table.rows[data]))
            size += len(entries[-1].value)
            if size >= PAGE_BYTES:
                break
        is_last = next(keys, None) is None
        return Page(entries, None if is_last or not entries else entries[-1].key)

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        """See :meth:`Store.keys`."""
        keys = self._keys(prefix, after)
        items = [key_text(data) for data in itertools.islice(keys, check_limit(limit))]
        is_last = next(keys, None) is None
        return Page(items, None if is_last or not items else items[-1])

    async def clear(self) -> None:
        """See :meth:`Store.clear`."""
        self._check()
        self._commit([(self.name, Remove(key_text(data))) for data in self._table.rows])

    async def query(self, query: Query) -> Page[Entry]:
        """See :meth:`IndexStore.query`."""
        query = checked(query, self.indices)
        found = self._by_rank(query) if query.order else self._by_key(query)
        rows = self._table.rows
        return page_of(query, [_entry(key_text(data), rows[data]) for data in found])

    async def count(self, query: Query) -> int:
        """See :meth:`IndexStore.count`."""
        where = checked(query, self.indices).where
        self._check()
        return sum(is_true(where, row.index) for row in self._table.rows.values())

    def _by_key(self, query: Query) -> Iterable[bytes]:
        """Return the keys of a page, and one more, of a query without an order of its own."""
        start, where = position_of(query), query.where
        self._check()
        rows = self._table.rows
        keys = self._table.keys(b"", start.key if start is not None else None)
        found = (key for key in keys if where is None or is_true(where, rows[key].index))
        return itertools.islice(found, query.limit + 1)

    def _by_rank(self, query: Query) -> Iterable[bytes]:
        """Return the keys of a page, and one more, in the order of a query."""
        start, where, rank = position_of(query), query.where, sort_key(query)
        names = [name.removeprefix("-") for name in query.order]
        self._check()
        ranked: Iterable[tuple[Any, bytes]] = (
            (rank(Position(tuple(map(row.index.get, names)), key)), key)
            for key, row in self._table.rows.items()
            if is_true(where, row.index)
        )
        if start is not None:
            least = rank(start)
            ranked = (pair for pair in ranked if least < pair[0])
        return [key for _, key in heapq.nsmallest(query.limit + 1, ranked)]

    def _row(self, key: str) -> Row | None:
        self._check()
        return self._table.rows.get(key_bytes(key))

    def _keys(self, prefix: str, after: str | None) -> Any:
        self._check()
        return self._table.keys(prefix_bytes(prefix), key_bytes(after) if after else None)


def replaced(table: Table, write: Write) -> tuple[Row | None, int]:
    """Return the row that a write leaves (None: none), and its revision.

    :raises Conflict: it expects another revision.
    :raises NotFound: it changes the attributes of what is not there.
    :raises InvalidRequest: its attributes are not those of the store.
    """
    key = key_bytes(write.key)
    indices = table.indices or {}
    if isinstance(write, Remove):
        table.check(key, write.revision)
        return None, ABSENT
    if isinstance(write, Put):
        check_value(write.value, write.key)
        index = check_attributes(write.index or {}, indices)
        table.check(key, write.revision)
        row = Row(bytes(write.value), write.becomes or new_revision(), index)
        return row, row.revision
    check_attributes(write.index, indices)
    table.check(key, write.revision)
    before = table.rows.get(key)
    if before is None:
        raise not_there(table.name, write.key)
    index = check_attributes({**before.index, **write.index}, indices)
    row = msgspec.structs.replace(before, revision=write.becomes or new_revision(), index=index)
    return row, row.revision


def _entry(key: str, row: Row) -> Entry:
    return Entry(key, row.value, row.revision, dict(row.index))  # what becomes of it is theirs
