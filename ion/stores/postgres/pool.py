"""The connections to one database: made where they are needed, mended where they break."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from typing import Any

from ion.base.errors import IonError, Unavailable
from ion.base.tasks import Tasks
from ion.stores.errors import closed
from ion.stores.postgres.address import Address
from ion.stores.postgres.connection import Backend, Connection, connected
from ion.stores.postgres.driver import FOREIGN
from ion.stores.postgres.failures import is_full, is_starting, mapped, unusable

log = logging.getLogger(__name__)
MAX_WAITING = 10_000  # who waits for a connection; one more is refused
OUTAGE = 5.0  # seconds without a connection; from then on calls fail at once, until there is one
LAST_MOMENT = 5.0  # seconds for what is under way when the pool is closed
_HAND_BACK = 1.0  # seconds to give back a connection that was cut then
_LOOKS = 10  # a statement is cut at most a tenth of its time too late
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_FULL_PAUSE = 10.0  # seconds without a further connection, where the server has no more


class Pool:
    """Connections.

    :param timeout: seconds for one statement; a connection that takes longer is cut.
    :param tasks: where it connects.
    :ivar unsure: what may be at work for connections that are cut.
    """

    def __init__(self, address: Address, timeout: float, tasks: Tasks) -> None:
        self.address = address
        self._timeout = timeout
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._waiting: deque[asyncio.Future[Connection]] = deque()
        self._full_until = 0.0
        self._is_growing = False
        self._failure: IonError | None = None
        self._failing_since = 0.0
        self._all_back = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None
        self.is_closed = False
        self.unsure: set[Backend | None] = set()

    async def open(self) -> None:
        """Connect once.

        :raises Unavailable: the server is away, or refuses us.
        :raises ConfigurationError: the URL is wrong.
        """
        until = self._loop.time() + self._timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                self._add(await connected(self.address, self._timeout))
            except FOREIGN as error:
                if not is_starting(error) or self._loop.time() + pause > until:
                    raise mapped(error, self.address) from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except ValueError as error:  # the driver's, for what is wrong in a URL
                raise unusable(error, self.address) from error
            else:
                return

    def take(self) -> Connection | None:
        """Return a connection that nobody uses, if there is one.

        :raises Unavailable: it is closed.
        """
        if self.is_closed:
            raise self.not_open()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
            self._connections.discard(connection)
        return None

    async def acquire(self, until: float) -> Connection:
        """Return a connection, made or waited for.

        :param until: the time, on the loop's clock.
        :raises Unavailable: there is none in time, or too many wait already.
        """
        connection = self.take()
        if connection is not None:
            return connection
        self._check_outage()
        if len(self._waiting) >= MAX_WAITING:
            message = f"{len(self._waiting)} calls wait for {self.address.where} already"
            raise Unavailable(message)
        future: asyncio.Future[Connection] = self._loop.create_future()
        self._waiting.append(future)
        self._grow()
        try:
            async with asyncio.timeout_at(until):
                return await future
        except BaseException as error:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.release(future.result())
            future.cancel()
            with contextlib.suppress(ValueError):
                self._waiting.remove(future)
            if isinstance(error, TimeoutError):
                raise self._late() from None
            raise

    def release(self, connection: Connection) -> None:
        """Give back a connection that can be used further."""
        if self.is_closed or connection.is_closed:
            self.drop(connection)
            return
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return
        self._idle.append(connection)

    def drop(self, connection: Connection, *, is_at_work: bool = False) -> None:
        """Give back a connection that cannot.

        :param is_at_work: the server may go on with what it did on it; nobody sees to it when we
            are closed.
        """
        if connection in self._connections:
            if self.is_closed and is_at_work:
                self.unsure.add(connection.backend)
            self._connections.discard(connection)
            connection.end()
        if self.is_closed and not self._connections:
            self._all_back.set()
        self._grow()

    async def close(self) -> None:
        """Disconnect, once what is under way is done. Never raises."""
        self.is_closed = True
        for connection in self._idle:
            self._connections.discard(connection)
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_MOMENT):
                    await self._all_back.wait()
        for future in self._waiting:
            if not future.done():
                future.set_exception(self.not_open())
        for connection in list(self._connections):
            # Who is at work on it fails, and gives it back: if it is a write, we know.
            connection.end()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HAND_BACK):
                    await self._all_back.wait()
        for connection in list(self._connections):
            self.drop(connection)
        idle, self._idle = self._idle, []
        try:
            await asyncio.gather(*(_ended(connection) for connection in idle))
        finally:
            self.abort()

    def abort(self) -> None:
        """Cut what connections there are; whoever waits for one is told. May be called twice."""
        self.is_closed = True
        for future in self._waiting:
            if not future.done():
                future.set_exception(self.not_open())
        for connection in (*self._idle, *self._connections):
            connection.end()
        self._idle.clear()
        self._connections.clear()
        if self._watch is not None:
            self._watch.cancel()

    def not_open(self) -> Unavailable:
        """Return the error of a call after the end."""
        return closed(self.address.shown)

    # making connections

    def _add(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._failure = None
        if self._watch is None:
            self._look()
        self.release(connection)

    def _look(self) -> None:
        """Cut connections that take too long: dearer than a timer for each statement it is not."""
        until = self._loop.time() - self._timeout
        for connection in self._connections:
            if 0.0 < connection.began <= until:
                connection.end(is_late=True)
        self._watch = self._loop.call_later(self._timeout / _LOOKS, self._look)

    def _grow(self) -> None:
        if not self._is_growing and not self.is_closed and self._is_wanted():
            self._is_growing = True
            self._tasks.start(self._connect(), "connecting")

    def _is_wanted(self) -> bool:
        if not self._waiting or len(self._connections) >= self.address.pool:
            return False
        return not self._connections or self._loop.time() >= self._full_until

    async def _connect(self) -> None:
        """Connect for those who wait; where that fails, until there is one connection again."""
        pause = _FIRST_PAUSE
        try:
            while not self.is_closed and (self._is_wanted() or self._failure is not None):
                try:
                    connection = await connected(self.address, self._timeout)
                except FOREIGN as error:
                    self._failed(error)
                    await asyncio.sleep(pause * (0.5 + random.random() / 2))
                    pause = min(pause * 2, _LONGEST_PAUSE)
                else:
                    pause = _FIRST_PAUSE
                    self._add(connection)
        finally:
            self._is_growing = False

    def _failed(self, error: BaseException) -> None:
        if self._connections:
            if is_full(error):
                self._full_until = self._loop.time() + _FULL_PAUSE
                log.warning(
                    "goes on with %d: %s", len(self._connections), mapped(error, self.address)
                )
            return
        if self._failure is None:
            self._failing_since = self._loop.time()
        self._failure = mapped(error, self.address)
        if self._loop.time() - self._failing_since >= OUTAGE:
            waiting, self._waiting = self._waiting, deque()
            for future in waiting:
                if not future.done():
                    future.set_exception(self._failed_again())

    def _check_outage(self) -> None:
        if self._failure is not None and self._loop.time() - self._failing_since >= OUTAGE:
            raise self._failed_again()

    def _failed_again(self) -> IonError:
        failure = self._failure
        if not isinstance(failure, Unavailable):
            return self._late()
        return Unavailable(failure.message, details=failure.details)

    def _late(self) -> Unavailable:
        if isinstance(self._failure, Unavailable):
            return Unavailable(self._failure.message, details=self._failure.details)
        if not self._connections:
            frozen = mapped(TimeoutError(), self.address)
            return Unavailable(frozen.message, details=frozen.details)
        message = (
            f"{self.address.where}: no connection was free in time: "
            f"all {len(self._connections)} are in use; raise ?pool= in store.url"
        )
        return Unavailable(message, details={"url": self.address.shown})


async def _ended(connection: Connection) -> Any:
    try:
        await connection.connection.close(timeout=LAST_MOMENT)
    except FOREIGN:  # where it is cancelled, it cuts it itself
        connection.end()
