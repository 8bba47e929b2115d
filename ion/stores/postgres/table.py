"""The SQL of one store's table.

A table that is given further attributes gets another name, too: a client that knows it as it was
finds it gone, looks again, and goes on with all its attributes. So a put of an old client leaves
none that it has not named, and no write needs to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ion.stores.entries import Rows, entries_of
from ion.stores.limits import Kind
from ion.stores.plan_cache import PlanCache
from ion.stores.store import Entry, Indices

_COLUMN_TYPES: dict[Kind, str] = {
    "str": 'TEXT COLLATE "C"',
    "int": "BIGINT",
    "float": "DOUBLE PRECISION",
    "bool": "BOOLEAN",
}
_ARRAYS: dict[Kind, str] = {"str": "text", "int": "int8", "float": "float8", "bool": "bool"}


class Lookup(NamedTuple):
    """Queries by key: of one, and of many. The first column is the key."""

    one: str
    many: str


class Plan(NamedTuple):
    """How a page is read, whatever the values are.

    :ivar lean: the statement that is tried first.
    :ivar entries_of: makes entries of its rows.
    """

    lean: str
    entries_of: Callable[[Rows], list[Entry]]


class Shape:
    """A table as it is for a time. Never changed.

    :param generation: part of the table's name; that of no other table.
    :ivar indices: declared attributes; None: it is no index store.
    :ivar attributes: their names, in the order of the columns.
    :ivar columns: of the attributes, with a comma in front of each, for SELECT.
    :ivar plans: how the page of each sort of query is read.
    :ivar entries_of: makes entries of rows: key, value, revision, and these columns.
    """

    def __init__(self, schema: str, name: str, generation: int, indices: Indices | None) -> None:
        self.generation = generation
        self.indices = indices
        self.kinds = dict(indices or {})
        self.attributes = list(self.kinds)
        self.own_name = f'"s_{name}_{generation}"'
        self.sql = f'"{schema}".{self.own_name}'
        self.plans: PlanCache[Plan] = PlanCache(self.kinds)
        self.entries_of = entries_of(self.attributes)
        self.columns = columns_of(self.attributes)
        self.value = f"SELECT value FROM {self.sql} WHERE key = $1"
        self.values = f"SELECT key, value FROM {self.sql} WHERE key = ANY($1)"
        self.revisions = self._lookup("key, revision")
        self.entries = self._lookup(f"key, value, revision{self.columns}")
        every = ["key", "value", "revision", *map(_column, self.attributes)]
        updates = ", ".join(f"{column} = excluded.{column}" for column in every[1:])
        marks = ", ".join(f"${number}" for number in range(1, len(every) + 1))
        into = f"INSERT INTO {self.sql} ({', '.join(every)})"
        many = f"{into} SELECT * FROM unnest({self._arrays('bytea', 'bytea', 'int8')})"
        upsert = f"ON CONFLICT (key) DO UPDATE SET {updates}"
        self.put_one = f"{into} VALUES ({marks}) {upsert}"
        self.put = f"{many} {upsert}"
        self.put_new = f"{many} ON CONFLICT (key) DO NOTHING RETURNING key"
        self.put_if = self._updated("value", self.attributes)
        self.remove = f"DELETE FROM {self.sql} WHERE key = ANY($1) RETURNING key"
        self.remove_if = (
            f"DELETE FROM {self.sql} AS t "
            "USING unnest($1::bytea[], $2::int8[]) AS n(key, expected) "
            "WHERE t.key = n.key AND t.revision = n.expected RETURNING t.key"
        )
        self.shared = f"{self.revisions.many} ORDER BY key FOR SHARE"
        self.hold = (
            f"INSERT INTO {self.sql} (key, value, revision) "
            "SELECT key, '', 0 FROM unnest($1::bytea[]) AS n(key) "
            "ON CONFLICT (key) DO NOTHING RETURNING key"
        )
        self.let_go = f"DELETE FROM {self.sql} WHERE key = ANY($1) AND revision = 0"
        self.clear = f"TRUNCATE {self.sql}"

    def reindex(self, names: Sequence[str]) -> str:
        """Return the statement that changes these attributes."""
        return self._updated("", names)

    def row(self, index: Mapping[str, Any]) -> list[Any]:
        """Return the values of the attribute columns for a put."""
        return [index.get(name) for name in self.attributes]

    def creation(self) -> list[str]:
        """Return the statements that make the table, without attributes."""
        columns = "key BYTEA PRIMARY KEY, value BYTEA NOT NULL, revision BIGINT NOT NULL"
        return [
            f"CREATE TABLE {self.sql} ({columns})",
            # Most values are packed already, and all large ones: to try costs more than it gains.
            f"ALTER TABLE {self.sql} ALTER COLUMN value SET STORAGE EXTERNAL",
        ]

    def addition(self, name: str) -> list[str]:
        """Return the statements that add the column of an attribute, and its index."""
        kind = self.kinds[name]
        column = _column(name)
        return [
            f"ALTER TABLE {self.sql} ADD COLUMN {column} {_COLUMN_TYPES[kind]}",
            f"CREATE INDEX ON {self.sql} ({column} NULLS FIRST, key)",
        ]

    def _lookup(self, columns: str) -> Lookup:
        select = f"SELECT {columns} FROM {self.sql} WHERE key"
        return Lookup(f"{select} = $1", f"{select} = ANY($1)")

    def _arrays(self, *types: str) -> str:
        every = [*types, *(_ARRAYS[kind] for kind in self.kinds.values())]
        return ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(every, 1))

    def _updated(self, value: str, names: Sequence[str]) -> str:
        """Return a conditional update: key, revision, expected, and then what is set."""
        sets = [value] * bool(value) + [_column(name) for name in names]
        types = ["bytea", "int8", "int8"] + ["bytea"] * bool(value)
        types += [_ARRAYS[self.kinds[name]] for name in names]
        arrays = ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(types, 1))
        given = ", ".join(["key", "revision", "expected", *sets])
        changes = "".join(f", {column} = n.{column}" for column in sets)
        return (
            f"UPDATE {self.sql} AS t SET revision = n.revision{changes} "
            f"FROM unnest({arrays}) AS n({given}) "
            "WHERE t.key = n.key AND (n.expected IS NULL OR t.revision = n.expected) "
            "RETURNING t.key"
        )


def columns_of(attributes: Sequence[str]) -> str:
    """Return the columns of attributes, with a comma in front of each."""
    return "".join(f", {_column(name)}" for name in attributes)


def _column(name: str) -> str:
    return f"a_{name}"


class Doubt:
    """A write to a table that was given up: nobody knows whether it is over.

    :ivar keys: what it writes; None: all there is.
    """

    __slots__ = ("keys",)

    def __init__(self, keys: Collection[bytes] | None) -> None:
        self.keys = None if keys is None else frozenset(keys)

    def concerns(self, keys: Collection[bytes] | None) -> bool:
        """Tell whether it writes any of these; None: of all."""
        return self.keys is None or keys is None or not self.keys.isdisjoint(keys)


class Table:
    """A store's table.

    :ivar shape: what it is now, as far as is known.
    :ivar busy: keys that rounds of calls write now.
    :ivar doubts: writes that may be under way yet; their keys are not written meanwhile.
    :ivar flush: begins what waits for that.
    :ivar is_left: tells whether what nobody waits for any more is to be written there.
    :ivar waiting: who wait for keys; each is done when some are free.
    """

    __slots__ = ("busy", "doubts", "flush", "is_left", "name", "shape", "waiting")

    def __init__(self, name: str, shape: Shape) -> None:
        self.name = name
        self.shape = shape
        self.busy: set[bytes] = set()
        self.doubts: list[Doubt] = []
        self.flush: Callable[[], None] = _nothing
        self.is_left: Callable[[Collection[bytes] | None], bool] = _nowhere
        self.waiting: list[asyncio.Future[None]] = []

    def is_held(self, keys: Collection[bytes] | None, *, has_turn: bool) -> bool:
        """Tell whether a write to any of these that was given up may yet be done; None: to any.

        :param has_turn: whoever asks is of a round: what is left there comes later, or is its own.
        """
        is_in_doubt = any(doubt.concerns(keys) for doubt in self.doubts)
        return is_in_doubt or (not has_turn and self.is_left(keys))

    def wake(self) -> None:
        """Have those who wait for keys look again."""
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _nothing() -> None:
    """Stand for what is to be done, where there is nothing."""


def _nowhere(_keys: Collection[bytes] | None) -> bool:
    return False
