"""One connection, with the statements that it holds prepared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ion.stores.postgres.address import Address
from ion.stores.postgres.driver import FOREIGN, asyncpg
from ion.stores.postgres.failures import is_lost

CONNECT = 10.0  # seconds for one try to connect
# A wait for a lock ends so early that a deadlock is not waited for, and that a round of many is not
# held up by one row: whoever fails is tried again, until its time is up.
LOCK_MS = 250


class Line:
    """A connection.

    :param timeout: seconds for one statement.
    :ivar connection: the driver's.
    """

    __slots__ = ("_held", "_most", "_timeout", "connection")

    def __init__(self, connection: Any, timeout: float, statements: int) -> None:
        self.connection = connection
        self._timeout = timeout
        self._most = statements
        self._held: dict[str, Any] = {}

    @property
    def is_closed(self) -> bool:
        """Whether it is of no use any more, as far as is known."""
        return bool(self.connection.is_closed())

    async def rows(self, sql: str, *arguments: Any) -> list[Any]:
        """Return the rows of a statement that is often used: it is held prepared."""
        held = self._held.get(sql)
        if held is None:
            if not self._most:
                return await self.once(sql, *arguments)
            held = await self._prepared(sql)
        try:
            found: list[Any] = await held.fetch(*arguments, timeout=self._timeout)
        except asyncpg.InvalidCachedStatementError:
            self._held.clear()
            raise
        return found

    async def once(self, sql: str, *arguments: Any) -> list[Any]:
        """Return the rows of a statement whose text changes."""
        found: list[Any] = await self.connection.fetch(sql, *arguments, timeout=self._timeout)
        return found

    async def do(self, sql: str) -> None:
        """Do statements without parameters."""
        await self.connection.execute(sql, timeout=self._timeout)

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

    async def _prepared(self, sql: str) -> Any:
        held = await self.connection.prepare(sql, timeout=self._timeout)
        if len(self._held) >= self._most:
            del self._held[next(iter(self._held))]
        self._held[sql] = held
        return held


def _can_go_on(error: BaseException) -> bool:
    return isinstance(error, Exception) and not (isinstance(error, FOREIGN) and is_lost(error))


async def connected(address: Address, timeout: float) -> Line:
    """Return a new connection.

    :raises: what the driver raises.
    """
    settings = {"application_name": "ion"}
    if address.statements:
        limit = str(int(timeout * 1000))
        settings |= {
            "lock_timeout": str(LOCK_MS),
            "statement_timeout": limit,
            "idle_in_transaction_session_timeout": limit,
            "jit": "off",
        }
    connection = await asyncpg.connect(
        address.dsn,
        timeout=min(CONNECT, timeout),
        statement_cache_size=address.statements,
        server_settings=settings,
    )
    return Line(connection, timeout, address.statements)
