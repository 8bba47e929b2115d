"""The watchdog: sees from a thread of its own when an event loop does not turn, and what holds it.

One for each event loop, shared by all who :func:`watch` that loop, ended with the last of them. The
loop ticks; the thread looks at when it last did. So lag is measured all the time, a loop that is
held up is found while it is, and a block is logged once, with the stack that blocks, and once more
when it is over. What is read here may be read from any thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from ion.observe import stacks

log = logging.getLogger(__name__)

TICK = 0.25  # seconds between two looks, at most
TICKS_A_LIMIT = 4  # a limit is at least so many ticks
TICKS_KEPT = 20  # for so many ticks a lag is remembered: 5 s

# A task of the loop -> what it does, for people; "" where it is not known. Called in the thread.
Namer = Callable[["asyncio.Task[Any]"], str]


@dataclass(frozen=True, slots=True)
class Block:
    """A time in which an event loop did not turn.

    :ivar since: when it last turned, seconds since 1970, UTC.
    :ivar what: what held it, for people; "" where that is not known.
    :ivar stack: where it stood when that was found, innermost last.
    :ivar lasted: seconds, once it is over; None while it goes on.
    """

    since: float
    what: str
    stack: list[str]
    lasted: float | None = None

    @property
    def seconds(self) -> float:
        """How long it lasted, or has lasted so far."""
        return time.time() - self.since if self.lasted is None else self.lasted


@dataclass(eq=False, slots=True)
class Watch:
    """One party's interest in an event loop, until :meth:`end`.

    :ivar limit: seconds without a turn that are a block.
    """

    limit: float
    namer: Namer
    _dog: Watchdog = field(repr=False)

    @property
    def lag(self) -> float:
        """By how much the loop is late now, or was at the worst lately (5 s), in seconds."""
        return self._dog.lag()

    @property
    def block(self) -> Block | None:
        """The block that goes on now; None where the loop turns."""
        return self._dog.held()

    @property
    def last(self) -> Block | None:
        """The last block that is over."""
        return self._dog.last

    def end(self) -> None:
        """Lose interest. Never raises; may be called twice."""
        self._dog.leave(self)


def watch(limit: float, namer: Namer = lambda task: "") -> Watch:
    """Watch the running event loop.

    :param limit: seconds without a turn that are a block; of several, the lowest is what holds.
    :param namer: tells what a task does.
    """
    loop = asyncio.get_running_loop()
    dog = _dogs.get(loop)
    if dog is None or dog.is_over:
        dog = _dogs[loop] = Watchdog(loop)
    return dog.enter(limit, namer)


class Watchdog:
    """Watches the event loop whose thread makes it; :func:`watch` is what to call.

    :ivar block: the block that went on at the last look.
    :ivar last: the last one that is over.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.block: Block | None = None
        self.last: Block | None = None
        self._loop = loop
        self._ident = threading.get_ident()
        self._watches: tuple[Watch, ...] = ()
        self._over = threading.Event()
        self._lags: deque[float] = deque([0.0], maxlen=TICKS_KEPT)
        self._tick = TICK
        self._turned = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, with the last who watched."""
        return self._over.is_set()

    def enter(self, limit: float, namer: Namer) -> Watch:
        """Let one more watch; with the first, the thread begins."""
        watch = Watch(limit, namer, self)
        self._watches = (*self._watches, watch)
        self._set_pace()
        if self._timer is None:
            self._turn()
            threading.Thread(target=self._run, name="ion watchdog", daemon=True).start()
        return watch

    def leave(self, watch: Watch) -> None:
        """Let one go; with the last, the thread ends."""
        self._watches = tuple(each for each in self._watches if each is not watch)
        if self._watches:
            self._set_pace()
        elif self._timer is not None:
            self._over.set()
            self._timer.cancel()

    def lag(self) -> float:
        """Return by how much the loop is late, or was at the worst lately."""
        return max(self._silence(time.monotonic()), *tuple(self._lags))

    def held(self) -> Block | None:
        """Return the block that goes on now, which the loop may have left since the last look."""
        block = self.block
        return block if block is not None and self._silence(time.monotonic()) > 0 else None

    def _set_pace(self) -> None:
        self._limit = min(watch.limit for watch in self._watches)
        self._tick = min(TICK, self._limit / TICKS_A_LIMIT)

    # on the loop

    def _turn(self) -> None:
        """Note that the loop turns, and how late."""
        now = time.monotonic()
        if self._timer is not None:
            self._lags.append(self._silence(now))
        self._turned = now
        self._timer = self._loop.call_later(self._tick, self._turn)

    def _silence(self, now: float) -> float:
        """Return how long the loop has been due to turn."""
        return max(now - self._turned - self._tick, 0.0)

    # in the thread

    def _run(self) -> None:
        before, worked = time.monotonic(), time.process_time()
        while not self._over.wait(self._tick):
            now, work = time.monotonic(), time.process_time()
            late = now - before - self._tick
            if self._loop.is_closed():
                return
            if late > self._limit:
                self._was_late(late, work - worked)
            self._look()
            before, worked = now, work

    def _was_late(self, late: float, worked: float) -> None:
        """Find out what has held up this thread itself."""
        if worked > min(late / 2, self._limit):  # on a busy machine it is no large part of the time
            return  # somebody worked, and kept the interpreter to itself: the loop's is the fault
        self._give_time()
        log.warning(
            "this OS process stood still for %.1f s: it was suspended, the machine had no time for "
            "it, or an extension module waited and kept the interpreter to itself",
            late,
        )

    def _give_time(self) -> None:
        """Count from now on: the loop could not turn, and that was not its fault."""
        self._turned = max(self._turned, time.monotonic() - self._tick)

    def _look(self) -> None:
        if not self._loop.is_running():  # between two runs
            self._give_time()
        silence = self._silence(time.monotonic())
        if silence >= self._limit:
            self._begin()
        elif self.block is not None and silence < self._tick:  # it has turned since
            block, self.block = self.block, None
            self.last = Block(block.since, block.what, block.stack, block.seconds)
            level = logging.INFO if _importer(block.stack) else logging.WARNING
            log.log(level, "the event loop turns again after %.1f s", self.last.seconds)

    def _begin(self) -> None:
        if self.block is not None or not self._watches:
            return
        stack, what = stacks.of_thread(self._ident), self._what()
        self.block = Block(time.time() - (time.monotonic() - self._turned), what, stack)
        importer = _importer(stack)
        if importer:
            text = "the event loop has not turned for %.1f s, as modules are imported by %s"
            log.info(text, self.block.seconds, importer)
            return
        log.error(
            "the event loop has not turned for %.1f s; held up by %s:\n  %s",
            self.block.seconds,
            what or "what stands here",
            "\n  ".join(stack),
        )

    def _what(self) -> str:
        task = asyncio.current_task(self._loop)
        if task is None:
            return ""
        names = (watch.namer(task) for watch in self._watches)
        return next(filter(None, names), "") or f"task {task.get_name()!r}"


def _importer(stack: Sequence[str]) -> str:
    """Return the line that imports what takes so long, "" where none does.

    That is so once, when something is started, and no fault of its code.
    """
    return next((line for line in stack if ", in <module>" in line and line[0] != "<"), "")


_dogs: WeakValueDictionary[asyncio.AbstractEventLoop, Watchdog] = WeakValueDictionary()
