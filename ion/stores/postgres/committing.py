"""Several writes as one: a statement where that is enough, else a transaction.

Read keys hold until the end by row locks. One that was not there is held by a row of revision 0
(``ABSENT``), which nobody else sees: whoever would put it waits, and nothing is left of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ion.base.errors import IonError
from ion.stores.errors import conflict
from ion.stores.limits import expected_revision, key_bytes, key_text
from ion.stores.postgres.connection import Connection
from ion.stores.postgres.driver import FOREIGN
from ion.stores.postgres.engine import NotDoneError
from ion.stores.postgres.failures import is_lost
from ion.stores.postgres.step import (
    IS_ABSENT,
    PUT,
    PUT_IF,
    PUT_NEW,
    REMOVE,
    REMOVE_IF,
    Step,
    do_steps,
)
from ion.stores.postgres.table import Table
from ion.stores.store import ABSENT

_AT_ONCE = 8 * 1024 * 1024  # bytes that one statement writes
_EXPECTING = {PUT: (PUT_IF, PUT_NEW), REMOVE: (REMOVE_IF, IS_ABSENT)}


class Part(msgspec.Struct):
    """What a commit does to one table.

    :ivar reads: key -> revision that is expected, of keys that it does not write.
    """

    table: Table
    steps: list[Step] = []
    reads: dict[bytes, int] = {}


def add_read(part: Part, key: str, revision: int, writes: Mapping[bytes, Step]) -> None:
    """Add what was read; what is written, too, expects it.

    :raises Conflict: two revisions of a key are expected.
    """
    data = key_bytes(key)
    revision = expected_revision(revision)
    step = writes.get(data)
    known = step.expected if step is not None else part.reads.get(data)
    if known is not None and known != revision:
        raise conflict(part.table.name, key, revision, known)
    if step is None:
        part.reads[data] = revision
    elif step.expected is None:
        step.expected = revision
        if step.kind in _EXPECTING:
            step.kind = _EXPECTING[step.kind][revision == ABSENT]


def prepare(parts: Sequence[Part]) -> None:
    """Make what is only to stay absent a read."""
    for part in parts:
        for step in part.steps:
            if step.kind == IS_ABSENT:
                part.reads[step.key] = ABSENT
        part.steps = [step for step in part.steps if step.kind != IS_ABSENT]


async def commit(connection: Connection, parts: Sequence[Part]) -> None:
    """Do all of it, or nothing.

    :raises Conflict: a read is stale, or a write expects another revision.
    :raises NotFound: what is to be reindexed is not there.
    :raises NotDoneError: the connection broke before the end: nothing was done.
    """
    if len(parts) == 1 and not parts[0].reads and _is_one_statement(parts[0].steps):
        await _write(connection, parts[0])
    elif len(parts) == 1 and not parts[0].steps:
        await _compare(connection, parts[0])
    else:
        await _transact(connection, parts)


def _is_one_statement(steps: Sequence[Step]) -> bool:
    if len(steps) == 1:
        return True
    kinds = {step.kind for step in steps}
    return kinds in ({PUT}, {REMOVE}) and sum(len(s.value) for s in steps) <= _AT_ONCE


async def _transact(connection: Connection, parts: Sequence[Part]) -> None:
    if not any(part.steps for part in parts):
        await _compare_all(connection, parts)
        return
    is_over = False
    try:
        async with connection.transaction():
            await _do_all(connection, parts)
            is_over = True
    except FOREIGN as error:
        if is_lost(error) and not is_over:
            raise NotDoneError from error
        raise


async def _do_all(connection: Connection, parts: Sequence[Part]) -> None:
    for part in parts:
        await _hold(connection, part)
    for part in parts:
        await _write(connection, part)
    for part in parts:
        await _let_go(connection, part)


async def _compare_all(connection: Connection, parts: Sequence[Part]) -> None:
    """Check what was read, where nothing is written."""
    async with connection.transaction("ISOLATION LEVEL REPEATABLE READ, READ ONLY"):
        for part in parts:
            await _compare(connection, part)


async def _hold(connection: Connection, part: Part) -> None:
    """Check what was read, and keep it as it is until the end."""
    shape = part.table.shape
    there = sorted(key for key, revision in part.reads.items() if revision != ABSENT)
    if there:
        _check(part, dict(await connection.rows(shape.shared, there)), there)
    absent = _absent(part)
    if absent:
        held = {row[0] for row in await connection.rows(shape.hold, absent)}
        for key in absent:
            if key not in held:
                found = dict(await connection.rows(shape.revisions.many, [key]))
                raise conflict(part.table.name, key_text(key), ABSENT, found.get(key))


async def _let_go(connection: Connection, part: Part) -> None:
    absent = _absent(part)
    if absent:
        await connection.rows(part.table.shape.let_go, absent)


async def _compare(connection: Connection, part: Part) -> None:
    keys = sorted(part.reads)
    _check(part, dict(await connection.rows(part.table.shape.revisions.many, keys)), keys)


async def _write(connection: Connection, part: Part) -> None:
    for outcome in await do_steps(connection, part.table, part.steps):
        if isinstance(outcome, IonError):
            raise outcome


def _check(part: Part, found: Mapping[bytes, int], keys: Sequence[bytes]) -> None:
    for key in keys:
        expected, there = part.reads[key], found.get(key, ABSENT)
        if there != expected:
            raise conflict(part.table.name, key_text(key), expected, there)


def _absent(part: Part) -> list[bytes]:
    return sorted(key for key, revision in part.reads.items() if revision == ABSENT)
