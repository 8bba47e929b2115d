"""Calls that wait together travel together: one round trip, one script for all puts of a store.

Invariants: an acknowledged put is in Redis. A call that is cancelled harms no other: the pipeline
waits for its answer all the same. Each call is answered, or fails, within the time limit after it
was made; what waits is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from redis import exceptions as errors

from ion.base.errors import Unavailable
from ion.stores.errors import closed
from ion.stores.redis.failures import mapped
from ion.stores.redis.layout import Space
from ion.stores.redis.link import Link, Reply
from ion.stores.redis.scripts import GET, PUT, Script

log = logging.getLogger(__name__)
MAX_WAITING = 100_000  # calls of one pipeline; one more is refused
MAX_GROUP = 500  # gets, or puts, that are one command
MAX_COMMANDS = 500  # that travel together
MAX_BYTES = 4 * 1024 * 1024  # of values that do; one alone may be larger
LAST_MOMENT = 5.0  # seconds that calls have to end when it is closed

Future = asyncio.Future[Any]


class Waiting:
    """A command that is to be sent, and who waits for it.

    :ivar words: it, without the script.
    :ivar waiters: one; or, of a group, one for each key.
    :ivar since: when the first of them came.
    :ivar size: bytes of values.
    """

    __slots__ = ("is_group", "script", "since", "size", "waiters", "words")

    def __init__(
        self, script: Script | None, words: list[bytes], since: float, *, is_group: bool
    ) -> None:
        self.script = script
        self.words = words
        self.since = since
        self.is_group = is_group
        self.waiters: list[Future] = []
        self.size = 0

    def command(self, *, whole: bool) -> list[bytes]:
        """Return it as Redis takes it; ``whole``: with the script's text, not its digest."""
        script = self.script
        if script is None:
            return self.words
        if script is GET and len(self.waiters) == 1:  # less work than a script, for both sides
            base, key = self.words
            return [b"GET", base + b"v:" + key]
        first = [b"EVAL", script.text] if whole else [b"EVALSHA", script.digest]
        return [*first, b"1", *self.words]


class Pipeline:
    """Sends what waits, waits for all answers, and begins again.

    :param where: host and port, for errors.
    :ivar timeout: seconds for one call.
    :ivar count: calls that wait.
    """

    def __init__(self, link: Link, where: str, timeout: float) -> None:
        self._link = link
        self._where = where
        self.timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Waiting] = deque()
        self._gets: dict[Space, Waiting] = {}  # in the queue, with room
        self._puts: dict[Space, Waiting] = {}
        self._wake: Future | None = None
        self._is_closed = False
        # One timer for all: what is under way is to end by ``_until``, or is given up.
        self._until: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False
        self.count = 0
        self._task = asyncio.create_task(self._run(), name=f"Redis at {where}")

    # calls: the futures' results are Redis's answers

    def get(self, space: Space, key: bytes) -> Future:
        """Ask for a record.

        :raises Unavailable: (so do the others) it is closed, or too much waits already.
        """
        self._check()
        group = self._gets.get(space)
        if group is None:
            group = self._gets[space] = self._new(GET, [space.base], is_group=True)
        group.words.append(key)
        if len(group.words) > MAX_GROUP:
            del self._gets[space]
        return self._added(group)

    def put(self, space: Space, key: bytes, record: bytes) -> Future:
        """Put a record of a plain store, whatever is there."""
        self._check()
        group = self._puts.get(space)
        if group is None:
            words = [space.base, space.generation]
            group = self._puts[space] = self._new(PUT, words, is_group=True)
        group.words += (key, record)
        group.size += len(record)
        if len(group.words) > 2 * MAX_GROUP or group.size > MAX_BYTES // 4:
            del self._puts[space]
        return self._added(group)

    def script(self, script: Script, base: bytes, words: Sequence[bytes], size: int = 0) -> Future:
        """Run a script on a store; ``size``: bytes of values among the words."""
        self._check()
        waiting = self._new(script, [base, *words], is_group=False)
        waiting.size = size
        return self._added(waiting)

    def command(self, *words: bytes) -> Future:
        """Have a command done."""
        self._check()
        return self._added(self._new(None, list(words), is_group=False))

    async def close(self) -> None:
        """Finish what was begun, and disconnect. Never raises."""
        self._is_closed = True
        self._call()
        try:
            await asyncio.wait([self._task], timeout=min(self.timeout, LAST_MOMENT))
            if not self._task.done():
                log.warning("Redis at %s does not answer: what was begun is given up", self._where)
                self._task.cancel()
                await asyncio.wait([self._task])
        finally:
            self._task.cancel()
            if self._timer is not None:
                self._timer.cancel()
            self._fail(self._queue, self._closed)
            self._queue.clear()
        try:
            await self._link.close()
        except (OSError, errors.RedisError):
            log.debug("while it was closed", exc_info=True)

    def _closed(self) -> Unavailable:
        return closed(self._where)

    def _new(self, script: Script | None, words: list[bytes], *, is_group: bool) -> Waiting:
        waiting = Waiting(script, words, self._loop.time(), is_group=is_group)
        self._queue.append(waiting)
        return waiting

    def _check(self) -> None:
        if self._is_closed:
            raise self._closed()
        if self.count >= MAX_WAITING:
            message = f"{self.count} calls wait for Redis at {self._where} already: it is too slow"
            raise Unavailable(message, details={"server": self._where})

    def _added(self, waiting: Waiting) -> Future:
        self.count += 1
        future = self._loop.create_future()
        waiting.waiters.append(future)
        self._call()
        return future

    def _call(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # the task

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if self._is_closed:
                    return
                self._wake = self._loop.create_future()
                await self._wake
                continue
            batch = self._taken()
            try:
                await self._do(batch)
            except asyncio.CancelledError:
                self._fail(batch, self._closed)
                raise
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                self._fail(batch, partial(mapped, error, self._where))

    def _taken(self) -> list[Waiting]:
        """Take what travels together now."""
        self._gets.clear()
        self._puts.clear()
        batch: list[Waiting] = []
        size = 0
        while self._queue and len(batch) < MAX_COMMANDS:
            size += self._queue[0].size
            if batch and size > MAX_BYTES:
                break
            waiting = self._queue.popleft()
            if all(future.done() for future in waiting.waiters):  # cancelled, and not begun
                self.count -= len(waiting.waiters)
            else:
                batch.append(waiting)
        return batch

    async def _do(self, batch: list[Waiting]) -> None:
        if not batch:
            return
        self._begin(batch[0].since + self.timeout)
        try:
            replies = await self._exchanged(batch)
        except asyncio.CancelledError:
            if self._is_late and self._task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            self._until = None
        for waiting, reply in zip(batch, replies, strict=True):
            self._settle(waiting, reply)

    async def _exchanged(self, batch: list[Waiting]) -> list[Reply]:
        replies = await self._link.exchange([w.command(whole=False) for w in batch])
        unknown = [n for n, r in enumerate(replies) if isinstance(r, errors.NoScriptError)]
        if unknown:  # it was restarted, or forgot its scripts: none of these was done
            whole = [batch[number].command(whole=True) for number in unknown]
            again = await self._link.exchange(whole)
            for number, reply in zip(unknown, again, strict=True):
                replies[number] = reply
        return replies

    def _begin(self, until: float) -> None:
        """Have what begins now end by a time of the loop's clock.

        A timer an exchange would cost more than all else here: one is set where there is none, and
        set anew where it finds that there is time left.
        """
        self._until = until
        self._is_late = False
        if self._timer is None:
            self._timer = self._loop.call_at(until, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._until is None:
            return
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._look)
        else:
            self._is_late = True
            self._task.cancel()

    def _settle(self, waiting: Waiting, reply: Reply) -> None:
        self.count -= len(waiting.waiters)
        if not waiting.is_group:
            self._answer(waiting.waiters[0], reply)
        elif isinstance(reply, list):
            for future, part in zip(waiting.waiters, reply, strict=True):
                self._answer(future, part)
        else:
            for future in waiting.waiters:
                self._answer(future, reply)

    def _answer(self, future: Future, reply: Reply) -> None:
        if future.done():
            return
        if isinstance(reply, Exception):
            future.set_exception(mapped(reply, self._where))
        else:
            future.set_result(reply)

    def _fail(self, batch: Iterable[Waiting], error: Callable[[], Exception]) -> None:
        for waiting in batch:
            self.count -= len(waiting.waiters)
            for future in waiting.waiters:
                if not future.done():
                    future.set_exception(error())
