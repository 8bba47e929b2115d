"""What is in our schema: whose it is, its version, its stores, and how older ones get there.

A schema is of one system: what a container finds in it to be sent, or to be done, it sends and does
on the bus of its own. The first system of a database has schema ``ion``, each further one
``ion_<sysname>``. All changes are made under one lock, so that several containers may open the same
at a time.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping

import msgspec

from ion.base.errors import ConfigurationError, Damaged, NewerSchema
from ion.base.ids import checked_name
from ion.stores.limits import Kind, merged_indices
from ion.stores.postgres.address import SCHEMA, Address
from ion.stores.postgres.connection import Connection
from ion.stores.postgres.table import Shape
from ion.stores.store import Indices

# The n-th ones bring a schema from version n to n + 1. They are never changed, only added to.
# A store's indices are its declared attributes as JSON, NULL for a plain store. The system of a
# schema is the sysname of whose it is; NULL: nobody has said so.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        'CREATE TABLE "{schema}".ion_schema (version INT NOT NULL)',
        'INSERT INTO "{schema}".ion_schema VALUES (0)',
        'CREATE TABLE "{schema}".ion_stores (name TEXT PRIMARY KEY, generation INT8, indices TEXT)',
        'CREATE SEQUENCE "{schema}".ion_generations',
    ),
    ('ALTER TABLE "{schema}".ion_schema ADD COLUMN system TEXT',),
)
VERSION = len(MIGRATIONS)
_LONGEST = 63  # characters of a name: PostgreSQL cuts off the rest
_NEW = (0, None)


class Schema:
    """Our schema in a database.

    :param system: whose it is; "": of whoever else has it.
    :ivar address: where it is; which of a database's it is, is known when it was brought up.
    :raises ConfigurationError: ``system`` is not a name.
    """

    def __init__(self, address: Address, system: str = "") -> None:
        self._system = checked_name(system, "sysname") if system else ""
        self._be(address)

    def _be(self, address: Address) -> None:
        self.address = self._address = address
        self._name = address.schema
        self._lock = lock_of(address.schema)

    async def bring_up(self, connection: Connection) -> None:
        """Find that of the system, or make it; and bring it up to :data:`VERSION`.

        :raises Damaged: its version is not there any more.
        :raises NewerSchema: a newer release of ION has written it.
        :raises ConfigurationError: the database does not keep all text; or the schema that the URL
            names is another system's.
        """
        encoding = connection.connection.get_settings().server_encoding
        if encoding != "UTF8":
            message = f"{self._address.where} is encoded in {encoding}: make one with -E UTF8"
            raise ConfigurationError(message)
        for name in await self._candidates(connection):
            self._be(self._address.within(name))
            owner = await self._take(connection)
            if not self._is_anothers(owner):
                return
        raise self._anothers(owner)

    async def _candidates(self, connection: Connection) -> list[str]:
        if self._address.is_chosen or not self._system:
            return [self._name]
        own = own_schema(self._system)
        return [own] if await self._is_there(connection, own) else [SCHEMA, own]

    async def _take(self, connection: Connection) -> str | None:
        """Bring it up, and let it be the system's where it is nobody's; return whose it is."""
        version, owner = await self._state(connection)
        is_settled = owner is not None or not self._system
        if self._is_anothers(owner) or (version == VERSION and is_settled):
            return owner
        async with connection.transaction():
            await self._take_lock(connection)
            # Another container may have done it while this one waited for its turn.
            before, owner = await self._state(connection)
            if self._is_anothers(owner):
                return owner
            if not await self._is_there(connection, self._name):
                await connection.do(f'CREATE SCHEMA "{self._name}"')
            for statement in itertools.chain.from_iterable(MIGRATIONS[before:]):
                await connection.do(statement.format(schema=self._name))
            owner = owner or self._system or None
            sql = f'UPDATE "{self._name}".ion_schema SET version = $1, system = $2'
            await connection.once(sql, VERSION, owner)
        return owner

    def _is_anothers(self, owner: str | None) -> bool:
        return bool(self._system and owner) and owner != self._system

    def _anothers(self, owner: str | None) -> ConfigurationError:
        system = self._system
        message = (
            f"{self._address.where}: schema {self._name!r} is of system {owner!r}, and this is "
            f"{system!r}: each would take the other's work. Leave ?schema= out of store.url, or "
            "name another one; or, where the other system is no more, say in the database: "
            f"UPDATE \"{self._name}\".ion_schema SET system = '{system}'"
        )
        return ConfigurationError(message, details={"url": self._address.shown, "system": owner})

    async def _state(self, connection: Connection) -> tuple[int, str | None]:
        """Return its version, and whose it is."""
        known = await connection.once(
            "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename LIKE 'ion\\_%'",
            self._name,
        )
        tables = {row[0] for row in known}
        if not tables:
            return _NEW
        if "ion_schema" not in tables:
            why = "ion_schema is not there"
            raise self._broken(why)
        rows = await connection.once(f'SELECT * FROM "{self._name}".ion_schema')
        if len(rows) != 1:
            why = f"ion_schema has {len(rows)} rows"
            raise self._broken(why)
        version: int = rows[0]["version"]
        if version > VERSION:
            message = (
                f"{self._address.where} was written by a newer release of ION (schema {version}, "
                f"this one knows {VERSION}): use that release, or another ?schema= in store.url"
            )
            details = {"url": self._address.shown, "version": version}
            raise NewerSchema(message, details=details)
        return version, rows[0].get("system")

    async def _is_there(self, connection: Connection, name: str) -> bool:
        found = await connection.once("SELECT 1 FROM pg_namespace WHERE nspname = $1", name)
        return bool(found)

    async def _take_lock(self, connection: Connection) -> None:
        await connection.once("SELECT pg_advisory_xact_lock($1)", self._lock)

    async def load(self, connection: Connection) -> dict[str, Shape]:
        """Return the stores that are there, by name."""
        sql = f'SELECT name, generation, indices FROM "{self._name}".ion_stores'
        return {row[0]: self._shape(*row) for row in await connection.once(sql)}

    async def find(self, connection: Connection, name: str) -> Shape | None:
        """Return a store as it is now; None: it is not there."""
        sql = f'SELECT name, generation, indices FROM "{self._name}".ion_stores WHERE name = $1'
        rows = await connection.once(sql, name)
        return self._shape(*rows[0]) if rows else None

    async def create(self, connection: Connection, name: str, *, is_indexed: bool) -> Shape:
        """Make a store, unless there is one; return it."""
        async with connection.transaction():
            await self._take_lock(connection)
            found = await self.find(connection, name)
            if found is None:
                found = Shape(
                    self._name, name, await self._next(connection), {} if is_indexed else None
                )
                for statement in found.creation():
                    await connection.do(statement)
                await connection.once(
                    f'INSERT INTO "{self._name}".ion_stores VALUES ($1, $2, $3)',
                    name,
                    found.generation,
                    _json(found.indices),
                )
            return found

    async def add_attributes(
        self, connection: Connection, name: str, declared: Indices
    ) -> Shape | None:
        """Give a store what attributes it has not; return it, None: it is not there."""
        async with connection.transaction():
            await self._take_lock(connection)
            before = await self.find(connection, name)
            if before is None or before.indices is None:
                return before
            merged = merged_indices(name, before.indices, declared)
            if merged == before.kinds:
                return before
            after = Shape(self._name, name, await self._next(connection), merged)
            await connection.do(f"ALTER TABLE {before.sql} RENAME TO {after.own_name}")
            news = [attribute for attribute in merged if attribute not in before.kinds]
            for statement in itertools.chain.from_iterable(map(after.addition, news)):
                await connection.do(statement)
            await connection.once(
                f'UPDATE "{self._name}".ion_stores SET generation = $2, indices = $3 '
                "WHERE name = $1",
                name,
                after.generation,
                _json(merged),
            )
            return after

    async def drop(self, connection: Connection, name: str) -> None:
        """Remove a store; nothing where there is none."""
        async with connection.transaction():
            await self._take_lock(connection)
            found = await self.find(connection, name)
            if found is not None:
                await connection.do(f"DROP TABLE IF EXISTS {found.sql}")
                await connection.once(
                    f'DELETE FROM "{self._name}".ion_stores WHERE name = $1', name
                )

    async def _next(self, connection: Connection) -> int:
        rows = await connection.once(f"SELECT nextval('\"{self._name}\".ion_generations')")
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


def own_schema(system: str) -> str:
    """Return the name of a schema that is a system's alone, where another has ``ion``."""
    name = f"{SCHEMA}_{system}"
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}_{zlib.crc32(system.encode()):08x}"


def lock_of(schema: str) -> int:
    """Return the number of the lock under which a schema is changed."""
    return zlib.crc32(f"ion:{schema}".encode()) << 8 | 0x49


def _json(indices: Indices | None) -> str | None:
    return None if indices is None else msgspec.json.encode(dict(indices)).decode()
