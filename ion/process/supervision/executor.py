"""A process that does what a supervisor's decisions say.

What is decided is decided in :mod:`ion.process.supervision`, which is pure; here it is done: each
start and each end of a child is a task, whose outcome is told to the decisions, and what these say
next is begun, without waiting for anything.
"""

from __future__ import annotations

import asyncio
import logging

from ion.base.errors import ProcessNotFound, StartError
from ion.base.tasks import Tasks
from ion.observe.context import current_call
from ion.process.process import Process
from ion.process.supervision.actions import (
    Action,
    Escalate,
    Finished,
    Forget,
    Ready,
    Start,
    Terminate,
    Wait,
)
from ion.process.supervision.children import Phase
from ion.process.supervision.decisions import ENDED, NORMAL, Supervision
from ion.process.supervision.exit_reason import STOPPED, End, text_of
from ion.process.supervision.instance import Instance
from ion.process.supervision.requests import DOWN, UP, Requests
from ion.process.supervision.spec import ChildSpec

log = logging.getLogger(__name__)


class Executor(Process):
    """Base of supervisors: it drives the decisions of one :class:`Supervision`."""

    _is_hurried = False  # its children's hooks have limits of their own
    _until: float | None = None  # when all must be down, once it ends

    def _drive(self, core: Supervision) -> None:
        """Take the decisions that are to be done; to be called by ``__init__``."""
        self._core = core
        self._instances: dict[str, Instance] = {}
        self._saved: dict[str, bytes] = {}
        self._starts: dict[str, int] = {}
        self._requests = Requests()
        self._timer: asyncio.TimerHandle | None = None
        self._work = Tasks("supervisor")
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def on_activate(self) -> None:
        """Start the children. A subclass that overrides this awaits it."""
        self._act(self._core.start(self._now()))
        await self._ready

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _act(self, actions: list[Action]) -> None:
        """Begin what was decided, in order; nothing once the container was killed."""
        for action in () if self._work.stopping.is_set() else actions:
            match action:
                case Start():
                    self._begin_start(self._core.spec_of(action.id))
                case Terminate():
                    self._begin_end(self._instances[action.id], action.budget)
                case Wait():
                    self._wait(action.until)
                case Ready():
                    if not self._ready.done():  # its start may have been given up
                        self._ready.set_result(None)
                case Forget():
                    self._forget(action.id)
                case Finished() | Escalate():
                    self._conclude(action)

    def _begin_start(self, spec: ChildSpec) -> None:
        before = self._starts.get(spec.id, 0)
        self._starts[spec.id] = before + 1
        instance = Instance(spec.id, before, self._saved, self._ended)
        self._instances[spec.id] = instance
        instance.task = self._work.start(self._start(spec, instance), f"start {spec.id}")

    async def _start(self, spec: ChildSpec, instance: Instance) -> None:
        current_call.set(None)  # a restart is on nobody's behalf: not on that of whom it died of
        instance.has_begun = True
        if instance.is_given_up:
            self._not_started(instance, "it was given up")
            return
        try:
            instance.pid = await self._host.spawn(
                spec.target, name=spec.id, args=spec.args, parent=self.id, guardian=instance
            )
        except asyncio.CancelledError:
            self._not_started(instance, "it was given up")
        except StartError as error:
            if error.details.get("reason") == NORMAL:
                self._declined(instance)
            else:
                self._not_started(instance, text_of(error.__cause__ or error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the child has not come up
            self._not_started(instance, text_of(error))
        else:
            instance.is_up = True
            self._act(self._core.started(spec.id, self._now()))
            if self._core.phase_of(spec.id) is Phase.UP:
                self._requests.met(spec.id, UP)

    def _not_started(self, instance: Instance, cause: str) -> None:
        if self._ready.done() and not self._ready.cancelled():  # else who starts it knows, or did
            log.warning("%r: child %r did not start: %s", self, instance.id, cause)
        actions = self._core.start_failed(instance.id, cause, self._now())
        self._down(instance.id, actions, cause)

    def _declined(self, instance: Instance) -> None:
        """Hear that a child has ended itself while it started: that is as it should be."""
        log.info("%r: child %r has declined to start", self, instance.id)
        self._act(self._core.declined(instance.id, self._now()))
        self._requests.met(instance.id, UP)
        self._requests.met(instance.id, DOWN)

    def _ended(self, instance: Instance, end: End) -> None:
        """Hear of the end of a child that was up."""
        cause = end.error or end.reason
        actions = self._core.died(instance.id, end.reason, self._now(), end.error)
        self._down(instance.id, actions, cause)

    def _down(self, id: str, actions: list[Action], cause: str) -> None:
        self._act(actions)
        self._requests.met(id, DOWN)
        if not self._core.knows(id) or (self._is_down(id) and not self._core.is_waiting(id)):
            self._requests.failed(id, f"child {id!r} did not come up: {cause}")

    def _is_down(self, id: str) -> bool:
        return self._core.phase_of(id) is Phase.DOWN

    def _begin_end(self, instance: Instance, budget: float | None) -> None:
        if not instance.is_up:
            instance.give_up()
            return
        left = self._host.drain_timeout if budget is None else budget
        if self._until is not None:
            left = min(left, max(self._until - self._now(), 0.0))
        self._work.start(self._end_child(instance.pid, left), f"end {instance.id}")

    async def _end_child(self, pid: str, timeout: float) -> None:
        try:
            await self._host.terminate_process(pid, timeout=timeout)
        except ProcessNotFound:
            log.debug("%s has ended already", pid)

    def _wait(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(until, self._woken, until)

    def _woken(self, until: float) -> None:
        self._timer = None
        self._act(self._core.woken(max(until, self._now())))

    def _forget(self, id: str) -> None:
        self._instances.pop(id, None)
        self._saved.pop(id, None)
        self._starts.pop(id, None)

    def _conclude(self, verdict: Finished | Escalate) -> None:
        """All children are down, and nothing more is to be done; so it ends, if it does not yet."""
        if self._timer is not None:
            self._timer.cancel()
        self._done.set_result(None)
        self._requests.close(f"supervisor {self.id} {self.name} has ended")
        if not self._ready.done():
            why = verdict.reason
            self._ready.set_exception(StartError(why))
            self._ready.exception()  # seen, even where its start was given up
        elif isinstance(verdict, Escalate):
            self.fail(verdict.reason)
        elif verdict.reason == "shutdown":
            self._work.start(self._end_self(), "end")

    async def _end_self(self) -> None:
        try:
            await self._host.terminate_process(self.id, end=STOPPED)
        except ProcessNotFound:
            log.debug("%s has ended already", self.id)

    async def _stop_children(self, deadline: float) -> None:
        """Stop all children in reverse; after ``deadline``, each at once."""
        self._until = deadline
        if self._core.phase != ENDED:
            self._act(self._core.stop(self._now()))
        await self._done

    def _abandon(self) -> None:
        super()._abandon()
        self._work.cancel()
        if self._timer is not None:
            self._timer.cancel()
