"""Calls that wait together are done together: what came while a round trip is under way is the
next one.

Invariants: a call that has returned is done (committed). Writes to one key are done in the order
in which they were called. A call whose caller has gone away does no harm to the others; nor does
one that fails, or waits for a lock. Every call ends within its time.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Generic, TypeVar

from ion.base.errors import IonError, Unavailable
from ion.stores.postgres.connection import Connection
from ion.stores.postgres.driver import FOREIGN
from ion.stores.postgres.engine import Engine
from ion.stores.postgres.failures import is_again
from ion.stores.postgres.in_doubt import Writes
from ion.stores.postgres.table import Doubt, Table

MAX_WAITING = 100_000  # calls; one more is refused
MAX_ROUND = 1_000  # calls of one round
ROUND_BYTES = 4 * 1024 * 1024
MANY = 2
FLIGHTS = 2  # rounds under way at a time
LARGE = 256 * 1024  # bytes of a value that is a round of its own: the server, not the way, is slow
LARGE_FLIGHTS = 4
_MENDING = 0.7  # of the patience: some of it is over already
_LOOKS = 10  # a call is given up at most a tenth of its patience too late


class Job:
    """A call.

    :ivar group: jobs of one round are of the same.
    :ivar size: bytes of the value that it brings.
    :ivar since: when it was first seen to wait.
    """

    __slots__ = ("future", "group", "key", "since", "size")
    future: asyncio.Future[Any]

    def __init__(self, key: bytes, group: object = None, size: int = 0) -> None:
        self.key = key
        self.group = group
        self.size = size
        self.since = 0.0


J = TypeVar("J", bound=Job)
Do = Callable[[Connection, list[J]], Awaitable[Sequence[Any]]]


class Batcher(Generic[J]):
    """Calls of one kind on one table.

    :param do: does jobs of one group; returns what each returns, or an error. It may change their
        order, and returns in that.
    :param is_read: they change nothing, and may be of the same key.
    """

    def __init__(self, engine: Engine, table: Table, do: Do[J], *, is_read: bool) -> None:
        self._engine = engine
        self._pool = engine.pool
        self._table = table
        self._do = do
        self._is_read = is_read
        self._pending: list[J] = []
        self._busy: set[bytes] = set() if is_read else table.busy
        self._doubts: Sequence[Doubt] = () if is_read else table.doubts
        self._under_way: list[list[J]] = []
        self._flying = 0
        self._last = 0  # calls of the last round
        self._is_due = False
        self._watch: asyncio.TimerHandle | None = None
        if not is_read:
            table.flush, table.is_left = self.flush, self._is_left

    def alone(self, key: bytes) -> Connection | None:
        """Return a connection for a caller who is the only one, if so it is: a task and a hop less.

        It must be given back by :meth:`landed`, or by :meth:`failed` after an error.

        :raises Unavailable: the datastore is closed.
        """
        if self._engine.is_closed:
            raise self._pool.not_open()
        if self._last > 1 or self._flying or self._pending or self._under_way or self._doubts:
            return None
        connection = self._pool.take()
        if connection is not None:
            self._flying += 1
            self._busy.add(key)
        return connection

    def landed(self, connection: Connection, key: bytes) -> None:
        """Give back what :meth:`alone` gave."""
        self._pool.release(connection)
        self._free(key)

    async def failed(self, connection: Connection, job: J, error: BaseException) -> Any:
        """Give back what :meth:`alone` gave; return what the job returns when it is done again.

        :raises BaseException: it may not be done again.
        """
        self._engine.give_back(connection, error, self._writes([job]))
        self._free(job.key)
        if not isinstance(error, FOREIGN):
            raise error
        if not self._engine.is_undone(error, is_read=self._is_read):
            raise self._engine.mapped(error, is_read=self._is_read) from error
        if self._engine.is_closed:
            raise self._pool.not_open() from error
        self._last = MANY
        return await self.queued(job)

    def _free(self, key: bytes) -> None:
        self._flying -= 1
        self._busy.discard(key)
        if self._pending:
            self.flush()

    def flush(self) -> None:
        """Begin what waits."""
        if self._pending and self._flying < self._most():
            self._flying += 1
            self._engine.tasks.start(self._fly(), f"rounds on {self._table.name}")

    def queued(self, job: J) -> asyncio.Future[Any]:
        """Have a job done with others; return what will hold what it returns.

        :raises Unavailable: too much waits already.
        """
        if len(self._pending) >= MAX_WAITING:
            message = f"{len(self._pending)} calls wait for {self._pool.address.where} already"
            raise Unavailable(message)
        loop = self._engine.loop
        job.future = loop.create_future()
        self._pending.append(job)
        if not self._is_due and self._may_fly():
            self._is_due = True
            loop.call_soon(self._begin)
        if self._watch is None:
            self._watch = loop.call_later(self._engine.patience / _LOOKS, self._look)
        return job.future

    def _may_fly(self) -> bool:
        """Tell whether a round is to begin: while one is under way, only for about as many.

        Else a few who come between would be a round each time, and never be one with the others.
        """
        if not self._flying:
            return True
        return self._flying < self._most() and 2 * len(self._pending) > self._last

    def _most(self) -> int:
        """Return how many rounds may be under way."""
        is_large = bool(self._pending) and self._pending[0].size >= LARGE
        return LARGE_FLIGHTS if is_large else FLIGHTS

    def _begin(self) -> None:
        self._is_due = False
        if self._may_fly():
            self.flush()

    async def _fly(self) -> None:
        """Do rounds while there is something to do."""
        engine = self._engine
        jobs: list[J] = []  # of the round under way
        do, writes = functools.partial(self._round, jobs), self._writes(jobs)
        try:
            while self._pending:
                try:
                    until = engine.loop.time() + engine.patience
                    has_done = await engine.once(do, until, writes)
                except FOREIGN:
                    continue  # it is being mended
                except IonError as error:  # no connection: so it is for all
                    jobs, self._pending = self._pending, []
                    _tell(jobs, [error] * len(jobs))
                    return
                if not has_done:
                    return
                await asyncio.sleep(0)  # whoever was answered calls again before the next round
        finally:
            self._flying -= 1

    def _writes(self, jobs: Sequence[J]) -> Writes | None:
        return None if self._is_read else lambda: {self._table: [job.key for job in jobs]}

    async def _round(self, current: list[J], connection: Connection) -> bool:
        """Do one round; return whether there was anything to do.

        :param current: is made to hold its jobs.
        """
        jobs = self._taken()
        current[:] = jobs
        if not jobs:
            return False
        self._under_way.append(jobs)
        try:
            results = await self._do(connection, jobs)
        except FOREIGN as error:
            self._engine.tasks.start(self._mend(jobs, error), f"mending {self._table.name}")
            raise
        except BaseException as error:  # nobody does them again
            self._under_way.remove(jobs)
            ours = self._engine.mapped(error, is_read=self._is_read)
            self._end(jobs, [ours] * len(jobs))
            raise
        self._under_way.remove(jobs)
        self._end(jobs, results)
        return True

    def _taken(self) -> list[J]:
        """Take the jobs of the next round."""
        if self._is_read and len(self._pending) <= MAX_ROUND:
            pending, self._pending = self._pending, []
            taken = [job for job in pending if not job.future.done()]
        else:
            taken = self._chosen()
        self._last = len(taken)
        return taken

    def _chosen(self) -> list[J]:
        """Take jobs of one group, as many as fit; none comes before another of its key."""
        pending = [job for job in self._pending if not job.future.done()]
        taken: list[J] = []
        left: list[J] = []
        kept = set() if self._is_read else set(self._busy)
        for doubt in self._doubts:
            kept.update([job.key for job in pending] if doubt.keys is None else doubt.keys)
        room, group = ROUND_BYTES, None
        for job in pending:
            is_full = len(taken) >= MAX_ROUND or room < job.size or job.size >= LARGE
            if job.key in kept or (taken and (job.group != group or is_full)):
                left.append(job)
            else:
                taken.append(job)
                group = job.group
                room = room - job.size if job.size < LARGE else 0
            if not self._is_read:
                kept.add(job.key)
        self._pending = left
        if not self._is_read:
            self._busy.update([job.key for job in taken])
        return taken

    async def _mend(self, jobs: list[J], error: BaseException) -> None:
        """Do the jobs of a round that has failed again, if that may be; or tell who waits."""
        engine = self._engine
        if not engine.is_undone(error, is_read=self._is_read):
            ours = engine.mapped(error, is_read=self._is_read)
            self._end(jobs, [ours] * len(jobs))
        elif is_again(error) and len(jobs) > 1:
            # One of them is held up by somebody else: the others shall not be.
            await asyncio.gather(*(self._patiently([job]) for job in jobs))
        else:
            await self._patiently(jobs)
        self._under_way.remove(jobs)
        self.flush()

    async def _patiently(self, jobs: list[J]) -> None:
        tables = (self._table,)
        try:
            results = await self._engine.run(
                lambda connection: self._do(connection, jobs),
                tables,
                is_read=self._is_read,
                writes=self._writes(jobs),
                has_turn=True,
                share=_MENDING,
            )
        except IonError as error:
            results = [error] * len(jobs)
        self._end(jobs, results)
        self.flush()

    def _is_left(self, keys: Collection[bytes] | None) -> bool:
        busy = self._busy
        if not busy or (keys is not None and busy.isdisjoint(keys)):
            return False
        wanted = busy if keys is None else busy.intersection(keys)
        under_way = itertools.chain.from_iterable(self._under_way)
        return any(job.future.done() and job.key in wanted for job in under_way)

    def _end(self, jobs: Sequence[J], results: Sequence[Any]) -> None:
        if not self._is_read:
            self._busy.difference_update([job.key for job in jobs])
            if self._table.waiting:
                self._table.wake()
        _tell(jobs, results)

    def _look(self) -> None:
        """Give up what takes too long."""
        self._watch = None
        loop = self._engine.loop
        now = loop.time()
        for jobs in (self._pending, *self._under_way):
            for job in jobs:
                job.since = job.since or now
                if job.since <= now - self._engine.patience and not job.future.done():
                    is_begun = jobs is not self._pending
                    job.future.set_exception(self._late(job, is_begun=is_begun))
        self._pending = [job for job in self._pending if not job.future.done()]
        if self._pending or self._under_way:
            self._watch = loop.call_later(self._engine.patience / _LOOKS, self._look)

    def _late(self, job: J, *, is_begun: bool) -> IonError:
        if not is_begun and any(doubt.concerns([job.key]) for doubt in self._doubts):
            return self._engine.doubtful()
        return self._engine.mapped(TimeoutError(), is_read=self._is_read or not is_begun)

    # the end

    def waiting(self) -> list[asyncio.Future[Any]]:
        """Return the futures of all calls that have not returned."""
        jobs = itertools.chain(self._pending, *self._under_way)
        return [job.future for job in jobs if not job.future.done()]

    def close(self) -> None:
        """Tell whoever waits yet."""
        if self._watch is not None:
            self._watch.cancel()
        for future in self.waiting():
            future.set_exception(self._pool.not_open())
        self._pending = []


def _tell(jobs: Sequence[Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        future = job.future
        if future.done():
            continue
        if isinstance(result, IonError):
            future.set_exception(again(result))
        else:
            future.set_result(result)


def again(error: IonError) -> IonError:
    """Return an error for one of several who wait: each raises its own."""
    return type(error)(error.message, code=error.code, type=error.type, details=error.details)
