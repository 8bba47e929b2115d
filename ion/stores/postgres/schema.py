"""What is in our schema: its version, its stores, and how older ones get there.

All changes are made under one lock, so that several containers may open the same at a time.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping

import msgspec

from ion.base.errors import ConfigurationError, Damaged, NewerSchema
from ion.stores.limits import Kind, merged_indices
from ion.stores.postgres.address import Address
from ion.stores.postgres.line import Line
from ion.stores.postgres.table import Shape
from ion.stores.store import Indices

# The n-th ones bring a schema from version n to n + 1. They are never changed, only added to.
# A store's indices are its declared attributes as JSON, NULL for a plain store.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        'CREATE TABLE "{schema}".ion_schema (version INT NOT NULL)',
        'INSERT INTO "{schema}".ion_schema VALUES (0)',
        'CREATE TABLE "{schema}".ion_stores (name TEXT PRIMARY KEY, generation INT8, indices TEXT)',
        'CREATE SEQUENCE "{schema}".ion_generations',
    ),
)
VERSION = len(MIGRATIONS)


class Schema:
    """Our schema in a database."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._name = address.schema
        self._lock = zlib.crc32(f"ion:{address.schema}".encode()) << 8 | 0x49

    async def bring_up(self, line: Line) -> None:
        """Bring it up to :data:`VERSION`.

        :raises Damaged: its version is not there any more.
        :raises NewerSchema: a newer release of ION has written it.
        :raises ConfigurationError: the database does not keep all text.
        """
        encoding = line.connection.get_settings().server_encoding
        if encoding != "UTF8":
            message = f"{self._address.where} is encoded in {encoding}: make one with -E UTF8"
            raise ConfigurationError(message)
        if await self._version(line) == VERSION:
            return
        async with line.transaction():
            await self._take_lock(line)
            # Another container may have done it while this one waited for its turn.
            before = await self._version(line)
            if not await self._is_there(line):
                await line.do(f'CREATE SCHEMA "{self._name}"')
            for statement in itertools.chain.from_iterable(MIGRATIONS[before:]):
                await line.do(statement.format(schema=self._name))
            if before < VERSION:
                await line.do(f'UPDATE "{self._name}".ion_schema SET version = {VERSION}')

    async def _version(self, line: Line) -> int:
        known = await line.once(
            "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename LIKE 'ion\\_%'",
            self._name,
        )
        tables = {row[0] for row in known}
        if not tables:
            return 0
        if "ion_schema" not in tables:
            why = "ion_schema is not there"
            raise self._broken(why)
        rows = await line.once(f'SELECT version FROM "{self._name}".ion_schema')
        if len(rows) != 1:
            why = f"ion_schema has {len(rows)} rows"
            raise self._broken(why)
        version: int = rows[0][0]
        if version > VERSION:
            message = (
                f"{self._address.where} was written by a newer release of ION (schema {version}, "
                f"this one knows {VERSION}): use that release, or another ?schema= in store.url"
            )
            details = {"url": self._address.shown, "version": version}
            raise NewerSchema(message, details=details)
        return version

    async def _is_there(self, line: Line) -> bool:
        found = await line.once("SELECT 1 FROM pg_namespace WHERE nspname = $1", self._name)
        return bool(found)

    async def _take_lock(self, line: Line) -> None:
        await line.once("SELECT pg_advisory_xact_lock($1)", self._lock)

    async def load(self, line: Line) -> dict[str, Shape]:
        """Return the stores that are there, by name."""
        sql = f'SELECT name, generation, indices FROM "{self._name}".ion_stores'
        return {row[0]: self._shape(*row) for row in await line.once(sql)}

    async def find(self, line: Line, name: str) -> Shape | None:
        """Return a store as it is now; None: it is not there."""
        sql = f'SELECT name, generation, indices FROM "{self._name}".ion_stores WHERE name = $1'
        rows = await line.once(sql, name)
        return self._shape(*rows[0]) if rows else None

    async def create(self, line: Line, name: str, *, is_indexed: bool) -> Shape:
        """Make a store, unless there is one; return it."""
        async with line.transaction():
            await self._take_lock(line)
            found = await self.find(line, name)
            if found is None:
                found = Shape(self._name, name, await self._next(line), {} if is_indexed else None)
                for statement in found.creation():
                    await line.do(statement)
                await line.once(
                    f'INSERT INTO "{self._name}".ion_stores VALUES ($1, $2, $3)',
                    name,
                    found.generation,
                    _json(found.indices),
                )
            return found

    async def add_attributes(self, line: Line, name: str, declared: Indices) -> Shape | None:
        """Give a store what attributes it has not; return it, None: it is not there."""
        async with line.transaction():
            await self._take_lock(line)
            before = await self.find(line, name)
            if before is None or before.indices is None:
                return before
            merged = merged_indices(name, before.indices, declared)
            if merged == before.kinds:
                return before
            after = Shape(self._name, name, await self._next(line), merged)
            await line.do(f"ALTER TABLE {before.sql} RENAME TO {after.own_name}")
            news = [attribute for attribute in merged if attribute not in before.kinds]
            for statement in itertools.chain.from_iterable(map(after.addition, news)):
                await line.do(statement)
            await line.once(
                f'UPDATE "{self._name}".ion_stores SET generation = $2, indices = $3 '
                "WHERE name = $1",
                name,
                after.generation,
                _json(merged),
            )
            return after

    async def drop(self, line: Line, name: str) -> None:
        """Remove a store; nothing where there is none."""
        async with line.transaction():
            await self._take_lock(line)
            found = await self.find(line, name)
            if found is not None:
                await line.do(f"DROP TABLE IF EXISTS {found.sql}")
                await line.once(f'DELETE FROM "{self._name}".ion_stores WHERE name = $1', name)

    async def _next(self, line: Line) -> int:
        rows = await line.once(f"SELECT nextval('\"{self._name}\".ion_generations')")
        return int(rows[0][0])

    def _shape(self, name: str, generation: int, text: str | None) -> Shape:
        indices: Mapping[str, Kind] | None = None
        if text is not None:
            try:
                indices = msgspec.json.decode(text, type=dict[str, Kind])
            except msgspec.MsgspecError as error:
                why = f"indices of {name!r}: {error}"
                raise self._broken(why) from error
        return Shape(self._name, name, generation, indices)

    def _broken(self, why: str) -> Damaged:
        message = (
            f"{self._address.where}: schema {self._name!r} was altered by hand ({why}): "
            "restore it from a backup, or give another ?schema= in store.url"
        )
        return Damaged(message, details={"url": self._address.shown})


def _json(indices: Indices | None) -> str | None:
    return None if indices is None else msgspec.json.encode(dict(indices)).decode()
