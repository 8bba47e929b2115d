"""The SQL of one store's table, and what a write to it takes, made ready once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ion.stores.limits import Kind
from ion.stores.store import Indices

_COLUMN_TYPES: dict[Kind, str] = {
    "str": "TEXT",
    "int": "INTEGER",
    "float": "REAL",
    "bool": "INTEGER",
}
INLINE = 65_536  # bytes; a larger value is not read on the event loop


class Table:
    """A store's table.

    :ivar name: of the store.
    :ivar indices: declared attributes; None: it is no index store.
    :ivar sql: of the table's name.
    :ivar columns: of the attributes, with a comma in front of each, for SELECT.
    """

    def __init__(self, name: str, indices: Indices | None) -> None:
        self.name = name
        self.sql = f'"s_{name}"'
        self.declare(indices)

    def declare(self, indices: Indices | None) -> None:
        """Take note of the attributes that the table has."""
        self.indices = indices
        self.attributes: list[str] = list(indices or ())
        self.kinds = dict(indices or {})
        own = [f"a_{name}" for name in self.attributes]
        self.columns = "".join(f", {column}" for column in own)
        every = ["key", "value", "revision", *own]
        marks = ", ".join("?" * len(every))
        updates = ", ".join(f"{column} = excluded.{column}" for column in every[1:])
        table = self.sql
        self.put = (
            f"INSERT INTO {table} ({', '.join(every)}) VALUES ({marks}) "
            f"ON CONFLICT (key) DO UPDATE SET {updates}"
        )
        self.remove = f"DELETE FROM {table} WHERE key = ?"
        self.revision = f"SELECT revision FROM {table} WHERE key = ?"
        self.has = f"SELECT 1 FROM {table} WHERE key = ?"
        self.get = (
            f"SELECT CASE WHEN length(value) <= {INLINE} THEN value ELSE 0 END "
            f"FROM {table} WHERE key = ?"
        )
        self.value = f"SELECT value FROM {table} WHERE key = ?"
        self.entry = f"SELECT key, value, revision{self.columns} FROM {table} WHERE key = ?"

    def row(self, index: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values of the attribute columns for a put."""
        return tuple(index.get(name) for name in self.attributes)

    def index_of(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Return the attributes that the values of the columns are."""
        return {
            name: bool(value) if self.kinds[name] == "bool" else value
            for name, value in zip(self.attributes, values, strict=True)
            if value is not None
        }

    def creation(self) -> str:
        """Return the statement that makes the table, without attributes."""
        return (
            f"CREATE TABLE IF NOT EXISTS {self.sql} "
            "(key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL)"
        )

    def addition(self, name: str, kind: Kind) -> list[str]:
        """Return the statements that add an attribute."""
        column = f"a_{name}"
        return [
            f"ALTER TABLE {self.sql} ADD COLUMN {column} {_COLUMN_TYPES[kind]}",
            f'CREATE INDEX "i_{self.name}__{name}" ON {self.sql} ({column}, key)',
        ]
