"""A commit as the writer does it: all checks first, then all writes.

The writer is alone while its transaction lasts, so that what was checked stays true; and what
conflicts has written nothing, so that others in the same transaction need not be undone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ion.stores.errors import conflict, not_there
from ion.stores.limits import check_attributes, check_value, key_bytes, key_text, new_revision
from ion.stores.sqlite.table import Table
from ion.stores.store import ABSENT, Attributes, Put, Reindex, Remove, Write


class Step(msgspec.Struct, eq=False):
    """One write, made ready.

    :ivar sql: None: it puts, into all columns that the table has by then.
    :ivar parameters: of the statement; for a put, without attributes.
    :ivar revision: that it leaves.
    :ivar expected: the revision that must be there; None: any.
    :ivar must_be: whether the key must be there.
    :ivar size: bytes of the value that it brings.
    :ivar index: the attributes of a put.
    """

    table: Table
    key: bytes
    sql: str | None
    parameters: tuple[Any, ...]
    revision: int
    expected: int | None
    must_be: bool = False
    size: int = 0
    index: Mapping[str, Any] | None = None


class Job:
    """A commit, and who waits for it.

    :param reads: table, key and revision of what was read.
    :ivar future: of who waits for it, where somebody does.
    :ivar result: how many rows its last write has changed, once it is done.
    :ivar size: bytes of the values that it brings.
    """

    __slots__ = ("future", "reads", "result", "size", "steps")

    def __init__(
        self, steps: Sequence[Step], reads: Sequence[tuple[Table, bytes, int]] = ()
    ) -> None:
        self.future: asyncio.Future[int] | None = None
        self.steps = steps
        self.reads = reads
        self.result = 0
        self.size = steps[0].size if len(steps) == 1 else sum([step.size for step in steps])

    def is_settled(self) -> bool:
        """Whether nobody waits for it (any more)."""
        return self.future is None or self.future.done()

    @property
    def is_plain(self) -> bool:
        """Whether it is a single statement, with nothing to look at before."""
        if self.reads or len(self.steps) != 1:
            return False
        step = self.steps[0]
        return step.expected is None and not step.must_be and step.table.indices is None

    @property
    def needs_form(self) -> bool:
        """Whether it depends on the attributes that its tables have."""
        return any(step.table.indices is not None for step in self.steps)

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
        for step in self.steps:
            self.result = _do(connection, step)


def _do(connection: sqlite3.Connection, step: Step) -> int:
    sql, parameters = step.sql, step.parameters
    if sql is None:
        form = step.table.form
        sql = form.put
        if form.attributes:
            parameters += form.row(step.index or {})
    return connection.execute(sql, parameters).rowcount


def only_puts(group: Sequence[Job]) -> Table | None:
    """Return the table where all jobs are a put of anything to it, and it has no attributes."""
    table = group[0].steps[0].table if group[0].steps else None
    if table is None or table.indices is not None:
        return None
    for job in group:
        if job.reads or len(job.steps) != 1:
            return None
        step = job.steps[0]
        if step.table is not table or step.sql is not None or step.expected is not None:
            return None
    return table


def run_puts(connection: sqlite3.Connection, table: Table, group: Sequence[Job]) -> None:
    """Do all puts of :func:`only_puts`: the engine goes through them at one call."""
    connection.executemany(table.form.put, [job.steps[0].parameters for job in group])
    for job in group:
        job.result = 1


def put_step(
    table: Table,
    name: str,
    value: bytes,
    expected: int | None,
    given: Attributes | None,
    becomes: int | None = None,
) -> Step:
    """Return a put made ready.

    :raises InvalidRequest: key, value or attributes are none of this store's.
    :raises ContentTooLarge: the value is.
    """
    key = key_bytes(name)
    check_value(value, name)
    if type(value) is not bytes:
        value = bytes(value)  # what can be changed, or go away, does not wait
    revision = becomes or new_revision()
    index = check_attributes(given, table.form.kinds) if given else None
    size = len(value)
    return Step(table, key, None, (key, value, revision), revision, expected, False, size, index)


def step_of(table: Table, write: Write) -> Step:
    """Return a write made ready; errors as :func:`put_step`."""
    if isinstance(write, Put):
        becomes = write.becomes
        return put_step(table, write.key, write.value, write.revision, write.index, becomes)
    key = key_bytes(write.key)
    if isinstance(write, Remove):
        return Step(table, key, table.remove, (key,), ABSENT, write.revision)
    return _reindex(table, key, write)


def _reindex(table: Table, key: bytes, write: Reindex) -> Step:
    kept = check_attributes(write.index, table.form.kinds)
    sets = "".join(f", a_{name} = ?" for name in write.index)
    revision = write.becomes or new_revision()
    values = [kept.get(name) for name in write.index]
    sql = f"UPDATE {table.sql} SET revision = ?{sets} WHERE key = ?"
    return Step(table, key, sql, (revision, *values, key), revision, write.revision, True)


def _check(row: tuple[int] | None, table: Table, key: bytes, expected: int) -> None:
    found = row[0] if row is not None else ABSENT
    if found != expected:
        raise conflict(table.name, key_text(key), expected, found)
