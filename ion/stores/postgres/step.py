"""Writes made ready, and how several of one table are done: one statement a kind of write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ion.base.errors import IonError
from ion.stores.errors import conflict, not_there
from ion.stores.limits import (
    MAX_VALUE,
    check_attributes,
    check_value,
    expected_revision,
    key_bytes,
    key_text,
    new_revision,
)
from ion.stores.postgres.batching import Job
from ion.stores.postgres.connection import Connection
from ion.stores.postgres.driver import FOREIGN
from ion.stores.postgres.table import Shape, Table
from ion.stores.store import ABSENT, Attributes, Put, Reindex, Remove, Write

Outcome = int | IonError  # the revision; of a removal, whether there was something
_CHUNK = 16 * 1024 * 1024  # bytes of values in one statement

PUT, PUT_NEW, PUT_IF, REMOVE, REMOVE_IF, REINDEX, IS_ABSENT = range(7)


class Step(Job):
    """One write.

    :ivar kind: which statement does it.
    :ivar expected: the revision that must be there; None: any.
    :ivar names: of the attributes that it changes, where it is a reindex.
    """

    __slots__ = ("expected", "index", "kind", "names", "revision", "value")

    def __init__(
        self,
        kind: int,
        key: bytes,
        value: bytes,
        revision: int,
        expected: int | None,
        index: Mapping[str, Any],
        names: tuple[str, ...] = (),
    ) -> None:
        self.key = key
        self.group = (kind, names) if names else kind
        self.size = len(value)
        self.since = 0.0
        self.kind = kind
        self.value = value
        self.revision = revision
        self.expected = expected
        self.index = index
        self.names = names


_NO_INDEX: Mapping[str, Any] = {}


def put_step(
    table: Table,
    key: str,
    value: bytes,
    expected: int | None,
    index: Attributes | None,
    becomes: int | None = None,
) -> Step:
    """Return a put made ready.

    :raises InvalidRequest: key, value or attributes are none of this store's.
    :raises ContentTooLarge: the value is.
    """
    data = key_bytes(key)
    if type(value) is not bytes or len(value) > MAX_VALUE:
        check_value(value, key)
        value = bytes(value)
    kept = check_attributes(index, table.shape.kinds) if index else _NO_INDEX
    if expected is not None:
        expected = expected_revision(expected)
    kind = PUT if expected is None else PUT_IF if expected != ABSENT else PUT_NEW
    return Step(kind, data, value, becomes or new_revision(), expected, kept)


def step_of(table: Table, write: Write) -> Step:
    """Return a write made ready; errors as :func:`put_step`."""
    if isinstance(write, Put):
        return put_step(table, write.key, write.value, write.revision, write.index, write.becomes)
    key = key_bytes(write.key)
    expected = expected_revision(write.revision) if write.revision is not None else None
    if isinstance(write, Reindex):
        index = check_attributes(write.index, table.shape.kinds)
        revision = write.becomes or new_revision()
        return Step(REINDEX, key, b"", revision, expected, index, tuple(sorted(write.index)))
    assert isinstance(write, Remove)
    kind = REMOVE if expected is None else REMOVE_IF if expected != ABSENT else IS_ABSENT
    return Step(kind, key, b"", ABSENT, expected, _NO_INDEX)


async def do_step(connection: Connection, table: Table, step: Step) -> Outcome:
    """Do one write; return what became of it."""
    if step.kind != PUT:
        return (await do_steps(connection, table, [step]))[0]
    shape = table.shape
    head = step.key, step.value, step.revision
    if shape.attributes:
        await connection.value(shape.put_one, *head, *shape.row(step.index))
    else:
        await connection.value(shape.put_one, *head)
    return step.revision


async def do_round(connection: Connection, table: Table, steps: list[Step]) -> Sequence[Outcome]:
    """Do writes of different keys that one statement can do; return what became of each.

    They are put in the order of their keys: so who writes the same keys waits, and seldom for each
    other.
    """
    if len(steps) == 1:
        return (await do_step(connection, table, steps[0]),)
    steps.sort(key=_key)
    first = steps[0]
    done = await _do(connection, table.shape, first.kind, first.names, steps)
    return await _outcomes(connection, table, steps, done)


async def do_steps(connection: Connection, table: Table, steps: Sequence[Step]) -> list[Outcome]:
    """Do writes of different keys; return what became of each. Each that fails did nothing."""
    shape = table.shape
    done: set[bytes] = set()
    for kind, names, some in _groups(steps):
        done |= await _do(connection, shape, kind, names, some)
    return await _outcomes(connection, table, steps, done)


async def _outcomes(
    connection: Connection, table: Table, steps: Sequence[Step], done: set[bytes]
) -> list[Outcome]:
    if len(done) == len(steps):
        return [step.revision or 1 for step in steps]
    failed = [step.key for step in steps if step.key not in done and step.kind != REMOVE]
    found = await _found(connection, table.shape, failed) if failed else {}
    return [_outcome(table, step, step.key in done, found) for step in steps]


async def _found(connection: Connection, shape: Shape, keys: list[bytes]) -> Mapping[bytes, int]:
    """Return the revisions that are there now."""
    try:
        return dict(await connection.rows(shape.revisions.many, keys))
    except FOREIGN:  # the writes were done: this must not look as if they were not
        return {}


async def _do(
    connection: Connection, shape: Shape, kind: int, names: tuple[str, ...], steps: Sequence[Step]
) -> set[bytes]:
    """Do writes of one kind; return the keys of those that were done."""
    if kind == IS_ABSENT:
        return set()
    keys = [step.key for step in steps]
    if kind == REMOVE:
        rows = await connection.rows(shape.remove, keys)
    elif kind == REMOVE_IF:
        rows = await connection.rows(shape.remove_if, keys, [step.expected for step in steps])
    elif kind in {PUT, PUT_NEW}:
        head = [step.value for step in steps], [step.revision for step in steps]
        sql = shape.put if kind == PUT else shape.put_new
        rows = await connection.rows(sql, keys, *head, *_columns(shape.attributes, steps))
    else:
        conditions = [step.revision for step in steps], [step.expected for step in steps]
        columns = _columns(names if kind == REINDEX else shape.attributes, steps)
        if kind == PUT_IF:
            columns = [[step.value for step in steps], *columns]
        sql = shape.put_if if kind == PUT_IF else shape.reindex(names)
        rows = await connection.rows(sql, keys, *conditions, *columns)
    return set(keys) if kind == PUT else {row[0] for row in rows}


def _columns(names: Sequence[str], steps: Sequence[Step]) -> list[list[Any]]:
    return [[step.index.get(name) for step in steps] for name in names]


def _groups(steps: Sequence[Step]) -> Iterator[tuple[int, tuple[str, ...], list[Step]]]:
    """Iterate groups that one statement does, each in the order of its keys."""
    groups: dict[tuple[int, tuple[str, ...]], list[Step]] = {}
    for step in steps:
        groups.setdefault((step.kind, step.names), []).append(step)
    for (kind, names), some in sorted(groups.items()):
        some.sort(key=_key)
        for chunk in _chunks(some):
            yield kind, names, chunk


def _chunks(steps: list[Step]) -> Iterator[list[Step]]:
    start = size = 0
    for number, step in enumerate(steps):
        size += len(step.value)
        if size >= _CHUNK:
            yield steps[start : number + 1]
            start, size = number + 1, 0
    if start < len(steps):
        yield steps[start:]


def _key(step: Step) -> bytes:
    return step.key


def _outcome(table: Table, step: Step, is_done: bool, found: Mapping[bytes, int]) -> Outcome:
    if step.kind == REMOVE or is_done:
        return step.revision or int(is_done)
    there = found.get(step.key, ABSENT)
    key = key_text(step.key)
    if step.kind == IS_ABSENT and there == ABSENT:
        return 0
    if step.expected is None or (step.kind == REINDEX and step.expected == there == ABSENT):
        return not_there(table.name, key)
    # It may be as expected again by now: it was not when it was to be written.
    return conflict(table.name, key, step.expected, there if there != step.expected else None)
