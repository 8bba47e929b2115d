"""Who has a schema now: the containers of one bus.

A container holds a lock of its session on the schema and the bus it is on, by a connection of its
own, which goes with its process however that ends. One that finds such a lock of another bus is
refused. A connection that is lost is made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import zlib

from ion.base.errors import StartError
from ion.base.tasks import Tasks
from ion.stores.postgres.address import Address
from ion.stores.postgres.connection import Connection, connected
from ion.stores.postgres.driver import FOREIGN
from ion.stores.postgres.schema import lock_of

log = logging.getLogger(__name__)
PATIENCE = 2.0  # seconds: the server may not have noticed yet that one has ended
LOOK_EVERY = 20.0  # seconds: whether the connection is there
_FAREWELL = 1.0  # seconds
_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
# So that one whose machine was cut off has it for a minute at most.
_ALIVE = (
    "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; "
    "SET lock_timeout = 0"
)
_TURN = "SELECT pg_advisory_xact_lock($1)"
_MOVE_IN = "SELECT pg_advisory_lock_shared($1, $2)"
_OTHERS = (
    "SELECT a.application_name FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.objsubid = 2 "  # of two numbers
    "AND l.classid::int8 = $1 AND l.objid::int8 <> $2 "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1"
)


class SchemaLock:
    """That a schema is a bus's.

    :param bus: what it is known by: the same to all that are on it.
    :param tasks: where it is seen to that the lock is held.
    """

    def __init__(self, address: Address, timeout: float, bus: str, tasks: Tasks) -> None:
        self._address = address
        self._timeout = timeout
        self._who = f"ion {os.getpid()} on {os.uname().nodename}, bus {bus}"
        self._numbers = _number(f"ion:{address.schema}"), _number(bus)
        self._tasks = tasks
        self._line: Connection | None = None

    async def move_in(self) -> None:
        """Have the schema, until :meth:`move_out`. Where nobody can tell whose it is, it is ours.

        :raises StartError: the containers of another bus have it; the message says which process.
        """
        try:
            await self._moved_in()
        except FOREIGN as error:
            log.warning("who has %s is not looked after yet: %s", self._address.where, error)
        except BaseException:
            self.move_out()
            raise
        self._tasks.start(self._keep(), "keeping others out")

    async def _moved_in(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while (other := await self._try()) is not None:
            if loop.time() >= until:
                raise self._taken(other)
            await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        """Let others have it, also where what was forked off holds the connection. Never raises."""
        connection = self._line
        if connection is not None:
            with contextlib.suppress(*FOREIGN):
                await connection.connection.close(timeout=_FAREWELL)
        self.move_out()

    def move_out(self) -> None:
        """Let others have it, at once; may be called twice."""
        connection, self._line = self._line, None
        if connection is not None:
            connection.end()

    async def _try(self) -> str | None:
        """Take the lock, where nobody of another bus has one; return who has."""
        connection = self._line
        if connection is None or connection.is_closed:
            connection = self._line = await connected(self._address, self._timeout, self._who)
        try:
            async with asyncio.timeout(self._timeout):
                await connection.do(_ALIVE)
                return await self._locked(connection)
        except BaseException:
            self.move_out()
            raise

    async def _locked(self, connection: Connection) -> str | None:
        async with connection.transaction():
            await connection.once(_TURN, lock_of(self._address.schema))
            others = await connection.once(_OTHERS, *self._numbers)
            if others:
                return others[0][0] or "another client"
            await connection.once(_MOVE_IN, *self._numbers)
        return None

    async def _keep(self) -> None:
        """Take the lock again whenever it was lost."""
        while True:
            try:
                await self._held()
            except FOREIGN as error:
                log.debug("the lock on %s was lost: %s", self._address.where, error)
            self.move_out()
            await self._take_again()

    async def _held(self) -> None:
        """Wait until the lock is not held any more."""
        connection = self._line
        if connection is None:
            return
        lost = asyncio.Event()
        connection.connection.add_termination_listener(lambda _: lost.set())
        while not (lost.is_set() or connection.is_closed):
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await lost.wait()
            except TimeoutError:
                async with asyncio.timeout(self._timeout):
                    await connection.do("SELECT 1")

    async def _take_again(self) -> None:
        pause = _PAUSE
        is_told = False
        while True:
            try:
                other = await self._try()
                if other is None:
                    return
                if not is_told:
                    log.error("%s", self._taken(other))
                is_told = True
            except FOREIGN as error:
                log.debug("who has %s is not known: %s", self._address.where, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _taken(self, who: str) -> StartError:
        message = (
            f"{self._address.where} is in use by {who!r}, and that is another bus than this one's: "
            "each would take the other's work. End that one first; or give this one a system name, "
            "or in store.url a database or ?schema=, of its own; or have both on one bus"
        )
        return StartError(message, details={"url": self._address.shown, "tenant": who})


def _number(text: str) -> int:
    """Return what stands for a text in a lock: 31 bits, since the server shows them unsigned."""
    return zlib.crc32(text.encode()) & 0x7FFFFFFF
