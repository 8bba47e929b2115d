"""Who writes: a thread, which commits together what waits; or, alone on a quick disk, the loop.

Invariants: an acknowledged job is on disk. A job that fails has written nothing, and spoils no
other. A job whose waiter has gone away may be done or not. Jobs are done in the order in which
they were handed over.

A hop to the thread and back takes about as long as a quick disk takes to sync. So where one task
alone writes, commits have been quick for some time, and the loop has little else to do, a small job
is done on the loop where it stands, with a connection that waits for nobody. Two slow commits, or a
second one who writes, end that for a while.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

from ion.base.errors import IonError, Unavailable
from ion.stores.errors import closed
from ion.stores.sqlite.committing import Committer, Outcome, Work
from ion.stores.sqlite.file import StoreFile
from ion.stores.sqlite.inline_commit import InlineCommits
from ion.stores.sqlite.job import Job, Step
from ion.stores.sqlite.table import Table

log = logging.getLogger(__name__)
MAX_WAITING = 10_000  # jobs
MAX_WAITING_BYTES = 256 * 1024 * 1024
MAX_GROUP = 2_000  # jobs of one transaction
MAX_GROUP_BYTES = 64 * 1024 * 1024
IN_A_ROW = 8  # jobs done on the loop, until others have a turn
LAST_MOMENT = 5.0  # seconds that the thread has to end

Item = list[Job] | tuple[Work, asyncio.Future[Any]] | None
Reads = Sequence[tuple[Table, bytes, int]]


class Writer:
    """Writes to one file; used on one event loop.

    :param there: what commits in the thread.
    :param here: what commits on the loop; its connection must not wait for locks.
    :param timeout: seconds until a job that is not done is given up by who waits for it.
    """

    def __init__(self, file: StoreFile, there: Committer, here: Committer, timeout: float) -> None:
        self._file = file
        self._there = there
        self._here = here
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[Item] = SimpleQueue()
        self._fresh: list[Job] = []
        self._waiting: deque[tuple[float, list[Job]]] = deque()  # handed over, by time
        self._count = 0  # jobs that are not settled
        self._size = 0
        self._specials = 0
        self._outside: deque[asyncio.Future[None]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._inline = InlineCommits()
        self._in_a_row = 0  # done on the loop since others had a turn
        self._is_yielding = False
        self._thread = threading.Thread(target=self._run, name=f"writer of {file.path.name}")
        self._thread.daemon = True
        self._is_closed = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    # on the event loop

    async def commit(self, steps: Sequence[Step], reads: Reads = ()) -> int:
        """Do steps, or none; return how many rows the last one has changed.

        Where too much waits already, this waits for its turn to wait.

        :raises Conflict: see :meth:`Job.run`, and what else it raises.
        :raises Unavailable: the datastore is closed, or the engine away.
        """
        if self._in_a_row >= IN_A_ROW:
            await self._let_others()
        job = Job(steps, reads)
        if not self._count and self._may_do_here(job):
            error = self._do_here(job)
            if error is None:
                return job.result
            if isinstance(error, IonError):
                raise error
        if self._is_full():
            await self._room()
        if self._is_closed:
            raise self._closed()
        self._count += 1
        self._size += job.size
        job.future = self._loop.create_future()
        self._fresh.append(job)
        if len(self._fresh) == 1:
            self._loop.call_soon(self._hand_over)
        return await job.future

    async def special(self, work: Work) -> Any:
        """Do ``work`` in the thread, outside of any transaction; errors as :meth:`commit`."""
        if self._is_closed:
            raise self._closed()
        self._hand_over()
        future = self._loop.create_future()
        self._specials += 1
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
            log.warning("the writer of %s does not end: its disk hangs", self._file.path)
        await asyncio.to_thread(self._here.close)
        self._expire(everything=True)
        self._let_in()
        if self._watch is not None:
            self._watch.cancel()

    def _may_do_here(self, job: Job) -> bool:
        if self._specials or self._is_closed or self._is_yielding:
            return False
        return self._inline.allows(job)

    def _do_here(self, job: Job) -> BaseException | None:
        """Do a job on the loop; return its error; one that is not ours: the thread is to try."""
        begun = time.perf_counter()
        error = self._here.try_one(job)
        self._inline.took(time.perf_counter() - begun, 1)
        self._in_a_row += 1
        return error

    async def _let_others(self) -> None:
        """Let other tasks run: what they are to write comes to light, too."""
        self._in_a_row = 0
        self._is_yielding = True
        begun = time.perf_counter()
        try:
            await asyncio.sleep(0)
        finally:
            self._is_yielding = False
        self._inline.yielded(time.perf_counter() - begun)

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
                if job.future is not None and not job.future.done():
                    job.future.set_exception(self._late())

    def _settle(self, outcomes: list[Outcome]) -> None:
        self._count -= len(outcomes)
        for job, error in outcomes:
            self._size -= job.size
            future = job.future
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(job.result)
            else:
                future.set_exception(error)
        if not self._count:  # all that were handed over
            self._waiting.clear()
        while self._waiting and all(job.is_settled() for job in self._waiting[0][1]):
            self._waiting.popleft()
        if self._outside:
            self._let_in()

    def _settle_special(
        self, future: asyncio.Future[Any], result: Any, error: BaseException | None
    ) -> None:
        self._specials -= 1
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _is_full(self) -> bool:
        return self._count >= MAX_WAITING or self._size >= MAX_WAITING_BYTES

    async def _room(self) -> None:
        """Wait until there is room.

        :raises Unavailable: there is none in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                while self._is_full() and not self._is_closed:
                    turn = self._loop.create_future()
                    self._outside.append(turn)
                    await turn
        except TimeoutError:
            message = (
                f"{self._count} writes wait for the store file {self._file.path} already, and none "
                f"was done within {self._timeout:g} s: its disk is too slow, or hangs"
            )
            raise Unavailable(message, details={"file": str(self._file.path)}) from None

    def _let_in(self) -> None:
        """Wake as many as there is room for; all, where it is closed."""
        room = len(self._outside) if self._is_closed else MAX_WAITING - self._count
        while self._outside and room > 0:
            turn = self._outside.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1

    def _late(self) -> Unavailable:
        message = (
            f"no answer of the store file {self._file.path} within {self._timeout:g} s: it is not "
            "known whether the write was done; is the file locked by another, or its disk faulty?"
        )
        return Unavailable(message, details={"file": str(self._file.path)})

    def _closed(self) -> Unavailable:
        return closed(self._file.path)

    # in the thread

    def _run(self) -> None:
        held: Item = None
        while True:
            item, held = held or self._inbox.get(), None
            if item is None:
                break
            if isinstance(item, tuple):
                self._do_special(*item)
                continue
            jobs = list(item)
            held = self._add_further(jobs)
            self._do_all(jobs)
        self._there.close()

    def _add_further(self, jobs: list[Job]) -> Item:
        """Add what has come meanwhile to ``jobs``; return what came and is no job, if anything."""
        while len(jobs) < MAX_GROUP and not self._inbox.empty():
            item = self._inbox.get()
            if not isinstance(item, list):
                if item is None:
                    self._inbox.put(None)  # the last one, again
                return item
            jobs += item
        return None

    def _do_special(self, work: Work, future: asyncio.Future[Any]) -> None:
        try:
            result = self._there.special(work)
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            self._tell(self._settle_special, future, None, error)
        else:
            self._tell(self._settle_special, future, result, None)

    def _do_all(self, jobs: list[Job]) -> None:
        for group in _groups(jobs):
            gone = {job for job in group if job.is_settled()}  # whoever asked has gone away
            wanted = [job for job in group if job not in gone] if gone else group
            outcomes: list[Outcome] = [(job, None) for job in gone]
            begun = time.perf_counter()
            outcomes += self._there.do(wanted) if wanted else []
            self._inline.took(time.perf_counter() - begun, len(wanted))
            self._tell(self._settle, outcomes)
            self._there.rest(self._here.written)

    def _tell(self, callback: Any, *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("the loop that wrote to %s is closed", self._file.path)


def _groups(jobs: list[Job]) -> list[list[Job]]:
    """Return jobs in the groups in which they are committed: none too large."""
    if len(jobs) <= MAX_GROUP and sum([job.size for job in jobs]) <= MAX_GROUP_BYTES:
        return [jobs]
    groups: list[list[Job]] = [[]]
    size = 0
    for job in jobs:
        if groups[-1] and (size + job.size > MAX_GROUP_BYTES or len(groups[-1]) >= MAX_GROUP):
            groups.append([])
            size = 0
        groups[-1].append(job)
        size += job.size
    return groups
