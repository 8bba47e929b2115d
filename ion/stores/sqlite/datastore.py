"""A datastore in one SQLite file, which several containers of a machine may share."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from ion.base.errors import InvalidRequest
from ion.stores.errors import closed, is_indexed, not_opened
from ion.stores.limits import check_changes, check_indices, check_name, key_bytes, merged_indices
from ion.stores.sqlite import schema
from ion.stores.sqlite.committing import Committer
from ion.stores.sqlite.file import StoreFile
from ion.stores.sqlite.job import step_of
from ion.stores.sqlite.reader import Reader
from ion.stores.sqlite.store import SqliteStore
from ion.stores.sqlite.table import Table
from ion.stores.sqlite.writer import Writer
from ion.stores.store import Change, Indices, Read, UnitOfWork
from ion.stores.unit_of_work import unit_of_work

TIMEOUT = 30.0
_PATIENCE = 0.8  # of the timeout, for locks of others
_CACHE_KIB = 16_384
_LOG_KEPT = 64 * 1024 * 1024  # bytes that the log keeps of the disk when it begins anew

T = TypeVar("T")


class SqliteDatastore:
    """See :class:`~ion.stores.store.Datastore`.

    :param url: ``sqlite:///path`` with an absolute path (so there are three slashes).
    :param timeout: seconds for one call, waiting for others that write to the file included.
    """

    scheme = "sqlite"
    has_transactions = True

    def __init__(self, url: str, *, timeout: float = TIMEOUT, sysname: str = "") -> None:
        self.url = url
        self._file = StoreFile(url)
        self._timeout = timeout
        self._tables: dict[str, Table] = {}
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._closing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """See :meth:`Datastore.open`."""
        if self._writer is not None:
            return
        await asyncio.to_thread(self._file.make)
        there = Committer(self._file, self._connect_writer, self._refresh)
        here = Committer(self._file, self._connect_here, self._refresh)
        writer = Writer(self._file, there, here, self._timeout)
        writer.start()
        try:
            self._tables = await writer.special(self._bring_up)
            self._reader = await asyncio.to_thread(self._make_reader)
        except BaseException:
            await writer.close()
            raise
        self._writer = writer

    async def close(self) -> None:
        """See :meth:`Datastore.close`."""
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        if writer is not None:
            self._closing = asyncio.create_task(_ended(writer, reader), name=f"closing {self.url}")
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def store(self, name: str) -> SqliteStore:
        """See :meth:`Datastore.store`."""
        table = await self._table_of(name, is_indexed=False)
        if table.indices is not None:
            raise is_indexed(name)
        return self._store(table)

    async def index_store(self, name: str, indices: Indices) -> SqliteStore:
        """See :meth:`Datastore.index_store`."""
        declared = check_indices(indices)
        table = await self._table_of(name, is_indexed=True)
        merged = merged_indices(name, table.indices, declared)
        if merged != table.indices:
            await self._special(lambda c: self._add_attributes(c, table, declared))
        return self._store(table)

    async def names(self) -> list[str]:
        """See :meth:`Datastore.names`."""
        tables = await self._special(schema.load)
        return sorted(tables)

    async def drop(self, name: str) -> None:
        """See :meth:`Datastore.drop`."""
        check_name(name)
        await self._special(_transaction(lambda c: schema.drop(c, name)))
        self._tables.pop(name, None)

    async def commit(self, changes: Sequence[Change], reads: Sequence[Read] = ()) -> list[int]:
        """See :meth:`Datastore.commit`."""
        check_changes(changes, reads)
        steps = [step_of(self._table(change.store), change.write) for change in changes]
        stale = [(self._table(r.store), key_bytes(r.key), r.revision) for r in reads]
        if steps or stale:
            await self._opened().commit(steps, stale)
        return [step.revision for step in steps]

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """See :meth:`Datastore.unit_of_work`."""
        indices = {name: table.indices for name, table in self._tables.items()}
        return unit_of_work(self, indices, pauses=True)

    # stores

    def _store(self, table: Table) -> SqliteStore:
        writer = self._opened()
        assert self._reader is not None
        return SqliteStore(table, writer, self._reader)

    def _table(self, name: str) -> Table:
        table = self._tables.get(name)
        if table is None:
            raise not_opened(name)
        return table

    async def _table_of(self, name: str, *, is_indexed: bool) -> Table:
        check_name(name)
        if self._file.is_altered:
            await self._forget_dropped()
        return self._tables.get(name) or await self._made(name, is_indexed=is_indexed)

    async def _forget_dropped(self) -> None:
        """Forget the stores that are not what they were: who asks for one gets what is there."""
        there: dict[str, Table] = await self._special(schema.load)
        self._file.is_altered = False
        for name, table in list(self._tables.items()):
            if name not in there or there[name].indices != table.indices:
                del self._tables[name]

    async def _made(self, name: str, *, is_indexed: bool) -> Table:
        """Make a store, unless another container has, and return its table."""

        def make(connection: sqlite3.Connection) -> Table:
            schema.create(connection, name, is_indexed=is_indexed)
            return schema.load(connection)[name]

        made = await self._special(_transaction(make))
        return self._tables.setdefault(name, made)

    def _add_attributes(
        self, connection: sqlite3.Connection, table: Table, declared: Indices
    ) -> None:
        """Add what is missing, looking again at what others have added meanwhile."""

        def add(connection: sqlite3.Connection) -> Mapping[str, Any]:
            there = schema.load(connection).get(table.name)
            if there is None or there.indices is None:
                self._file.is_altered = True
                message = f"store {table.name!r} was dropped meanwhile: open it again"
                raise InvalidRequest(message)
            merged = merged_indices(table.name, there.indices, declared)
            schema.add_attributes(connection, there, merged)
            return merged

        table.declare(_transaction(add)(connection))

    # connections

    async def _special(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result: T = await self._opened().special(work)
        return result

    def _opened(self) -> Writer:
        if self._writer is None:
            raise closed(self.url)
        return self._writer

    def _bring_up(self, connection: sqlite3.Connection) -> dict[str, Table]:
        schema.bring_up(connection, self._file.path)
        return schema.load(connection)

    def _refresh(self, connection: sqlite3.Connection) -> None:
        """Take note of the attributes that other containers have added; called by who writes."""
        there = schema.load(connection)
        for name, table in list(self._tables.items()):
            # One with fewer is another store, of that name: what has them is not for it.
            if name in there and table.form.kinds.items() < there[name].form.kinds.items():
                table.declare(there[name].indices)

    def _make_reader(self) -> Reader:
        return Reader(self._file, self._connect_reader, self._timeout)

    def _connect_writer(self) -> sqlite3.Connection:
        connection = self._connect(self._timeout * _PATIENCE)
        try:
            schema.check(connection, self._file.path)  # before anything is changed
            schema.use_write_ahead_log(connection, self._timeout * _PATIENCE)
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_KEPT}").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_here(self) -> sqlite3.Connection:
        connection = self._connect(0.0)
        connection.execute("PRAGMA wal_autocheckpoint = 0").fetchone()  # the thread's business
        return connection

    def _connect_reader(self, patient: bool) -> sqlite3.Connection:
        connection = self._connect(self._timeout * _PATIENCE if patient else 0.0)
        connection.execute("PRAGMA query_only = TRUE")
        return connection

    def _connect(self, timeout: float) -> sqlite3.Connection:
        """Return a connection that waits for locks for so long, in seconds."""
        connection = sqlite3.connect(
            self._file.path,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        except BaseException:
            connection.close()
            raise
        return connection


async def _ended(writer: Writer, reader: Reader | None) -> None:
    try:
        if reader is not None:
            await reader.close()
    finally:
        await writer.close()  # the last one lets the log go into the file


def _transaction(work: Callable[[sqlite3.Connection], T]) -> Callable[[sqlite3.Connection], T]:
    """Return ``work`` within a transaction; whoever calls it rolls back where it fails."""

    def run(connection: sqlite3.Connection) -> T:
        connection.execute("BEGIN IMMEDIATE")
        result = work(connection)
        connection.execute("COMMIT")
        return result

    return run
