"""One connection, with the statements that it holds prepared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from ion.stores.postgres.address import Address
from ion.stores.postgres.driver import FOREIGN, asyncpg
from ion.stores.postgres.failures import is_lost

_BACKEND = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
CONNECT = 10.0  # seconds for one try to connect
# A wait for a lock ends so early that a deadlock is not waited for, and that a round of many is not
# held up by one row: whoever fails is tried again, until its time is up.
LOCK_MS = 250


class Backend(NamedTuple):
    """The server's process for a connection. A number is given again: its start tells which."""

    pid: int
    start: Any


class Connection:
    """A connection. One statement at a time.

    :ivar connection: the driver's.
    :ivar backend: what serves it; None: that changes, or is not known.
    :ivar began: when the statement under way was begun, on the loop's clock; 0: there is none.
    """

    __slots__ = ("_held", "_most", "_time", "backend", "began", "connection", "is_late")

    def __init__(self, connection: Any, statements: int, backend: Backend | None = None) -> None:
        self.connection = connection
        self.backend = backend
        self.began = 0.0
        self.is_late = False
        self._most = statements
        self._held: dict[str, Any] = {}
        self._time = asyncio.get_running_loop().time

    @property
    def is_closed(self) -> bool:
        """Whether it is of no use any more, as far as is known."""
        return bool(self.connection.is_closed())

    def end(self, *, is_late: bool = False) -> None:
        """Cut it; the statement under way fails.

        :param is_late: it does so by a TimeoutError.
        """
        self.is_late = is_late
        self.connection.terminate()

    async def rows(self, sql: str, *arguments: Any) -> list[Any]:
        """Return the rows of a statement that is often used: it is held prepared."""
        self.began = self._time()
        try:
            held = self._held.get(sql) or await self._prepared(sql)
            found: list[Any] = await held.fetch(*arguments)
        except FOREIGN as error:
            self._note(error)
            raise
        finally:
            self.began = 0.0
        return found

    async def value(self, sql: str, *arguments: Any) -> Any:
        """Return the first value of the first row, or None; as :meth:`rows`."""
        self.began = self._time()
        try:
            held = self._held.get(sql) or await self._prepared(sql)
            return await held.fetchval(*arguments)
        except FOREIGN as error:
            self._note(error)
            raise
        finally:
            self.began = 0.0

    async def once(self, sql: str, *arguments: Any) -> list[Any]:
        """Return the rows of a statement whose text changes."""
        self.began = self._time()
        try:
            found: list[Any] = await self.connection.fetch(sql, *arguments)
        except FOREIGN as error:
            self._note(error)
            raise
        finally:
            self.began = 0.0
        return found

    async def do(self, sql: str) -> None:
        """Do statements without parameters."""
        self.began = self._time()
        try:
            await self.connection.execute(sql)
        except FOREIGN as error:
            self._note(error)
            raise
        finally:
            self.began = 0.0

    @asynccontextmanager
    async def transaction(self, mode: str = "") -> AsyncIterator[None]:
        """Do the block in a transaction; where it raises, nothing of it is done.

        :param mode: what stands after BEGIN.
        """
        await self.do(f"BEGIN {mode}")
        try:
            yield
        except BaseException as error:
            if _can_go_on(error):
                await self.do("ROLLBACK")
            raise
        await self.do("COMMIT")

    def _note(self, error: BaseException) -> None:
        """Learn from an error; it is another one where we have cut the connection ourselves."""
        if isinstance(error, asyncpg.InvalidCachedStatementError):
            self._held.clear()
        if self.is_late:
            raise TimeoutError from error

    async def _prepared(self, sql: str) -> Any:
        if not self._most:
            return _Unprepared(self.connection, sql)
        held = await self.connection.prepare(sql)
        if len(self._held) >= self._most:
            del self._held[next(iter(self._held))]
        self._held[sql] = held
        return held


class _Unprepared:
    """What stands for a prepared statement, where a pooler allows none."""

    def __init__(self, connection: Any, sql: str) -> None:
        self._connection = connection
        self._sql = sql

    async def fetch(self, *arguments: Any) -> Any:
        return await self._connection.fetch(self._sql, *arguments)

    async def fetchval(self, *arguments: Any) -> Any:
        return await self._connection.fetchval(self._sql, *arguments)


def _can_go_on(error: BaseException) -> bool:
    return isinstance(error, Exception) and not (isinstance(error, FOREIGN) and is_lost(error))


async def connected(address: Address, timeout: float, name: str = "ion") -> Connection:
    """Return a new connection.

    :param name: by which the server shows it.
    :raises: what the driver raises.
    """
    settings = {"application_name": name}
    if address.statements:
        whole = str(int(timeout * 1000))
        settings |= {
            "lock_timeout": str(LOCK_MS),
            "statement_timeout": whole,
            "idle_in_transaction_session_timeout": whole,
            "jit": "off",
        }
    limit = min(CONNECT, timeout)
    connection = await asyncpg.connect(
        address.dsn,
        timeout=limit,
        statement_cache_size=address.statements,
        server_settings=settings,
    )
    if not address.statements:
        return Connection(connection, 0)
    try:
        row = await connection.fetchrow(_BACKEND, timeout=limit)
    except BaseException:
        connection.terminate()
        raise
    return Connection(connection, address.statements, Backend(*row) if row else None)
