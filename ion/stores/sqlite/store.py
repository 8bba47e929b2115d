"""A store in an SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ion.stores.limits import check_batch, check_limit, check_many, key_bytes, key_text
from ion.stores.query import Query, checked
from ion.stores.sqlite.job import put_step, step_of
from ion.stores.sqlite.reader import LATER, Executes, Reader
from ion.stores.sqlite.selecting import (
    FEW,
    Known,
    Prepared,
    count_of,
    key_range,
    known_page,
    of_query,
    of_scan,
)
from ion.stores.sqlite.table import Table
from ion.stores.sqlite.writer import Writer
from ion.stores.store import Attributes, Entry, Indices, Page, Reindex, Remove, Write

_KEYS_AT_A_TIME = 500

T = TypeVar("T")


class SqliteStore:
    """A store and, where attributes are declared, an index store."""

    def __init__(self, table: Table, writer: Writer, reader: Reader) -> None:
        self.name = table.name
        self._table = table
        self._writer = writer
        self._reader = reader

    @property
    def indices(self) -> Indices:
        """The declared attributes and their types."""
        return self._table.form.kinds

    async def get(self, key: str) -> bytes | None:
        """See :meth:`Store.get`."""
        parameters = (key_bytes(key),)
        reader = self._reader
        if reader.in_a_row > reader.due:
            await reader.let_others()
        row = reader.at_once(self._table.value, parameters)
        if row is LATER:
            row = await reader.patiently(self._table.value, parameters)
        value: bytes | None = row[0] if row is not None else None
        return value

    async def get_in_thread(self, key: str, work: Callable[[bytes], T]) -> tuple[bytes, T] | None:
        """See :class:`~ion.stores.thread_reads.ReadsInThreads`."""
        sql, parameters = self._table.value, (key_bytes(key),)

        def read(connection: sqlite3.Connection) -> tuple[bytes, T] | None:
            row = connection.execute(sql, parameters).fetchone()
            return (row[0], work(row[0])) if row is not None else None

        return await self._reader.run(read)

    async def entry(self, key: str) -> Entry | None:
        """See :meth:`Store.entry`."""
        parameters = (key_bytes(key),)
        form = self._table.form
        row = await self._reader.one(form.select + self._table.by_key, parameters)
        return form.entries([row])[0] if row is not None else None

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See :meth:`Store.get_many`."""
        check_many(keys)
        wanted = {key_bytes(key): key for key in keys}
        rows = await self._reader.run(lambda c: self._read_many(c, list(wanted)))
        return {wanted[data]: value for data, value in rows}

    def _read_many(self, connection: sqlite3.Connection, keys: list[bytes]) -> list[Any]:
        rows = []
        for start in range(0, len(keys), _KEYS_AT_A_TIME):
            some = keys[start : start + _KEYS_AT_A_TIME]
            marks = ", ".join("?" * len(some))
            sql = f"SELECT key, value FROM {self._table.sql} WHERE key IN ({marks})"
            rows += connection.execute(sql, some).fetchall()
        return rows

    async def has(self, key: str) -> bool:
        """See :meth:`Store.has`."""
        return await self._reader.one(self._table.has, (key_bytes(key),)) is not None

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        revision: int | None = None,
        index: Attributes | None = None,
    ) -> int:
        """See :meth:`IndexStore.put`."""
        step = put_step(self._table, key, value, revision, index)
        await self._writer.commit((step,))
        return step.revision

    async def update_index(
        self, key: str, index: Attributes, *, revision: int | None = None
    ) -> int:
        """See :meth:`IndexStore.update_index`."""
        step = step_of(self._table, Reindex(key, index, revision))
        await self._writer.commit((step,))
        return step.revision

    async def remove(self, key: str, *, revision: int | None = None) -> bool:
        """See :meth:`Store.remove`."""
        step = step_of(self._table, Remove(key, revision))
        return await self._writer.commit((step,)) > 0

    async def write(self, batch: Sequence[Write]) -> list[int]:
        """See :meth:`Store.write`."""
        check_batch(batch)
        steps = [step_of(self._table, write) for write in batch]
        if steps:
            await self._writer.commit(steps)
        return [step.revision for step in steps]

    async def scan(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[Entry]:
        """See :meth:`Store.scan`."""
        selection = of_scan(self._table, prefix, after, limit)
        return await self._reader.briefly(selection.shape, selection.small, selection.whole)

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        """See :meth:`Store.keys`."""
        condition, parameters = key_range(prefix, after)
        sql = (
            f"SELECT key FROM {self._table.sql} "
            f"WHERE {condition} ORDER BY key LIMIT {check_limit(limit) + 1}"
        )
        rows = await self._reader.run(lambda c: c.execute(sql, parameters).fetchall())
        keys = [key_text(row[0]) for row in rows[:limit]]
        return Page(keys, keys[-1] if len(rows) > limit else None)

    async def clear(self) -> None:
        """See :meth:`Store.clear`."""
        sql = f"DELETE FROM {self._table.sql}"
        await self._writer.special(lambda c: c.execute(sql))

    async def query(self, query: Query) -> Page[Entry]:
        """See :meth:`IndexStore.query`."""
        reader = self._reader
        if reader.in_a_row > reader.due:
            await reader.let_others()
        known = self._table.form.plans.recall(query)
        if known is not None and query.limit <= FEW:  # the lean way
            page = known_page(reader, *known)
            return page if page is not None else await reader.run(Known(*known).whole)
        selection = of_query(self._table, query)
        page = reader.brief(selection.shape, selection.small)
        return page if page is not None else await reader.run(selection.whole)

    def finder(self, query: Query) -> Prepared | None:
        """See :class:`~ion.stores.prepared.Prepares`."""
        known = self._table.form.plans.recall(query) if query.limit <= FEW else None
        return Prepared(self._reader, *known) if known is not None else None

    async def count(self, query: Query) -> int:
        """See :meth:`IndexStore.count`."""
        sql, parameters = count_of(self._table, checked(query, self.indices))

        def read(on: Executes) -> int:
            count: int = on.execute(sql, parameters).fetchone()[0]
            return count

        return await self._reader.briefly(sql, read, read)
