"""The same queries by hand: a table of resources, an index a query, and SQL.

Attributes are JSON, read with msgspec; the sub-types of a type are known, and given to the query.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from benchmarks.registry.sides import FOUND, resources
from benchmarks.stores.sqlite import connect
from ion import Service
from ion.services.resource_registry.model import Resource

COLUMNS = (
    "id",
    "type",
    "name",
    "description",
    "owner",
    "maturity",
    "availability",
    "revision",
    "created",
    "modified",
    "attributes",
)
INDEXED = ("serial", "model", "depth")
_INDICES = ("type", "name", "owner", "maturity", "availability", "created", "modified", *INDEXED)
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM resources"
_THERE = "type IN ('Device', 'CTD') AND maturity NOT IN ('RETIRED', 'DELETED')"
_EQUAL = "{select} WHERE {name} = {mark} AND {there} ORDER BY id LIMIT {limit}"
_PAGE = "{select} WHERE depth >= {mark} AND {there} ORDER BY depth, id LIMIT {limit}"
_read = msgspec.json.decode
_write = msgspec.json.encode
Row = tuple[Any, ...]


def rows(count: int) -> Iterator[Row]:
    """Give the rows of the table."""
    for resource in resources(count):
        yield _row(resource)


def _row(r: Resource) -> Row:
    own = [getattr(r, name) for name in COLUMNS[:-1]]
    return (*own, _write(r.attributes).decode(), *(r.attributes[name] for name in INDEXED))


def _statement(form: str, mark: str, name: str = "") -> str:
    return form.format(select=_SELECT, name=name, mark=mark, there=_THERE, limit=FOUND)


def _table(text: str, number: str, whole: str) -> list[str]:
    types = {"created": number, "modified": number, "depth": number, "revision": whole}
    columns = ", ".join(f"{name} {types.get(name, text)}" for name in (*COLUMNS[1:], *INDEXED))
    return [f"CREATE TABLE resources (id {text} PRIMARY KEY, {columns})"]


def _indices() -> list[str]:
    return [f"CREATE INDEX ON resources ({name}, id)" for name in _INDICES]


def _found(found: Sequence[Any]) -> list[dict[str, Any]]:
    every = [dict(zip(COLUMNS, row, strict=True)) for row in found]
    for row in every:
        row["attributes"] = _read(row["attributes"])
    return every


class Sqlite:
    """The standard library's sqlite3, where it stands: WAL, one connection."""

    def __init__(self, path: Path) -> None:
        self._db: sqlite3.Connection = connect(path)
        self._serial, self._model = (_statement(_EQUAL, "?", name) for name in INDEXED[:2])
        self._page = _statement(_PAGE, "?")

    def find_serial(self, serial: str) -> list[Any]:
        return _found(self._db.execute(self._serial, (serial,)).fetchall())

    async def by_serial(self, serial: str) -> list[Any]:
        return self.find_serial(serial)

    async def by_model(self, model: str) -> list[Any]:
        return _found(self._db.execute(self._model, (model,)).fetchall())

    async def page(self, least: float) -> list[Any]:
        return _found(self._db.execute(self._page, (least,)).fetchall())

    async def fill(self, count: int) -> None:
        for statement in _table("TEXT", "REAL", "INTEGER"):
            self._db.execute(statement)
        self._db.execute("BEGIN")
        marks = ", ".join("?" * (len(COLUMNS) + len(INDEXED)))
        self._db.executemany(f"INSERT INTO resources VALUES ({marks})", rows(count))
        self._db.execute("COMMIT")
        for number, statement in enumerate(_indices()):
            self._db.execute(statement.replace("INDEX ON", f"INDEX i{number} ON"))
        self._db.execute("ANALYZE")

    def close(self) -> None:
        self._db.close()


class Threaded:
    """The same where no query may hold up the event loop: each is run by the one thread it has."""

    def __init__(self, side: Sqlite) -> None:
        self._side = side
        self._thread = ThreadPoolExecutor(1)

    async def by_serial(self, serial: str) -> list[Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._side.find_serial, serial)

    def close(self) -> None:
        self._thread.shutdown()


class Postgres:
    """asyncpg, prepared statements on one connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def by_serial(self, serial: str) -> list[Any]:
        return _found(await self._serial.fetch(serial))

    async def by_model(self, model: str) -> list[Any]:
        return _found(await self._model.fetch(model))

    async def page(self, least: float) -> list[Any]:
        return _found(await self._page.fetch(least))

    async def fill(self, count: int) -> None:
        for statement in _table('TEXT COLLATE "C"', "DOUBLE PRECISION", "BIGINT"):
            await self._connection.execute(statement)
        await self._connection.copy_records_to_table("resources", records=rows(count))
        for statement in _indices():
            await self._connection.execute(statement)
        await self._connection.execute("VACUUM ANALYZE")  # of ION's tables, too
        prepare = self._connection.prepare
        self._serial = await prepare(_statement(_EQUAL, "$1", "serial"))
        self._model = await prepare(_statement(_EQUAL, "$1", "model"))
        self._page = await prepare(_statement(_PAGE, "$1"))

    async def close(self) -> None:
        await self._connection.close()


async def postgres(url: str) -> Postgres:
    """Connect."""
    return Postgres(await asyncpg.connect(url))


class Served(Service, name="by_hand"):
    """The queries by hand, as a service of ION of their own offers them.

    :param side: one that has them.
    """

    def __init__(self, side: Any) -> None:
        self._side = side

    async def op_nothing(self) -> None:
        """Do nothing: what any call costs."""

    async def op_by_serial(self, serial: str) -> list[Any]:
        found: list[Any] = await self._side.by_serial(serial)
        return found

    async def op_by_model(self, model: str) -> list[Any]:
        found: list[Any] = await self._side.by_model(model)
        return found

    async def op_page(self, least: float) -> list[Any]:
        found: list[Any] = await self._side.page(least)
        return found
