"""Workers: the tasks that handlers run in, kept for the next message, and begun at once.

A new task for each message, which begins at the loop's next turn, costs more than the message's
whole way through the runtime. So a worker handles one message after another, of any process of its
container; there are as many as messages are being handled. An idle worker takes its next message
without a turn of the loop, as eager tasks of newer Pythons do. What handlers may rely on stays:

- ``asyncio.current_task()`` is a real task, with cancellation, timeouts and task groups.
- Each begins in the container's own context, never the sender's; a worker whose handler left a
  context variable changed is not used again.
- The loop gets its turn: after :data:`EAGER` handlers have begun at once, or those of
  :data:`MOMENT`, others wait for it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator
from contextvars import Context, ContextVar, copy_context
from time import perf_counter
from typing import Any, Protocol

from ion.observe.context import current_call

# Documented for those who extend asyncio, in spite of their names; see "Extending" in its manual.
_enter_task: Callable[[Any, Any], None] = getattr(asyncio.tasks, "_enter_task")  # noqa: B009
_leave_task: Callable[[Any, Any], None] = getattr(asyncio.tasks, "_leave_task")  # noqa: B009

# What asyncio.current_task() looks into, which is itself slow where it is no C.
_current: Callable[[Any], Any] = asyncio.current_task
if sys.version_info < (3, 12):
    _current = getattr(asyncio.tasks, "_current_tasks").get  # noqa: B009

# Handlers begun at once between two turns of the loop; with more, other callers wait for longer.
EAGER = 64
MOMENT = 0.002  # seconds: with those that take longer, fewer
LOOK = 8  # handlers between two looks at the clock; EAGER is a multiple of it
# Handlers begun at once from within one another: one that ends begins the next that waits.
DEEPEST = 32
MAX_IDLE = 256
REST = 0.2  # seconds: an idle worker that was not needed for one to two of these is let go


class Server(Protocol):
    """What handles a message: a process."""

    async def _serve(self, call: Any) -> None:
        """Handle one message; settles it, whatever happens."""


class Workers:
    """The workers of one container; made, and closed, on its event loop.

    :param context: handlers begin in copies of it.
    """

    __slots__ = (
        "_all",
        "_context",
        "_depth",
        "_eager",
        "_resting",
        "_timer",
        "_until",
        "idle",
        "loop",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self.loop = loop
        self.idle: list[_Worker] = []
        self._context = context
        self._all: dict[asyncio.Task[None], _Worker] = {}
        self._depth = 0
        self._eager = EAGER
        self._until = 0.0
        self._resting: list[_Worker] = []
        self._timer: asyncio.TimerHandle | None = None

    def run(self, server: Server, call: Any) -> None:
        """Let ``server`` handle ``call``: now, where a worker is idle and its turn has not come."""
        if not self.idle:
            self._hire(server, call)
            return
        worker = self.idle.pop()
        worker.server = server
        worker.call = call
        eager = self._eager
        if eager and not eager % LOOK:
            eager = self._look(eager)
        if not eager or self._depth >= DEEPEST:
            self.loop.call_soon(worker.wakeup, worker, context=worker.context)
            return
        self._eager = eager - 1
        self._depth += 1
        current = _current(self.loop)
        if current is not None:
            _leave_task(self.loop, current)
        try:
            worker.context.run(worker.wakeup, worker)
        finally:
            self._depth -= 1
            if current is not None:
                _enter_task(self.loop, current)

    def at_work(self) -> list[Any]:
        """Return the calls that are being handled."""
        return [worker.call for worker in self._all.values() if worker.call is not None]

    def call_of(self, task: asyncio.Task[Any]) -> Any:
        """Return the call that a task handles; None: it is no worker. From any thread."""
        worker = self._all.get(task)
        return None if worker is None else worker.call

    async def close(self) -> None:
        """End all workers; what they handle is cancelled."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._all)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    def _hire(self, server: Server, call: Any) -> None:
        worker = _Worker(self, server, call)
        context = self._context.copy()
        task = asyncio.Task(worker.work(), loop=self.loop, name="ion worker", context=context)
        worker.task = call.task = task
        self._all[task] = worker
        task.add_done_callback(self._all.pop)
        if self._timer is None:
            self._timer = self.loop.call_later(REST, self._let_go)

    def _let_go(self) -> None:
        """End the workers at the bottom of the pile that were there at the last look, too.

        The last to become idle is the first to work again, so that those below were not needed.
        """
        unused = [w for w, before in zip(self.idle, self._resting, strict=False) if w is before]
        for worker in unused:
            worker.task.cancel()
        self._resting = self.idle.copy()
        self._timer = self.loop.call_later(REST, self._let_go) if self._all else None

    def _look(self, eager: int) -> int:
        """Look at the clock; return how many handlers may still begin at once."""
        now = perf_counter()
        if eager == EAGER:
            self._until = now + MOMENT
            self.loop.call_soon(self._turn)
        elif now > self._until:
            self._eager = 0
        return self._eager

    def _turn(self) -> None:
        self._eager = EAGER


class _Worker:
    """One worker, and what its task awaits between messages: an object like a future.

    The task of an idle worker gives its ``wakeup`` here, as it would to a future; to call that is
    to let the task go on. Only a future's ``set_result`` would put it off to the loop's next turn.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_is_cancelled",
        "_workers",
        "call",
        "context",
        "server",
        "task",
        "wakeup",
    )

    def __init__(self, workers: Workers, server: Server, call: Any) -> None:
        self._workers = workers
        self._asyncio_future_blocking = False
        self._is_cancelled = False
        self.server: Server | None = server
        self.call = call
        self.task: asyncio.Task[None]
        self.wakeup: Callable[[Any], Any]
        self.context: Context

    async def work(self) -> None:
        """Handle one message after another, until there is a reason not to."""
        current_call.set(None)
        size = len(copy_context())
        kept = [(v, x) for v, x in copy_context().items() if v is not current_call]
        idle = self._workers.idle
        while self.server is not None:
            self.call.task = self.task
            await self.server._serve(self.call)
            self.server = self.call = None
            if len(idle) >= MAX_IDLE or self.task.cancelling() or _is_changed(size, kept):
                return
            idle.append(self)
            await self

    # the face of a future, as far as a task looks at it

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that its task runs on."""
        return self._workers.loop

    def add_done_callback(self, wakeup: Callable[[Any], Any], *, context: Context) -> None:
        """Take what lets the task go on."""
        self.wakeup = wakeup
        self.context = context

    def result(self) -> None:
        """Say whether the task goes on with a message.

        :raises CancelledError: it was cancelled while it was idle.
        """
        if self._is_cancelled:
            raise asyncio.CancelledError

    def cancel(self, msg: Any = None) -> bool:
        """End the idle worker: its task was cancelled."""
        if self._is_cancelled or self not in self._workers.idle:
            return False
        self._is_cancelled = True
        self._workers.idle.remove(self)
        self._workers.loop.call_soon(self.wakeup, self, context=self.context)
        return True


def _is_changed(size: int, kept: list[tuple[ContextVar[Any], Any]]) -> bool:
    """Return whether the handler left a context variable other than it was."""
    context = copy_context()
    if len(context) != size:
        return True
    for variable, value in kept:  # noqa: SIM110 - a generator costs more than the loop
        if context[variable] is not value:
            return True
    return False
