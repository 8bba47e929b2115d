"""A commit as the writer's thread does it: all checks first, then all writes.

The writer is alone while its transaction lasts, so that what was checked stays true; and what
conflicts has written nothing, so that others in the same transaction need not be undone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

from ion.stores.conflicts import conflict, not_there
from ion.stores.limits import check_attributes, check_value, key_bytes, key_text, new_revision
from ion.stores.sqlite.table import Table
from ion.stores.store import ABSENT, Put, Reindex, Remove, Write


class Step:
    """One write, made ready.

    :ivar expected: the revision that must be there; None: any.
    :ivar must_be: whether the key must be there.
    :ivar revision: that it leaves.
    :ivar size: bytes of the value that it brings.
    """

    __slots__ = ("expected", "key", "must_be", "parameters", "revision", "size", "sql", "table")

    def __init__(
        self,
        table: Table,
        key: bytes,
        sql: str,
        parameters: tuple[Any, ...],
        revision: int,
        expected: int | None,
        *,
        must_be: bool = False,
        size: int = 0,
    ) -> None:
        self.table = table
        self.key = key
        self.sql = sql
        self.parameters = parameters
        self.revision = revision
        self.expected = expected
        self.must_be = must_be
        self.size = size


class Job:
    """A commit, and who waits for it.

    :param reads: table, key and revision of what was read.
    :ivar result: the revisions, once it is done.
    """

    __slots__ = ("future", "reads", "result", "steps")

    def __init__(
        self,
        future: asyncio.Future[Any],
        steps: Sequence[Step],
        reads: Sequence[tuple[Table, bytes, int]] = (),
    ) -> None:
        self.future = future
        self.steps = steps
        self.reads = reads
        self.result: Any = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Do it, within a transaction.

        :raises Conflict: a read is stale, or a write expects another revision; nothing was done.
        :raises NotFound: a key that must be there is not; nothing was done.
        """
        execute = connection.execute
        for table, key, revision in self.reads:
            _check(execute(table.revision, (key,)).fetchone(), table, key, revision)
        for step in self.steps:
            if step.expected is not None or step.must_be:
                row = execute(step.table.revision, (step.key,)).fetchone()
                if step.expected is not None:
                    _check(row, step.table, step.key, step.expected)
                if step.must_be and row is None:
                    raise not_there(step.table.name, key_text(step.key))
        removed = 0
        for step in self.steps:
            removed = execute(step.sql, step.parameters).rowcount
        self.result = [step.revision for step in self.steps], removed


def put_step(table: Table, write: Put) -> Step:
    """Return a put made ready.

    :raises InvalidRequest: key, value or attributes are none of this store's.
    :raises ContentTooLarge: the value is.
    """
    key = key_bytes(write.key)
    check_value(write.value, write.key)
    revision = write.becomes or new_revision()
    parameters: tuple[Any, ...] = (key, write.value, revision)
    if table.attributes or write.index:
        parameters += table.row(check_attributes(write.index or {}, table.kinds))
    return Step(table, key, table.put, parameters, revision, write.revision, size=len(write.value))


def step_of(table: Table, write: Write) -> Step:
    """Return a write made ready; errors as :func:`put_step`."""
    if isinstance(write, Put):
        return put_step(table, write)
    key = key_bytes(write.key)
    if isinstance(write, Remove):
        return Step(table, key, table.remove, (key,), ABSENT, write.revision)
    return _reindex(table, key, write)


def _reindex(table: Table, key: bytes, write: Reindex) -> Step:
    kept = check_attributes(write.index, table.kinds)
    sets = "".join(f", a_{name} = ?" for name in write.index)
    revision = write.becomes or new_revision()
    values = [kept.get(name) for name in write.index]
    sql = f"UPDATE {table.sql} SET revision = ?{sets} WHERE key = ?"
    return Step(table, key, sql, (revision, *values, key), revision, write.revision, must_be=True)


def _check(row: tuple[int] | None, table: Table, key: bytes, expected: int) -> None:
    found = row[0] if row is not None else ABSENT
    if found != expected:
        raise conflict(table.name, key_text(key), expected, found)
