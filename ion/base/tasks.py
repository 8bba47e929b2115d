"""Background tasks that have a name, an owner and an end.

Contract: a task of a group is held until it is over (a task that nobody holds may be collected);
one that crashes is logged once and reported; :meth:`Tasks.stop` ends all of them in bounded time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from ion.base.errors import IonError

log = logging.getLogger(__name__)
GRACE = 1.0  # seconds for a cancelled task to clean up

OnCrash = Callable[[str, BaseException], None]


class Tasks:
    """A group of background tasks with one owner.

    :param owner: who they belong to, for names and logs.
    :param on_crash: called with the name and the error of a task that failed; must not raise.
    :ivar stopping: set as soon as the group is asked to stop; a long-running task waits for it.
    """

    __slots__ = ("_on_crash", "_tasks", "owner", "stopping")

    def __init__(self, owner: str, *, on_crash: OnCrash | None = None) -> None:
        self.owner = owner
        self.stopping = asyncio.Event()
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def names(self) -> list[str]:
        """The names of the tasks that are not over, sorted."""
        return sorted(task.get_name() for task in self._tasks)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Begin ``work`` as a task named ``<owner>.<name>``.

        :raises RuntimeError: the group is stopping; ``work`` is closed and does not run.
        """
        if self.stopping.is_set():
            work.close()
            message = f"{self.owner} is stopping: {name!r} was not begun"
            raise RuntimeError(message)
        task = asyncio.get_running_loop().create_task(work, name=f"{self.owner}.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    async def stop(self, timeout: float = 0.0) -> list[str]:
        """Ask all tasks to end, wait ``timeout`` seconds, then cancel what is left.

        May be called twice, and by a task of the group, which is then left alone. It takes at most
        ``timeout`` and one second; cancelled itself, it cancels all tasks at once.

        :returns: the names of the tasks that did not even heed the cancellation.
        """
        self.stopping.set()
        tasks = self._tasks - {asyncio.current_task()}
        try:
            tasks = await _wait(tasks, timeout)
        finally:
            for task in tasks:
                task.cancel()
        left = sorted(task.get_name() for task in await _wait(tasks, GRACE))
        if left:
            log.error("%s: tasks do not end: %s", self.owner, ", ".join(left))
        return left

    def cancel(self) -> None:
        """Cancel all tasks, and wait for none."""
        self.stopping.set()
        for task in self._tasks:
            task.cancel()

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        log.error("task %s failed: %s", task.get_name(), error, exc_info=error)
        if self._on_crash is not None:
            self._on_crash(task.get_name(), error)


async def contained(work: Coroutine[Any, Any, Any]) -> Any:
    """Await ``work``, with a sys.exit() in it as an error: in a task it would end the program.

    So is a GeneratorExit that it raises, which would look as if it had been closed.

    :raises IonError: of type SystemExit or GeneratorExit.
    """
    task = asyncio.current_task()
    try:
        return await work
    except SystemExit as error:
        message = f"SystemExit: {error.code}"
        raise IonError(message, type="SystemExit") from error
    except GeneratorExit as error:
        if not is_running(task):
            raise
        message = f"GeneratorExit: {error}"
        raise IonError(message, type="GeneratorExit") from error


def close_unbegun(task: asyncio.Task[Any], *inner: Coroutine[Any, Any, Any]) -> None:
    """Close what a task was to await: cancelled before it began, it has awaited none of it.

    Python warns of that where it is collected. What was begun has ended with the task.
    """
    if task.cancelled():
        for work in inner:
            work.close()


def is_running(task: asyncio.Task[Any] | None) -> bool:
    """Tell whether a task is the one that runs now: one whose coroutine is closed is not."""
    try:
        return task is not None and asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False


class Overdue(TimeoutError):
    """A task took longer than it was given."""


class Interrupted(RuntimeError):
    """A task was cancelled, and not by whoever awaited it."""


async def within(hook: asyncio.Task[Any], timeout: float | None) -> Any:
    """Return the result of a task, or raise its exception.

    It is cancelled after ``timeout`` seconds (None: never), or with whoever awaits this, and left
    behind where it does not heed that within a second.

    :raises Overdue: it took longer.
    :raises Interrupted: it was cancelled by others.
    """
    try:
        done, _ = await asyncio.wait({hook}, timeout=None if timeout is None else max(timeout, 0))
    finally:
        if not hook.done():
            hook.cancel()
            await asyncio.wait({hook}, timeout=GRACE)
            if not hook.done():
                log.error("task %s does not heed its cancellation", hook.get_name())
        if hook.done() and not hook.cancelled():
            hook.exception()  # raised below, or of no interest any more
    if not done:
        message = f"{hook.get_name()} took longer than {timeout} s"
        raise Overdue(message)
    if hook.cancelled():
        message = f"{hook.get_name()} was cancelled"
        raise Interrupted(message)
    return hook.result()


async def _wait(tasks: set[asyncio.Task[Any]], timeout: float) -> set[asyncio.Task[Any]]:
    """Return those of ``tasks`` that are not over after ``timeout`` seconds."""
    if not tasks:
        return tasks
    _, pending = await asyncio.wait(tasks, timeout=max(timeout, 0.0))
    return pending
