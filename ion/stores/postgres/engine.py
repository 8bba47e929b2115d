"""Do work on a connection: again where nothing was done, and with our errors."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from ion.base.errors import IonError, Unavailable
from ion.base.tasks import Tasks
from ion.stores.postgres import in_doubt
from ion.stores.postgres.connection import LOCK_MS, Connection
from ion.stores.postgres.driver import FOREIGN
from ion.stores.postgres.failures import (
    is_again,
    is_altered,
    is_lost,
    is_unknown,
    is_untold,
    mapped,
)
from ion.stores.postgres.in_doubt import Writes
from ion.stores.postgres.pool import Pool
from ion.stores.postgres.table import Doubt, Table

log = logging.getLogger(__name__)
T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]
Refresh = Callable[[Connection, Table, BaseException | None], Awaitable[None]]
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.5
_MOST_LOOKS = 10  # at a table that is never as it was found
_UNSURE_LOOKS = 3  # the first ones: others may have begun to use meanwhile what is new
_QUIET = 1.0  # seconds that a statement that was given up has to end; then the server is told to
_LAST_TRY = 2 * LOCK_MS / 1000  # seconds before the end


class NotDoneError(Exception):
    """Work that failed, and certainly did nothing, whatever its cause is."""


class Engine:
    """The connections, and how work is done on them.

    :param patience: seconds after which a call is given up.
    :param refresh: looks how a table that is not as it was is now; raises where it is gone, and,
        given an error, where it is as it was.
    """

    def __init__(self, pool: Pool, tasks: Tasks, patience: float, refresh: Refresh) -> None:
        self.pool = pool
        self.tasks = tasks
        self.loop = asyncio.get_running_loop()
        self.patience = patience
        self.is_closed = False
        self.left: set[asyncio.Task[Any]] = set()  # who see to what was given up
        self._refresh = refresh

    async def run(
        self,
        work: Work[T],
        tables: Sequence[Table] = (),
        *,
        is_read: bool = False,
        writes: Writes | None = None,
        has_turn: bool = False,
        share: float = 1.0,
    ) -> T:
        """Return what ``work`` returns; it is done again where it did nothing.

        :param tables: that it uses.
        :param is_read: it changes nothing: it can be done again after the connection broke.
        :param writes: what it writes of these tables, other than in a transaction of its own.
        :param has_turn: it is a round's, and has come before what others put there since.
        :param share: of the patience that there is for it.
        :raises IonError: what the engine's error means; of a write that it may be done.
        """
        if self.is_closed:
            raise self.pool.not_open()
        time_left = self.patience * share
        until = self.loop.time() + time_left
        # What is begun too late is cut off, and nobody can say whether it was done.
        last_try = until - min(_LAST_TRY, time_left / 4)
        pause = _FIRST_PAUSE
        looks = _MOST_LOOKS if tables else 0
        altered: BaseException | None = None
        while True:
            try:
                async with asyncio.timeout_at(until):
                    is_sure = looks < _MOST_LOOKS - _UNSURE_LOOKS
                    await self._look_again(tables, altered, last_try, is_sure=is_sure)
                    await self._be_certain(tables, writes, last_try, has_turn=has_turn)
                    return await self.once(work, last_try, writes)
            except NotDoneError as error:
                cause, can_again = error.__cause__ or error, True
            except FOREIGN as error:
                cause, can_again = error, self.is_undone(error, is_read=is_read)
            altered = cause if is_altered(cause) else None
            looks -= altered is not None
            if not can_again or looks < 0 or self.loop.time() + pause > last_try:
                raise self.mapped(cause, is_read=is_read or can_again) from cause
            await asyncio.sleep(pause * random.random())
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def at_once(self, work: Work[T]) -> T | None:
        """Return what one statement that changes nothing finds, where a connection is free.

        No timer is set for it: the pool cuts a statement that takes too long.

        :return: None: nothing was done, and it is a case for :meth:`run`.
        :raises IonError: as :meth:`run`.
        """
        connection = None if self.is_closed else self.pool.take()
        if connection is None:
            return None
        try:
            result = await work(connection)
        except BaseException as error:
            self.give_back(connection, error)
            if not isinstance(error, FOREIGN):
                raise
            if connection.is_late or not self.is_undone(error, is_read=True):
                raise self.mapped(error, is_read=True) from error
            return None
        self.pool.release(connection)
        return result

    async def once(self, work: Work[T], until: float, writes: Writes | None = None) -> T:
        """Return what ``work`` returns or raises; the connection is given back.

        :param until: the time that there must be one, on the loop's clock.
        :param writes: as in :meth:`run`.
        """
        pool = self.pool
        connection = pool.take() or await pool.acquire(until)
        try:
            result = await work(connection)
        except BaseException as error:
            self.give_back(connection, error, writes)
            raise
        pool.release(connection)
        return result

    def give_back(
        self, connection: Connection, error: BaseException, writes: Writes | None = None
    ) -> None:
        """Give back a connection after an error.

        What it was to write is in doubt where nobody knows whether the server is at work on it yet:
        nothing else is written there until that is known. Nobody waits for it here.

        :param writes: as in :meth:`run`.
        """
        if isinstance(error, NotDoneError) and error.__cause__ is not None:
            error, writes = error.__cause__, None
        if isinstance(error, IonError) or (isinstance(error, FOREIGN) and not is_lost(error)):
            self.pool.release(connection)
            return
        if isinstance(error, FOREIGN):  # it is broken
            writes = writes if is_unknown(error) else None
            self.pool.drop(connection, is_at_work=writes is not None)
        if self.pool.is_closed or (writes is None and connection.is_closed):
            self.pool.drop(connection, is_at_work=writes is not None)
            return
        held = in_doubt.begin(writes()) if writes is not None else []
        task = self.tasks.start(self._see_to(connection, held), "seeing to what was given up")
        self.left.add(task)
        task.add_done_callback(self.left.discard)

    async def _see_to(self, connection: Connection, held: Sequence[tuple[Table, Doubt]]) -> None:
        try:
            if not await self._settle(connection) and held:
                self.pool.unsure.add(connection.backend)
                await self._until(
                    in_doubt.look_of(connection.backend, [table for table, _ in held])
                )
                if not self.pool.is_closed:
                    self.pool.unsure.discard(connection.backend)
        finally:
            in_doubt.end(held)

    async def _settle(self, connection: Connection) -> bool:
        """Give back a connection whose statement was given up; return whether that is over.

        The driver asks the server to stop it; where that takes long, the connection is cut.
        """
        is_over = is_usable = False
        try:
            async with asyncio.timeout(min(_QUIET, self.patience / 10)):
                await connection.do("SELECT 1")  # the driver waits with it until the other is over
            is_over = is_usable = True
        except FOREIGN as error:
            log.debug("a statement that was given up: %s", error)
            is_over = not is_lost(error)
        finally:
            if (
                is_usable
                and not connection.is_closed
                and not connection.connection.is_in_transaction()
            ):
                self.pool.release(connection)
            else:
                self.pool.drop(connection)
        return is_over

    async def _until(self, look: in_doubt.Look) -> None:
        """Wait until a write that was given up is over; for ever, where the server is away."""
        pause = _FIRST_PAUSE
        while not self.pool.is_closed:
            try:
                if await self.once(look, self.loop.time() + self.patience):
                    return
            except (IonError, *FOREIGN) as error:
                log.debug("whether a write is over: %s", error)
                if is_untold(error):
                    log.warning("a write that was given up may be done later: %s", error)
                    return
            await asyncio.sleep(pause)
            if pause < _LONGEST_PAUSE <= 2 * pause:
                where = self.pool.address.where
                log.warning("%s: a write that was given up goes on; others to its keys wait", where)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _be_certain(
        self,
        tables: Sequence[Table],
        writes: Writes | None,
        until: float,
        *,
        has_turn: bool,
    ) -> None:
        """Wait until no earlier write that was given up may still be done."""
        if writes is None or not any(table.doubts or table.busy for table in tables):
            return
        wanted = writes()
        if not in_doubt.held(wanted, has_turn=has_turn):
            return
        try:
            async with asyncio.timeout_at(until):
                await in_doubt.none_held(wanted, has_turn=has_turn)
        except TimeoutError:
            raise self.doubtful() from None

    def doubtful(self) -> Unavailable:
        """Return the error of a write that came after one of which nobody knows."""
        message = (
            f"{self.pool.address.where}: an earlier write to the same was given up, and may be "
            "under way yet: this one was not begun"
        )
        return Unavailable(message, details={"url": self.pool.address.shown})

    def is_undone(self, error: BaseException, *, is_read: bool) -> bool:
        """Tell whether what failed so did nothing, and may be tried again."""
        return is_again(error) or is_altered(error) or (is_read and is_lost(error))

    def mapped(self, error: BaseException, *, is_read: bool) -> IonError:
        """Return our error for one of the driver's."""
        ours = mapped(error, self.pool.address)
        if is_read or not is_unknown(error) or not isinstance(ours, Unavailable):
            return ours
        message = f"{ours.message}; it is not known whether the write was done"
        return Unavailable(message, details=ours.details)

    async def _look_again(
        self, tables: Sequence[Table], why: BaseException | None, until: float, *, is_sure: bool
    ) -> None:
        """Look how tables are now, where work has failed as if they were altered.

        :param is_sure: a table that is as it was used is damaged; before, what has failed may have
            been made for what it was before.
        """
        if why is None:
            return
        error = why

        async def look(connection: Connection) -> None:
            for table in tables:
                await self._refresh(connection, table, error if is_sure else None)

        await self.once(look, until)
