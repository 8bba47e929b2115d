"""A datastore in a PostgreSQL database, which any number of containers may share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from ion.base.errors import InvalidRequest
from ion.base.tasks import Tasks
from ion.stores.errors import closed, is_indexed, not_opened
from ion.stores.limits import check_changes, check_indices, check_name, merged_indices
from ion.stores.postgres import committing, failures, in_doubt
from ion.stores.postgres.address import address_of
from ion.stores.postgres.batching import Batcher
from ion.stores.postgres.committing import Part
from ion.stores.postgres.connection import Connection
from ion.stores.postgres.engine import Engine, Work
from ion.stores.postgres.pool import LAST_MOMENT, Pool
from ion.stores.postgres.schema import Schema
from ion.stores.postgres.schema_lock import SchemaLock
from ion.stores.postgres.step import Step, step_of
from ion.stores.postgres.store import PostgresStore
from ion.stores.postgres.table import Shape, Table
from ion.stores.store import Change, Indices, Read, UnitOfWork
from ion.stores.unit_of_work import unit_of_work

log = logging.getLogger(__name__)
TIMEOUT = 30.0
_SHARE = 0.8  # of a call's time: after that it is given up, by somebody who looks now and then
T = TypeVar("T")


class PostgresDatastore:
    """See :class:`~ion.stores.store.Datastore`.

    :param url: ``postgresql://user:password@host:port/database?schema=ion&pool=8``; with a pooler
        such as pgbouncer in between, ``&statement_cache_size=0``; the rest of the query is
        asyncpg's.
    :param timeout: seconds for one call.
    :param sysname: of the system whose schema it is to be, where the URL names none.
    """

    scheme = "postgresql"
    has_transactions = True

    def __init__(self, url: str, *, timeout: float = TIMEOUT, sysname: str = "") -> None:
        self._address = address_of(url)
        self.url = self._address.shown
        self._timeout = timeout
        self._schema = Schema(self._address, sysname)
        self._stores: dict[str, PostgresStore] = {}
        self._engine: Engine | None = None
        self._schema_lock: SchemaLock | None = None
        self._closing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """See :meth:`Datastore.open`; ConfigurationError: the URL cannot be used."""
        if self._engine is not None:
            return
        tasks = Tasks(f"store {self.url}")
        patience = self._timeout * _SHARE
        pool = Pool(self._address, patience, tasks)
        engine = Engine(pool, tasks, patience, self._refresh)
        try:
            await pool.open()
            await engine.run(self._schema.bring_up)
            self._address = pool.address = self._schema.address
            self.url = self._address.shown
            shapes = await engine.run(self._schema.load, is_read=True)
        except BaseException:
            await self._ended(engine)
            raise
        self._engine = engine
        self._stores = {name: self._made(name, shape) for name, shape in shapes.items()}

    async def claim(self, bus: str) -> None:
        """See :meth:`Claimable.claim`; behind a pooler nobody can tell."""
        engine = self._opened()
        if self._schema_lock is not None:
            return
        if not self._address.statements:
            log.debug("who has %s is not looked after: there is a pooler", self._address.where)
            return
        schema_lock = self._schema_lock = SchemaLock(
            self._address, engine.patience, bus, engine.tasks
        )
        try:
            await schema_lock.move_in()
        except BaseException:
            self._schema_lock = None
            raise

    async def close(self) -> None:
        """See :meth:`Datastore.close`."""
        engine, self._engine = self._engine, None
        schema_lock, self._schema_lock = self._schema_lock, None
        if engine is not None:
            ending = self._ended(engine, schema_lock)
            self._closing = asyncio.create_task(ending, name=f"closing {self.url}")
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _ended(self, engine: Engine, schema_lock: SchemaLock | None = None) -> None:
        """End all there is; cut off itself, at once."""
        engine.is_closed = True
        every = [rounds for store in self._stores.values() for rounds in store.rounds]
        try:
            await self._finished(engine, every)
            if schema_lock is not None:
                await schema_lock.close()
        finally:
            for rounds in every:
                rounds.close()
            engine.pool.abort()
            engine.tasks.cancel()
            if schema_lock is not None:
                schema_lock.move_out()

    async def _finished(self, engine: Engine, every: Sequence[Batcher[Any]]) -> None:
        for rounds in every:
            rounds.flush()
        waiting = [future for rounds in every for future in rounds.waiting()]
        if waiting or engine.left:
            await asyncio.wait([*waiting, *engine.left], timeout=LAST_MOMENT)
        for rounds in every:
            rounds.close()
        await engine.pool.close()
        if engine.pool.unsure:
            await in_doubt.ended(self._address, engine.pool.unsure)
        await engine.tasks.stop()

    async def store(self, name: str) -> PostgresStore:
        """See :meth:`Datastore.store`."""
        store = await self._opened_store(check_name(name), is_indexed=False)
        if store.table.shape.indices is not None:
            raise is_indexed(name)
        return store

    async def index_store(self, name: str, indices: Indices) -> PostgresStore:
        """See :meth:`Datastore.index_store`."""
        declared = check_indices(indices)
        store = await self._opened_store(check_name(name), is_indexed=True)
        known = store.table.shape.indices
        if merged_indices(name, known, declared) != known:
            shape = await self._run(lambda c: self._schema.add_attributes(c, name, declared))
            if shape is None:
                raise self._dropped(name)
            merged_indices(name, shape.indices, declared)
            store.table.shape = shape
        return store

    async def names(self) -> list[str]:
        """See :meth:`Datastore.names`."""
        return sorted(await self._run(self._schema.load, is_read=True))

    async def drop(self, name: str) -> None:
        """See :meth:`Datastore.drop`."""
        check_name(name)
        await self._run(lambda connection: self._schema.drop(connection, name))
        self._stores.pop(name, None)

    async def commit(self, changes: Sequence[Change], reads: Sequence[Read] = ()) -> list[int]:
        """See :meth:`Datastore.commit`."""
        check_changes(changes, reads)
        parts: dict[str, Part] = {}
        steps: dict[str, dict[bytes, Step]] = {}
        revisions = []
        for change in changes:
            part = self._part(parts, change.store)
            step = step_of(part.table, change.write)
            steps.setdefault(change.store, {})[step.key] = step
            part.steps.append(step)
            revisions.append(step.revision)
        for read in reads:
            part = self._part(parts, read.store)
            committing.add_read(part, read.key, read.revision, steps.get(read.store, {}))
        if parts:
            await self._commit([parts[name] for name in sorted(parts)])
        return revisions

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """See :meth:`Datastore.unit_of_work`."""
        indices = {name: store.table.shape.indices for name, store in self._stores.items()}
        return unit_of_work(self, indices)

    async def _commit(self, parts: Sequence[Part]) -> None:
        committing.prepare(parts)
        tables = [part.table for part in parts]
        await self._opened().run(
            lambda connection: committing.commit(connection, parts),
            tables,
            writes=lambda: {part.table: [step.key for step in part.steps] for part in parts},
        )

    def _part(self, parts: dict[str, Part], name: str) -> Part:
        part = parts.get(name)
        if part is None:
            store = self._stores.get(name)
            if store is None:
                raise not_opened(name)
            part = parts[name] = Part(store.table)
        return part

    # stores

    async def _opened_store(self, name: str, *, is_indexed: bool) -> PostgresStore:
        self._opened()
        store = self._stores.get(name)
        if store is None:
            shape = await self._run(
                lambda connection: self._schema.create(connection, name, is_indexed=is_indexed)
            )
            store = self._stores.setdefault(name, self._made(name, shape))
        return store

    def _made(self, name: str, shape: Shape) -> PostgresStore:
        return PostgresStore(Table(name, shape), self._opened(), self.commit)

    async def _refresh(
        self, connection: Connection, table: Table, why: BaseException | None
    ) -> None:
        """Look how a table is now; see :class:`Engine`."""
        shape = await self._schema.find(connection, table.name)
        if shape is None:
            raise self._dropped(table.name)
        is_other = (shape.indices is None) != (table.shape.indices is None)
        if is_other or not table.shape.kinds.items() <= shape.kinds.items():
            self._stores.pop(table.name, None)
            message = f"store {table.name!r} was dropped, and is of another kind now: open it again"
            raise InvalidRequest(message)
        if shape.generation != table.shape.generation:
            table.shape = shape
        elif why is not None:
            raise failures.damaged(why, self._address)

    def _dropped(self, name: str) -> InvalidRequest:
        self._stores.pop(name, None)
        return InvalidRequest(f"store {name!r} was dropped by somebody else: open it again")

    async def _run(self, work: Work[T], *, is_read: bool = False) -> T:
        return await self._opened().run(work, is_read=is_read)

    def _opened(self) -> Engine:
        if self._engine is None:
            raise closed(self.url)
        return self._engine
