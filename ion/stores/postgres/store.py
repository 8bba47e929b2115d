"""A store in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ion.base.errors import IonError
from ion.stores.limits import check_batch, check_limit, check_many, key_bytes, key_text
from ion.stores.ordering import page_by_key, page_of
from ion.stores.postgres import selecting
from ion.stores.postgres.batching import Batcher, Job
from ion.stores.postgres.connection import Connection
from ion.stores.postgres.engine import Engine
from ion.stores.postgres.step import Step, do_round, do_step, put_step, step_of
from ion.stores.postgres.table import Shape, Table
from ion.stores.query import Query, checked
from ion.stores.store import (
    Attributes,
    Change,
    Entry,
    Indices,
    Page,
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
        self._values = Batcher(engine, table, self._read_values, is_read=True)
        self._entries = Batcher(engine, table, self._read_entries, is_read=True)
        self._writes = Batcher(engine, table, self._write, is_read=False)
        self.rounds: list[Batcher[Any]] = [self._values, self._entries, self._writes]

    @property
    def indices(self) -> Indices:
        """The declared attributes and their types."""
        return self.table.shape.kinds

    async def get(self, key: str) -> bytes | None:
        """See :meth:`Store.get`."""
        data = key_bytes(key)
        rounds = self._values
        value: bytes | None
        connection = rounds.alone(data)
        if connection is None:
            value = await rounds.queued(Job(data))
            return value
        try:
            value = await connection.value(self.table.shape.value, data)
        except BaseException as error:  # noqa: BLE001 - raised again there, where it must be
            value = await rounds.failed(connection, Job(data), error)
        else:
            rounds.landed(connection, data)
        return value

    async def entry(self, key: str) -> Entry | None:
        """See :meth:`Store.entry`."""
        data = key_bytes(key)
        rounds = self._entries
        entry: Entry | None
        connection = rounds.alone(data)
        if connection is None:
            entry = await rounds.queued(Job(data))
            return entry
        try:
            (entry,) = await self._read_entries(connection, [Job(data)])
        except BaseException as error:  # noqa: BLE001 - raised again there, where it must be
            entry = await rounds.failed(connection, Job(data), error)
        else:
            rounds.landed(connection, data)
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
        return await self._do(put_step(self.table, key, value, revision, index))

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
        table = self.table
        await self._engine.run(
            lambda connection: connection.do(table.shape.clear),
            (table,),
            writes=lambda: {table: None},
        )

    async def query(self, query: Query) -> Page[Entry]:
        """See :meth:`IndexStore.query`."""
        shape = self.table.shape
        known = shape.plans.recall(query)
        if known is None:
            query = checked(query, self.indices)
        else:
            query, plan, values = known
            rows = await self._engine.at_once(
                lambda connection: connection.rows(plan.lean, *values)
            )
            if rows is not None and None not in [row[1] for row in rows]:
                return page_of(query, plan.entries_of(rows))
        return page_of(query, await self._page(lambda s: selecting.query_of(s, query)))

    async def count(self, query: Query) -> int:
        """See :meth:`IndexStore.count`."""
        query = checked(query, self.indices)
        rows = await self._read(lambda shape: selecting.count_of(shape, query))
        return int(rows[0][0])

    # reading

    async def _page(self, make: Callable[[Shape], selecting.PageStatement]) -> list[Entry]:
        async def work(connection: Connection) -> list[Entry]:
            shape = self.table.shape
            page = make(shape)
            rows = await connection.once(page.lean, *page.parameters)
            if None in [row[1] for row in rows]:
                rows = await connection.once(page.whole, *page.parameters)
            return shape.entries_of(rows)

        return await self._engine.run(work, (self.table,), is_read=True)

    async def _read(self, make: Callable[[Shape], selecting.Statement]) -> list[Any]:
        async def work(connection: Connection) -> list[Any]:
            sql, parameters = make(self.table.shape)
            return await connection.once(sql, *parameters)

        return await self._engine.run(work, (self.table,), is_read=True)

    async def _read_values(self, connection: Connection, jobs: list[Job]) -> Sequence[Any]:
        shape = self.table.shape
        if len(jobs) == 1:
            return (await connection.value(shape.value, jobs[0].key),)
        found = dict(await connection.rows(shape.values, [job.key for job in jobs]))
        return [found.get(job.key) for job in jobs]

    async def _read_entries(self, connection: Connection, jobs: list[Job]) -> Sequence[Any]:
        shape = self.table.shape
        if len(jobs) == 1:
            rows = await connection.rows(shape.entries.one, jobs[0].key)
        else:
            rows = await connection.rows(shape.entries.many, [job.key for job in jobs])
        found = {row[0]: entry for row, entry in zip(rows, shape.entries_of(rows), strict=True)}
        return [found.get(job.key) for job in jobs]

    # writing

    async def _do(self, step: Step) -> int:
        rounds = self._writes
        revision: int
        connection = rounds.alone(step.key)
        if connection is None:
            revision = await rounds.queued(step)
            return revision
        try:
            outcome = await do_step(connection, self.table, step)
        except BaseException as error:  # noqa: BLE001 - raised again there, where it must be
            revision = await rounds.failed(connection, step, error)
            return revision
        rounds.landed(connection, step.key)
        if isinstance(outcome, IonError):
            raise outcome
        return outcome

    async def _write(self, connection: Connection, steps: list[Step]) -> Sequence[Any]:
        return await do_round(connection, self.table, steps)


def _values_of(keys: list[bytes]) -> Callable[[Shape], selecting.Statement]:
    return lambda shape: (shape.values, [keys])
