"""Writes that were given up, and may be under way yet: what is to be written there waits for them.

A statement that commits by itself goes on in the server after its caller has gone away, and after
its connection was cut: it could be done after one that is begun later, and acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from ion.stores.postgres.driver import asyncpg
from ion.stores.postgres.line import Backend, Line
from ion.stores.postgres.table import Doubt, Table

Wanted = Mapping[Table, Collection[bytes] | None]  # keys that are written; None: all of the table
Writes = Callable[[], Wanted]  # it is asked only where that is needed
Look = Callable[[Line], Awaitable[bool]]

_WHO = "FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"
_END = f"SELECT pg_terminate_backend(pid) {_WHO}"
_THERE = f"SELECT 1 {_WHO}"
_WRITERS = (
    "SELECT virtualtransaction FROM pg_locks WHERE mode <> 'AccessShareLock' "
    "AND relation IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS n(name)) "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def begin(wanted: Wanted) -> list[tuple[Table, Doubt]]:
    """Hold up what would be written there, until :func:`end`."""
    doubts = [(table, Doubt(keys)) for table, keys in wanted.items()]
    for table, doubt in doubts:
        table.doubts.append(doubt)
    return doubts


def end(doubts: Sequence[tuple[Table, Doubt]]) -> None:
    """Let go on what was held up."""
    for table, doubt in doubts:
        table.doubts.remove(doubt)
        table.wake()
        table.flush()


def held(wanted: Wanted) -> list[Table]:
    """Return the tables where something that was given up may yet be done."""
    return [table for table, keys in wanted.items() if table.is_held(keys)]


async def none_held(wanted: Wanted) -> None:
    """Wait until there is nothing of that kind."""
    while tables := held(wanted):
        some_are_free = asyncio.get_running_loop().create_future()
        tables[0].waiting.append(some_are_free)
        await some_are_free


def look_of(backend: Backend | None, tables: Sequence[Table]) -> Look:
    """Return what tells, each time it is asked, whether a write that was given up is over.

    :param backend: the server's process; None: a pooler chose it, and nobody knows which.
    """
    if backend is not None:
        who = backend

        async def is_gone(line: Line) -> bool:
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
                return not await line.once(_END, *who)
            return not await line.once(_THERE, *who)

        return is_gone
    seen: set[Any] | None = None

    async def are_over(line: Line) -> bool:
        """Wait for all who were at work on the tables at first: it is one of them, or over."""
        nonlocal seen
        names = [table.shape.sql for table in tables]
        now = {row[0] for row in await line.once(_WRITERS, names)}
        seen = now if seen is None else seen & now
        return not seen

    return are_over
