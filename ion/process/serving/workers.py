"""Workers: the tasks that handlers run in, kept for the next message, and begun at once.

A new task for each message, which begins at the loop's next turn, costs more than the message's
whole way through the runtime. So a worker handles one message after another, of any process of its
container; there are as many as messages are being handled. An idle worker takes its next message
without a turn of the loop, as eager tasks of newer Pythons do: whoever brings the message steps the
handler, in the worker's name and context; only what comes to wait is handed to the worker's task.
What handlers may rely on stays:

- ``asyncio.current_task()`` is a real task, with cancellation, timeouts and task groups.
- Each begins in the container's own context, never the sender's; a worker whose handler left a
  context variable changed is not used again.
- The loop gets its turn: after :data:`EAGER` handlers have begun at once, or those of
  :data:`MOMENT`, others wait for it.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextvars import Context, ContextVar
from time import perf_counter
from typing import Any, Protocol, TypeAlias

from ion.observe.context import current_call

# Documented for those who extend asyncio, in spite of their names; see "Extending" in its manual.
_enter_task: Callable[[Any, Any], None] = getattr(asyncio.tasks, "_enter_task")  # noqa: B009
_leave_task: Callable[[Any, Any], None] = getattr(asyncio.tasks, "_leave_task")  # noqa: B009


class _Current:
    """loop -> the task that runs: asyncio's own table of them, where that is not to be had."""

    def get(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
        return asyncio.current_task(loop)

    def __setitem__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
        current = asyncio.current_task(loop)
        if current is not None:
            _leave_task(loop, current)
        if task is not None:
            _enter_task(loop, task)

    def pop(self, loop: asyncio.AbstractEventLoop) -> None:
        self[loop] = None


Tasks: TypeAlias = "dict[asyncio.AbstractEventLoop, Any] | _Current"
_running: Tasks = _Current()
if sys.version_info < (3, 14):  # later ones have no such table, or one that they do not use
    _running = getattr(asyncio.tasks, "_current_tasks")  # noqa: B009

# Handlers begun at once between two turns of the loop; with more, other callers wait for longer.
EAGER = 64
MOMENT = 0.002  # seconds: with those that take longer, fewer
LOOK = 8  # handlers between two looks at the clock; EAGER is a multiple of it
# Handlers begun at once from within one another: one that ends begins the next that waits.
DEEPEST = 32
MAX_IDLE = 256
_OVER = object()
Handling: TypeAlias = Coroutine[Any, Any, None]
REST = 0.2  # seconds: an idle worker that was not needed for one to two of these is let go


class Server(Protocol):
    """What handles a message: a process."""

    def _serve(self, call: Any) -> Handling:
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
        idle = self.idle
        if not idle:
            self._hire(server, call)
            return
        worker = idle.pop()
        worker.call = call
        eager = self._eager
        if eager and not eager % LOOK:
            eager = self._look(eager)
        if not eager or self._depth >= DEEPEST:
            worker.server = server
            self.loop.call_soon(worker.wakeup, worker, context=worker.context)
            return
        self._eager = eager - 1
        self._depth += 1
        call.task = worker.task
        handling = server._serve(call)
        loop = self.loop
        before = _running.get(loop)
        _running[loop] = worker.task
        try:
            waits = worker.context.run(next, handling.__await__(), _OVER)
        except BaseException as error:  # as of a task: what is no Exception ends all
            if not isinstance(error, (Exception, asyncio.CancelledError)):
                worker.end(asyncio.CancelledError())
                raise
            worker.end(error)
            return
        finally:
            self._depth -= 1
            if before is None:
                _running.pop(loop)
            else:
                _running[loop] = before
        if waits is not _OVER:
            self._wait(worker, handling, waits)
        elif len(idle) < MAX_IDLE and worker.is_fit():
            worker.call = None
            idle.append(worker)
        else:
            worker.end(asyncio.CancelledError())

    def _wait(self, worker: _Worker, handling: Handling, waits: Any) -> None:
        """Let a worker's task go on with what was begun for it, and has come to wait."""
        worker.handling = handling
        worker.waits = waits
        before = _running.get(self.loop)
        if before is not None:
            _running.pop(self.loop)
        try:
            worker.context.run(worker.wakeup, worker)
        finally:
            if before is not None:
                _running[self.loop] = before

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
        context = self._context.copy()
        worker = _Worker(self, server, call, context)
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

    :ivar server: with ``call``, what it is to handle; None: it handles that already, or nothing.
    :ivar handling: what was begun for it, and waits for ``waits``; None: nothing was.
    :ivar is_spoilt: it was cancelled at work.
    :ivar size: how many variables its context has, and kept: those with their values.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_end",
        "_workers",
        "call",
        "context",
        "handling",
        "is_spoilt",
        "kept",
        "server",
        "size",
        "task",
        "waits",
        "wakeup",
    )

    def __init__(self, workers: Workers, server: Server, call: Any, context: Context) -> None:
        self._workers = workers
        self._asyncio_future_blocking = False
        self._end: BaseException | None = None
        self.size = 0
        self.kept: list[tuple[ContextVar[Any], Any]] = []
        self.server: Server | None = server
        self.call = call
        self.handling: Handling | None = None
        self.waits: Any = None
        self.is_spoilt = False
        self.task: asyncio.Task[None]
        self.wakeup: Callable[[Any], Any]
        self.context = context

    async def work(self) -> None:
        """Handle one message after another, until there is a reason not to."""
        current_call.set(None)
        self.size = len(self.context)
        self.kept = [(v, x) for v, x in self.context.items() if v is not current_call]
        handling: Handling | None = self._begin()
        while True:
            if handling is not None:
                await _rest_of(handling)
            self.call = None
            idle = self._workers.idle
            if len(idle) >= MAX_IDLE or not self.is_fit() or self.task.cancelling():
                return
            idle.append(self)
            raised = None
            try:
                await self
            except asyncio.CancelledError as error:
                if self.handling is None:
                    raise  # it was idle
                raised = error
            handling = self._begin() if self.handling is None else await self._go_on(raised)

    def _begin(self) -> Handling:
        server, self.server = self.server, None
        assert server is not None
        self.call.task = self.task
        return server._serve(self.call)

    async def _go_on(self, raised: BaseException | None) -> Handling | None:
        """Return what was begun elsewhere, once what it waits for is there; None: it is over.

        :param raised: it was cancelled before it waited.
        """
        handling, self.handling = self.handling, None
        waits, self.waits = self.waits, None
        assert handling is not None
        is_future = getattr(waits, "_asyncio_future_blocking", False)  # as a task asks
        if raised is not None and is_future and waits.cancel(*raised.args):
            raised = None  # it hears of it there
        while True:
            try:
                if raised is None:
                    await _First(handling, waits)
                    return handling
            except BaseException as error:  # noqa: BLE001 - it is the handler's
                raised = error
            try:
                waits, raised = handling.throw(raised), None
            except StopIteration:
                return None

    def is_fit(self) -> bool:
        """Return whether it may handle another message: the last one left nothing behind."""
        context = self.context
        if self.is_spoilt or len(context) != self.size:
            return False
        for variable, value in self.kept:  # noqa: SIM110 - a generator costs more than the loop
            if context[variable] is not value:
                return False
        return True

    def end(self, error: BaseException) -> None:
        """Let its task end with an error, at the loop's next turn."""
        self._end = error
        self._workers.loop.call_soon(self.wakeup, self, context=self.context)

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
        if self._end is not None:
            raise self._end

    def cancel(self, msg: Any = None) -> bool:
        """End the idle worker: its task was cancelled."""
        if self not in self._workers.idle:
            self.is_spoilt = True  # at work: what it handles is cancelled where it waits first
            return False
        self._workers.idle.remove(self)
        self.end(asyncio.CancelledError())
        return True


class _First:
    """Awaited by a worker's task in the place of a handler that was begun elsewhere.

    It stands for the handler where somebody looks at what the task waits for.
    """

    __slots__ = ("_handling", "_waits")

    def __init__(self, handling: Handling, waits: Any) -> None:
        self._handling = handling
        self._waits: Any = (waits,)

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._waits:
            raise StopIteration
        (waits,), self._waits = self._waits, ()
        return waits


@types.coroutine
def _rest_of(handling: Handling) -> Generator[Any, Any, None]:
    """Go on with a coroutine that somebody else may have begun, to its end."""
    yield from handling
