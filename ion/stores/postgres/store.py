"""A store in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ion.stores.limits import check_batch, check_limit, check_many, key_bytes, key_text
from ion.stores.ordering import page_by_key, page_of
from ion.stores.postgres import selecting
from ion.stores.postgres.engine import Engine
from ion.stores.postgres.line import Line
from ion.stores.postgres.rounds import Job, Rounds
from ion.stores.postgres.step import Step, do_steps, put_step, step_of
from ion.stores.postgres.table import Lookup, Shape, Table
from ion.stores.query import Query, checked
from ion.stores.store import (
    Attributes,
    Change,
    Entry,
    Indices,
    Page,
    Put,
    Reindex,
    Remove,
    Write,
)

_KEYS_AT_A_TIME = 500
Commit = Callable[[Sequence[Change]], Awaitable[list[int]]]


class PostgresStore:
    """A store and, where attributes are declared, an index store.

    :param commit: does several writes as one.
    """

    def __init__(self, table: Table, engine: Engine, commit: Commit) -> None:
        self.name = table.name
        self.table = table
        self._engine = engine
        self._commit = commit
        self._values = Rounds(engine, table, self._read_values, is_read=True)
        self._entries = Rounds(engine, table, self._read_entries, is_read=True)
        self._writes = Rounds(engine, table, self._write, is_read=False)
        self.rounds = [self._values, self._entries, self._writes]

    @property
    def indices(self) -> Indices:
        """The declared attributes and their types."""
        return self.table.shape.kinds

    async def get(self, key: str) -> bytes | None:
        """See :meth:`Store.get`."""
        value: bytes | None = await self._values.call(Job(key_bytes(key)))
        return value

    async def entry(self, key: str) -> Entry | None:
        """See :meth:`Store.entry`."""
        entry: Entry | None = await self._entries.call(Job(key_bytes(key)))
        return entry

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See :meth:`Store.get_many`."""
        check_many(keys)
        wanted = {key_bytes(key): key for key in keys}
        every = list(wanted)
        found: dict[str, bytes] = {}
        for start in range(0, len(every), _KEYS_AT_A_TIME):
            some = every[start : start + _KEYS_AT_A_TIME]
            for data, value in await self._read(_values_of(some)):
                found[wanted[data]] = value
        return found

    async def has(self, key: str) -> bool:
        """See :meth:`Store.has`."""
        data = key_bytes(key)
        return bool(await self._read(lambda shape: (shape.revisions.one, [data])))

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        revision: int | None = None,
        index: Attributes | None = None,
    ) -> int:
        """See :meth:`IndexStore.put`."""
        return await self._do(put_step(self.table, Put(key, value, revision, index)))

    async def update_index(
        self, key: str, index: Attributes, *, revision: int | None = None
    ) -> int:
        """See :meth:`IndexStore.update_index`."""
        return await self._do(step_of(self.table, Reindex(key, index, revision)))

    async def remove(self, key: str, *, revision: int | None = None) -> bool:
        """See :meth:`Store.remove`."""
        return bool(await self._do(step_of(self.table, Remove(key, revision))))

    async def write(self, batch: Sequence[Write]) -> list[int]:
        """See :meth:`Store.write`."""
        check_batch(batch)
        return await self._commit([Change(self.name, write) for write in batch])

    async def scan(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[Entry]:
        """See :meth:`Store.scan`."""
        check_limit(limit)
        entries = await self._page(lambda s: selecting.scan_of(s, prefix, after, limit))
        return page_by_key(entries, limit)

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        """See :meth:`Store.keys`."""
        check_limit(limit)
        rows = await self._read(lambda s: selecting.keys_of(s, prefix, after, limit))
        keys = [key_text(row[0]) for row in rows[:limit]]
        return Page(keys, keys[-1] if len(rows) > limit else None)

    async def clear(self) -> None:
        """See :meth:`Store.clear`."""
        await self._engine.run(lambda line: line.do(self.table.shape.clear), (self.table,))

    async def query(self, query: Query) -> Page[Entry]:
        """See :meth:`IndexStore.query`."""
        query = checked(query, self.indices)
        return page_of(query, await self._page(lambda s: selecting.query_of(s, query)))

    async def count(self, query: Query) -> int:
        """See :meth:`IndexStore.count`."""
        query = checked(query, self.indices)
        rows = await self._read(lambda shape: selecting.count_of(shape, query))
        return int(rows[0][0])

    # reading

    async def _page(self, make: Callable[[Shape], selecting.Statement]) -> list[Entry]:
        async def work(line: Line) -> list[Entry]:
            shape = self.table.shape
            sql, parameters = make(shape)
            return [_entry(shape, row) for row in await line.once(sql, *parameters)]

        return await self._engine.run(work, (self.table,), is_read=True)

    async def _read(self, make: Callable[[Shape], selecting.Statement]) -> list[Any]:
        async def work(line: Line) -> list[Any]:
            sql, parameters = make(self.table.shape)
            return await line.once(sql, *parameters)

        return await self._engine.run(work, (self.table,), is_read=True)

    async def _read_values(self, line: Line, jobs: Sequence[Job]) -> Sequence[Any]:
        lookup = self.table.shape.values
        if len(jobs) == 1:
            rows = await line.rows(lookup.one, jobs[0].key)
            return (rows[0][1] if rows else None,)
        found = dict(await line.rows(lookup.many, [job.key for job in jobs]))
        return [found.get(job.key) for job in jobs]

    async def _read_entries(self, line: Line, jobs: Sequence[Job]) -> Sequence[Any]:
        shape = self.table.shape
        rows = await _looked_up(line, shape.entries, jobs)
        found = {row[0]: _entry(shape, row) for row in rows}
        return [found.get(job.key) for job in jobs]

    # writing

    async def _do(self, step: Step) -> int:
        job = Job(step.key, step, (step.kind, step.names), len(step.value))
        revision: int = await self._writes.call(job)
        return revision

    async def _write(self, line: Line, jobs: Sequence[Job]) -> Sequence[Any]:
        return await do_steps(line, self.table, [job.what for job in jobs])


def _values_of(keys: list[bytes]) -> Callable[[Shape], selecting.Statement]:
    return lambda shape: (shape.values.many, [keys])


async def _looked_up(line: Line, lookup: Lookup, jobs: Sequence[Job]) -> list[Any]:
    if len(jobs) == 1:
        return await line.rows(lookup.one, jobs[0].key)
    return await line.rows(lookup.many, [job.key for job in jobs])


def _entry(shape: Shape, row: Any) -> Entry:
    key, value, revision, *attributes = row
    return Entry(key_text(key), value, revision, shape.index_of(attributes))
