"""Writes that were given up, and may be under way yet: what is to be written there waits for them.

A statement that commits by itself goes on in the server after its caller has gone away, and after
its connection was cut: it could be done after one that is begun later, and acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from ion.stores.postgres.address import Address
from ion.stores.postgres.connection import Backend, Connection, connected
from ion.stores.postgres.driver import FOREIGN, asyncpg
from ion.stores.postgres.table import Doubt, Table

log = logging.getLogger(__name__)
Wanted = Mapping[Table, Collection[bytes] | None]  # keys that are written; None: all of the table
Writes = Callable[[], Wanted]  # it is asked only where that is needed
Look = Callable[[Connection], Awaitable[bool]]

_END_LIMIT = 2.0  # seconds at the end of all, for what was cut off
_END_PAUSE = 0.01
_WHO = "FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"
_TERMINATE = f"SELECT pg_terminate_backend(pid) {_WHO}"
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


def held(wanted: Wanted, *, has_turn: bool) -> list[Table]:
    """Return the tables where something that was given up may yet be done.

    :param has_turn: of those who wait in rounds, it is the turn of whoever asks.
    """
    return [table for table, keys in wanted.items() if table.is_held(keys, has_turn=has_turn)]


async def none_held(wanted: Wanted, *, has_turn: bool) -> None:
    """Wait until there is nothing of that kind."""
    while tables := held(wanted, has_turn=has_turn):
        some_are_free = asyncio.get_running_loop().create_future()
        tables[0].waiting.append(some_are_free)
        await some_are_free


async def ended(address: Address, backends: Collection[Backend | None]) -> None:
    """Have the server end what it may be at work on for connections that were cut; never raises.

    :param backends: None: a pooler chose it, and nobody knows which.
    """
    why = "it is behind a pooler" if None in backends else ""
    try:
        async with asyncio.timeout(_END_LIMIT):
            await _end_all([backend for backend in backends if backend is not None], address)
    except FOREIGN as error:
        why = str(error) or "the server does not answer in time"
    if why:
        log.warning("%s: a write that was cut off may be done later: %s", address.where, why)


async def _end_all(backends: Sequence[Backend], address: Address) -> None:
    if not backends:
        return
    looks = [look_of(backend, ()) for backend in backends]
    connection = await connected(address, _END_LIMIT)
    try:
        while looks:
            looks = [look for look in looks if not await look(connection)]
            await asyncio.sleep(_END_PAUSE)
    finally:
        connection.end()


def look_of(backend: Backend | None, tables: Sequence[Table]) -> Look:
    """Return what tells, each time it is asked, whether a write that was given up is over.

    :param backend: the server's process; None: a pooler chose it, and nobody knows which.
    """
    if backend is not None:
        who = backend

        async def is_gone(connection: Connection) -> bool:
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
                return not await connection.once(_TERMINATE, *who)
            return not await connection.once(_THERE, *who)

        return is_gone
    seen: set[Any] | None = None

    async def are_over(connection: Connection) -> bool:
        """Wait for all who were at work on the tables at first: it is one of them, or over."""
        nonlocal seen
        names = [table.shape.sql for table in tables]
        now = {row[0] for row in await connection.once(_WRITERS, names)}
        seen = now if seen is None else seen & now
        return not seen

    return are_over
