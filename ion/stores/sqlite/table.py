"""The SQL of one store's table, and what a write to it takes, made ready once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ion.stores.entries import entries_of
from ion.stores.limits import Kind
from ion.stores.plan_cache import PlanCache
from ion.stores.store import Indices

_COLUMN_TYPES: dict[Kind, str] = {
    "str": "TEXT",
    "int": "INTEGER",
    "float": "REAL",
    "bool": "INTEGER",
}


class Plan:
    """How a page is read by one statement, whatever the values are.

    :param attributes: that its entries have, of those of the form.
    :ivar form: of the table at that time.
    :ivar tail: the statement from FROM on.
    :ivar sql: all of it.
    :ivar entries: makes entries of its rows.
    """

    __slots__ = ("entries", "form", "sql", "table", "tail")

    def __init__(self, table: Table, form: Form, tail: str, attributes: Sequence[str]) -> None:
        self.table = table
        self.form = form
        self.tail = tail
        self.sql = _select(attributes) + tail
        self.entries = entries_of(attributes, [name for name in attributes if name in form.bools])


class Form:
    """What a table has at a time, and the statements that follow from it; never changed.

    :ivar kinds: the attributes and their types.
    :ivar select: the columns of an entry.
    :ivar plans: how queries are read.
    :ivar entries: makes entries of rows of these columns.
    """

    __slots__ = (
        "attributes",
        "bools",
        "entries",
        "kinds",
        "plans",
        "put",
        "select",
    )

    def __init__(self, table: str, indices: Indices) -> None:
        self.kinds = dict(indices)
        self.attributes = tuple(indices)
        self.bools = tuple(name for name, kind in indices.items() if kind == "bool")
        self.plans: PlanCache[Plan] = PlanCache(self.kinds)
        self.entries = entries_of(self.attributes, self.bools)
        own = [f"a_{name}" for name in self.attributes]
        every = ["key", "value", "revision", *own]
        marks = ", ".join("?" * len(every))
        updates = ", ".join(f"{column} = excluded.{column}" for column in every[1:])
        self.put = (
            f"INSERT INTO {table} ({', '.join(every)}) VALUES ({marks}) "
            f"ON CONFLICT (key) DO UPDATE SET {updates}"
        )
        self.select = _select(self.attributes)

    def row(self, index: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values of the attribute columns for a put."""
        return tuple([index.get(name) for name in self.attributes])


class Table:
    """A store's table.

    Other containers may give it further attributes, so that it takes on another form: what is read
    of ``form`` once is of one piece, in any thread.

    :ivar name: of the store.
    :ivar indices: declared attributes; None: it is no index store.
    :ivar sql: of the table's name.
    """

    __slots__ = (
        "by_key",
        "form",
        "has",
        "indices",
        "name",
        "remove",
        "revision",
        "sql",
        "value",
    )

    def __init__(self, name: str, indices: Indices | None) -> None:
        self.name = name
        self.sql = f'"s_{name}"'
        self.by_key = f" FROM {self.sql} WHERE key = ?"
        self.remove = f"DELETE FROM {self.sql} WHERE key = ?"
        self.revision = f"SELECT revision FROM {self.sql} WHERE key = ?"
        self.has = f"SELECT 1 FROM {self.sql} WHERE key = ?"
        self.value = f"SELECT value FROM {self.sql} WHERE key = ?"
        self.declare(indices)

    def declare(self, indices: Indices | None) -> None:
        """Take note of the attributes that the table has."""
        self.indices = indices
        self.form = Form(self.sql, indices or {})

    def creation(self) -> str:
        """Return the statement that makes the table, without attributes.

        It has rowids: values of 1 KB would not fit into the pages of a table without.
        """
        return (
            f"CREATE TABLE IF NOT EXISTS {self.sql} "
            "(key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL)"
        )

    def index(self, name: str) -> str:
        """Return the SQL of the name of an attribute's index."""
        return f'"i_{self.name}.{name}"'

    def addition(self, name: str, kind: Kind) -> list[str]:
        """Return the statements that add an attribute."""
        column = f"a_{name}"
        return [
            f"ALTER TABLE {self.sql} ADD COLUMN {column} {_COLUMN_TYPES[kind]}",
            f"CREATE INDEX {self.index(name)} ON {self.sql} ({column}, key)",
        ]


def _select(attributes: Sequence[str]) -> str:
    columns = "".join(f", a_{name}" for name in attributes)
    return f"SELECT key, value, revision{columns}"
