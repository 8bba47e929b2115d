"""The thread that writes: what waits is committed together, once, and synced to disk once.

Invariants: an acknowledged job is on disk. A job that fails has written nothing, and spoils no
other. A job whose waiter has gone away may be done or not. Jobs are done in the order in which
they were handed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ion.base.errors import IonError, Unavailable
from ion.stores.sqlite.failures import mapped
from ion.stores.sqlite.job import Job, Step
from ion.stores.sqlite.table import Table

log = logging.getLogger(__name__)
MAX_WAITING = 100_000  # jobs; one more is refused
MAX_GROUP = 2_000  # jobs of one transaction
MAX_GROUP_BYTES = 64 * 1024 * 1024
LAST_MOMENT = 5.0  # seconds that the thread has to end

Outcome = tuple[Job, BaseException | None]
Special = Callable[[sqlite3.Connection], Any]


class Writer:
    """Writes to one file.

    :param connect: makes the connection that writes; called in the thread.
    :param timeout: seconds until a job that is not done is given up by who waits for it.
    """

    def __init__(
        self, path: Path, connect: Callable[[], sqlite3.Connection], timeout: float
    ) -> None:
        self._path = path
        self._connect = connect
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[list[Job] | tuple[Special, asyncio.Future[Any]] | None]
        self._inbox = SimpleQueue()
        self._fresh: list[Job] = []
        self._waiting: deque[tuple[float, list[Job]]] = deque()  # handed over, by time
        self._count = 0
        self._watch: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer of {path.name}")
        self._thread.daemon = True
        self._is_closed = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    # on the event loop

    def commit(
        self, steps: Sequence[Step], reads: Sequence[tuple[Table, bytes, int]] = ()
    ) -> asyncio.Future[Any]:
        """Hand over a commit; the future's result is its revisions, and how many were removed.

        :raises Unavailable: the datastore is closed, or too much waits already.
        """
        if self._is_closed:
            message = f"the store file {self._path} is not open (any more)"
            raise Unavailable(message)
        if self._count >= MAX_WAITING:
            message = f"{self._count} writes wait for {self._path} already: its disk is too slow"
            raise Unavailable(message)
        job = Job(self._loop.create_future(), steps, reads)
        self._count += 1
        self._fresh.append(job)
        if len(self._fresh) == 1:
            self._loop.call_soon(self._hand_over)
        return job.future

    async def special(self, work: Special) -> Any:
        """Do ``work`` in the thread, outside of any transaction; errors as :meth:`commit`."""
        if self._is_closed:
            message = f"the store file {self._path} is not open (any more)"
            raise Unavailable(message)
        self._hand_over()
        future = self._loop.create_future()
        self._inbox.put((work, future))
        try:
            async with asyncio.timeout(self._timeout):
                return await future
        except TimeoutError:
            raise self._late() from None

    async def close(self) -> None:
        """Do what was handed over, and end. Never raises; may be called twice."""
        if self._is_closed:
            return
        self._hand_over()
        self._is_closed = True
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join, LAST_MOMENT)
        if self._thread.is_alive():
            log.warning("the writer of %s does not end: its disk hangs", self._path)
        self._expire(everything=True)
        if self._watch is not None:
            self._watch.cancel()

    def _hand_over(self) -> None:
        if not self._fresh:
            return
        jobs, self._fresh = self._fresh, []
        self._inbox.put(jobs)
        self._waiting.append((self._loop.time(), jobs))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._look)

    def _look(self) -> None:
        """Give up what waits for too long."""
        self._watch = None
        self._expire(everything=False)
        if self._waiting:
            left = self._waiting[0][0] + self._timeout - self._loop.time()
            self._watch = self._loop.call_later(max(left, 0.01), self._look)

    def _expire(self, *, everything: bool) -> None:
        until = self._loop.time() - self._timeout
        while self._waiting and (everything or self._waiting[0][0] <= until):
            _, jobs = self._waiting.popleft()
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(self._late())

    def _late(self) -> Unavailable:
        message = (
            f"no answer of the store file {self._path} within {self._timeout:g} s: it is not known "
            "whether the write was done; is the file locked by another, or its disk faulty?"
        )
        return Unavailable(message, details={"file": str(self._path)})

    def _settle(self, outcomes: list[Outcome]) -> None:
        self._count -= len(outcomes)
        for job, error in outcomes:
            future = job.future
            if future.done():
                continue
            if error is None:
                future.set_result(job.result)
            else:
                future.set_exception(error)
        while self._waiting and all(job.future.done() for job in self._waiting[0][1]):
            self._waiting.popleft()

    # in the thread

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while True:
            item = self._inbox.get()
            if item is None:
                break
            try:
                connection = connection or self._connect()
            except (sqlite3.Error, OSError, IonError) as error:
                self._refuse(item, self._mapped(error))
                continue
            if isinstance(item, tuple):
                self._do_special(connection, *item)
            else:
                self._do_all(connection, item)
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _refuse(self, item: Any, error: BaseException) -> None:
        if isinstance(item, tuple):
            self._tell(_fail, item[1], error)
        else:
            self._tell(self._settle, [(job, error) for job in item])

    def _do_special(
        self, connection: sqlite3.Connection, work: Special, future: asyncio.Future[Any]
    ) -> None:
        try:
            result = work(connection)
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            _roll_back(connection)
            self._tell(_fail, future, self._mapped(error))
        else:
            self._tell(_succeed, future, result)

    def _do_all(self, connection: sqlite3.Connection, jobs: list[Job]) -> None:
        """Do jobs, and all that have come meanwhile, in groups."""
        while jobs:
            jobs += self._further(MAX_GROUP - len(jobs))
            group, jobs = _first_group(jobs)
            outcomes = self._do_group(connection, group)
            self._tell(self._settle, outcomes)

    def _further(self, room: int) -> list[Job]:
        found: list[Job] = []
        while len(found) < room and not self._inbox.empty():
            item = self._inbox.get()
            if not isinstance(item, list):
                self._put_back(item)
                break
            found += item
        return found

    def _put_back(self, item: Any) -> None:
        """Keep what is no job in its place: what comes after it waits, too."""
        rest: list[Any] = [item]
        while not self._inbox.empty():
            rest.append(self._inbox.get())
        for one in rest:
            self._inbox.put(one)

    def _do_group(self, connection: sqlite3.Connection, group: list[Job]) -> list[Outcome]:
        try:
            return self._transact(connection, group)
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            _roll_back(connection)
            if len(group) == 1:
                return [(group[0], self._mapped(error))]
        # One of them is too much for the engine, or all are: each for itself will show.
        return [outcome for job in group for outcome in self._do_group(connection, [job])]

    def _transact(self, connection: sqlite3.Connection, group: list[Job]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        connection.execute("BEGIN IMMEDIATE")
        for job in group:
            try:
                job.run(connection)
            except IonError as error:  # found before anything was written
                outcomes.append((job, error))
            else:
                outcomes.append((job, None))
        connection.execute("COMMIT")
        return outcomes

    def _mapped(self, error: BaseException) -> BaseException:
        return mapped(error, self._path) if isinstance(error, sqlite3.Error) else error

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback, *args)


def _first_group(jobs: list[Job]) -> tuple[list[Job], list[Job]]:
    """Return the jobs of one transaction, and the rest."""
    size = 0
    for count, job in enumerate(jobs):
        size += sum(step.size for step in job.steps)
        if count >= MAX_GROUP or (size > MAX_GROUP_BYTES and count):
            return jobs[:count], jobs[count:]
    return jobs, []


def _roll_back(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
