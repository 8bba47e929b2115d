"""What a process may do about its own life and that of others: background tasks, failing, watching.

It is mixed into :class:`~ion.process.process.Process`, and needs no ``__init__``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from ion.base import lifecycle
from ion.base.errors import LifecycleError
from ion.base.tasks import Tasks, close_unbegun, contained
from ion.messaging import codec
from ion.messaging.envelope import MSGPACK
from ion.observe.context import current_call, on_nobodys_behalf
from ion.process.host import Host
from ion.process.serving.incoming import IncomingCall
from ion.process.supervision.exit_reason import ENDED, DownNotice, End, Guardian, text_of

log = logging.getLogger(__name__)
_OVER = (lifecycle.TERMINATED, lifecycle.ERROR)


class Living:
    """Background tasks, failure, death notices and saved state of a process.

    A class may have ``get_state()``, which returns plain data, and ``set_state(state)``. Where its
    supervisor restarts it on request, what the old instance returns is given to the new one between
    ``on_init`` and ``on_activate``; after a failure, what was last saved by :meth:`save_state`.
    """

    id: str
    _host: Host
    _state: str
    _draining: bool
    _tasks: Tasks | None = None
    _ending: asyncio.Future[None] | None = None
    _end: End | None = None
    _hook: asyncio.Task[Any] | None = None
    _guardian: Guardian | None = None
    _is_hurried: bool = True  # whether its hooks have container.start_timeout only
    _keep_state: Callable[[bytes], None] | None = None

    # its own life

    async def terminate(self) -> None:
        """End this process, for the reason ``normal``. From within an op, that is answered first.

        From within ``on_init`` or ``on_activate`` its start fails; for its supervisor, it has
        declined, and is not missed.

        :raises ProcessNotFound: it has ended already.
        """
        if self._state == lifecycle.INIT:  # nobody knows it yet: whoever starts it undoes that
            self._end = self._end or ENDED
            if self._hook is not None:
                self._hook.cancel()
            await asyncio.sleep(0)  # where the hook is cut off
            return
        call = current_call.get()
        if isinstance(call, IncomingCall) and call.process == self.id and call.task is not None:
            call.at_end(self._terminate_later)
            return
        await self._host.terminate_process(self.id, end=ENDED)

    def _terminate_later(self) -> None:
        self._draining = True  # what comes on the heels of the answer is not begun any more
        task = asyncio.ensure_future(self._host.terminate_process(self.id, end=ENDED))
        self._ending = task  # a task that nobody holds may be collected
        task.add_done_callback(_log_failure)

    def run(
        self, work: Coroutine[Any, Any, Any], name: str | None = None, *, own: bool = False
    ) -> asyncio.Task[Any]:
        """Begin a background task that belongs to this process, and return it.

        It is cancelled when the process ends. An exception that leaves it is logged, and is the
        failure of the process; see :meth:`fail`.

        Begun while a message is handled, it speaks for who that message is of: what it sends bears
        their token, however long that lasts. What is to outlast the call speaks for itself.

        :param name: for logs; that of the coroutine by default.
        :param own: it speaks for this process alone, with the token of its container, and is part
            of nobody's call, as what is begun in :meth:`on_activate` is.
        :raises LifecycleError: the process ends, or has ended; ``work`` does not run.
        """
        title = name or str(getattr(work, "__qualname__", "task"))
        if self._end is not None or self._state in _OVER:
            work.close()
            message = f"{self!r} ends: {title!r} was not begun"
            raise LifecycleError(message)
        if self._tasks is None:
            self._tasks = Tasks(self.id or type(self).__name__, on_crash=self._crashed)
        inner = on_nobodys_behalf(work) if own else work
        task = self._tasks.start(contained(inner), title)
        task.add_done_callback(lambda task: close_unbegun(task, inner, work))
        return task

    def fail(self, error: BaseException | str) -> None:
        """End this process as failed: it goes to ERROR at once.

        Its begun calls are answered 500 (an op that returns before it waits for anything again is
        answered with its result), what waits goes back to its queue, ``on_terminate`` is called;
        its supervisor and all who monitor it hear the reason ``error``. Nothing happens where it
        ends already. It does not wait, and does not raise.
        """
        if self._end is None:
            log.error("%r failed: %s", self, text_of(error))
            self._host.fail_process(self, error)

    def save_state(self) -> None:
        """Have the supervisor keep the state of this process, for the instance after a failure.

        It is kept in memory, as of now, until it is saved again or the supervisor ends. Nothing
        happens where no supervisor has started this process.

        :raises LifecycleError: the class has no ``get_state``.
        :raises CodecError: the state is no plain data.
        """
        if not hasattr(self, "get_state"):
            message = f"{type(self).__qualname__} has no get_state: there is nothing to save"
            raise LifecycleError(message)
        data = codec.encode(self.get_state(), MSGPACK)[0]
        if self._keep_state is not None:
            self._keep_state(data)

    async def on_health(self) -> None:
        """Raise where this process cannot do its work now: its container is not ready then.

        Asked every few seconds while it is ACTIVE, beside its messages; has two seconds. What it
        raises is what people read: a sentence that says what is missing.
        """

    # that of others

    async def monitor(self, pid: str) -> None:
        """Have :meth:`on_down` called when a process ends, here or in another container.

        It is called once, however often this is; at once where there is no such process.

        :raises Unavailable: its container does not answer.
        :raises DeadlineExceeded: likewise.
        """
        await self._host.monitor(self, pid, linked=False)

    async def unmonitor(self, pid: str) -> None:
        """Do not hear of the end of a process any more: undo :meth:`monitor`."""
        await self._host.unmonitor(self, pid)

    async def link(self, pid: str) -> None:
        """End this process when another one ends, and that one when this ends; not after a normal
        end.

        Where one was told to end, the other is terminated; else it fails, with a message that says
        why. Nothing happens where it is this process itself. Errors as of :meth:`monitor`, and:

        :raises Forbidden: it is in another container, and that has another key.
        """
        await self._host.monitor(self, pid, linked=True)

    async def unlink(self, pid: str) -> None:
        """Undo a link, whoever of the two has made it."""
        await self._host.unmonitor(self, pid, linked=True)

    async def on_down(self, notice: DownNotice) -> None:
        """Hear that a monitored process has ended. Handled like a message: one after another.

        An exception is logged, and changes nothing. By default the notice is logged.
        """
        log.info("%r: %s (%s) is down: %s", self, notice.pid, notice.name, notice.reason)

    # for the runtime

    def _crashed(self, _: str, error: BaseException) -> None:
        """A background task has failed, which was logged."""
        if self._end is None:
            self._host.fail_process(self, error)

    async def _stop_tasks(self) -> None:
        if self._tasks is not None:
            await self._tasks.stop()

    async def _stop_children(self, deadline: float) -> None:
        """Stop what is to be stopped in an order of its own, before other children are."""


def _log_failure(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.debug("terminate: %s", task.exception())
