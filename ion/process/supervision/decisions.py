"""The state of a supervisor, and what it decides."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal

from ion.base.errors import LifecycleError
from ion.base.fsm import MachineSpec
from ion.process.supervision import spec as s
from ion.process.supervision.actions import Action, Escalate, Finished, Forget, Ready
from ion.process.supervision.children import NOW, Agenda, Child, Children, Occasion, Phase
from ion.process.supervision.spec import ChildSpec, Flags

Reason = Literal["normal", "shutdown", "error"]
NORMAL: Reason = "normal"
SHUTDOWN: Reason = "shutdown"
ERROR: Reason = "error"

NEW = "NEW"
STARTING = "STARTING"
RUNNING = "RUNNING"
ENDING = "ENDING"
ENDED = "ENDED"
MACHINE = MachineSpec(
    "supervision",
    [NEW, STARTING, RUNNING, ENDING, ENDED],
    [
        ("start", NEW, STARTING),
        ("ready", STARTING, RUNNING),
        ("ask", STARTING, STARTING),
        ("ask", RUNNING, RUNNING),
        ("end", [NEW, STARTING, RUNNING], ENDING),
        ("ended", ENDING, ENDED),
    ],
)


class Supervision:
    """The state of a supervisor: it is told what happens, and returns what is to be done.

    Times are in seconds of any one clock that does not go back. Each end of a child is to be told
    once, even where it died while it was being terminated. News of the end of a child that is down
    or unknown is ignored.

    :param flags: how the children are kept running.
    :param children: in the order of starts; a pool begins empty.
    :param draw: where the jitter of back-offs comes from: numbers between 0 and 1.
    :raises ConfigurationError: a child does not fit; the message names the key.
    :ivar phase: NEW, STARTING, RUNNING, ENDING or ENDED.
    """

    def __init__(
        self,
        flags: Flags,
        children: Iterable[ChildSpec] = (),
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.flags = flags
        self.phase = NEW
        self._draw = draw
        self._now = NOW
        self._is_group = flags.strategy in {s.ONE_FOR_ALL, s.REST_FOR_ONE}
        self._children = Children()
        self._agenda = Agenda(self._children, blocking=self._is_group)
        self._first: deque[Child] = deque()  # those whose first start is not complete, and others
        self._restarts: deque[float] = deque()
        self._verdict: Finished | Escalate = Finished("stopped")
        self._actions: list[Action] = []
        for spec in children:
            if flags.strategy == s.POOL:
                message = "strategy: a pool begins empty; its children are added"
                raise s.wrong(message, "strategy")
            self._first.append(self._take(spec, Occasion.FIRST))

    # What may be looked at.

    @property
    def ids(self) -> list[str]:
        """The ids of the children that are known, in the order of starts."""
        return list(self._children.by_id)

    @property
    def restarts(self) -> list[float]:
        """When the restarts were that count against the intensity, as of the last failure."""
        return list(self._restarts)

    def knows(self, id: str) -> bool:
        """Return whether there is a child of that id."""
        return id in self._children.by_id

    def spec_of(self, id: str) -> ChildSpec:
        """Return the spec of a child.

        :raises LifecycleError: there is none of that id.
        """
        return self._children[id].spec

    def phase_of(self, id: str) -> Phase:
        """Return what a child is doing.

        :raises LifecycleError: there is none of that id.
        """
        return self._children[id].phase

    def is_waiting(self, id: str) -> bool:
        """Return whether a child is down, and will be started without anybody asking for it.

        :raises LifecycleError: there is none of that id.
        """
        child = self._children[id]
        return child.wanted and child.phase is Phase.DOWN

    # What is asked for.

    def start(self, at: float) -> list[Action]:
        """Start all children; Ready follows, or Escalate.

        :raises LifecycleError: it was started before.
        """
        self._enter("start")
        return self._proceed(at)

    def stop(self, at: float) -> list[Action]:
        """Terminate all children; once it is ending anyway, this changes nothing."""
        if self.phase not in {ENDING, ENDED}:
            self._end(Finished("stopped"))
        return self._proceed(at)

    def add(self, spec: ChildSpec, at: float) -> list[Action]:
        """Start one more child, after the others. Where its start fails, it is forgotten.

        :raises ConfigurationError: it does not fit; the message names the key.
        :raises LifecycleError: the supervisor was not started, or ends.
        """
        self._enter("ask")
        self._take(spec, Occasion.ADDED)
        return self._proceed(at)

    def terminate(self, id: str, at: float) -> list[Action]:
        """Take a child down until a restart is asked for.

        A temporary one, or one of a pool, is then forgotten.

        :raises LifecycleError: there is none, or the supervisor was not started, or ends.
        """
        return self._take_down(id, at, doomed=False)

    def remove(self, id: str, at: float) -> list[Action]:
        """Take a child down and forget it.

        :raises LifecycleError: there is none, or the supervisor was not started, or ends.
        """
        return self._take_down(id, at, doomed=True)

    def restart(self, id: str, at: float) -> list[Action]:
        """Start a child that is down, without back-off; one that is up is terminated before.

        Its siblings are left alone. Where the start of one that was down for good fails, it stays
        down.

        :raises LifecycleError: there is none, it is temporary or about to be forgotten, or the
            supervisor was not started, or ends.
        """
        self._enter("ask")
        child = self._children[id]
        if child.spec.restart == s.TEMPORARY or child.doomed:
            message = f"child {id!r} cannot be restarted: it is forgotten when it is down"
            raise LifecycleError(message)
        if not child.wanted:
            child.wanted, child.held = True, False
            child.occasion, child.due, child.failures = Occasion.ASKED, NOW, 0
        elif child.phase is Phase.UP:
            child.leaving = True
        elif child.phase is Phase.DOWN:
            for one in self._children.by_id.values() if self._is_group else [child]:
                one.due = NOW
        self._children.note(child)
        return self._proceed(at)

    # What happens.

    def started(self, id: str, at: float) -> list[Action]:
        """Hear that a child has come up.

        :raises LifecycleError: it was not being started.
        """
        child = self._children[id]
        if child.phase is Phase.STARTING:
            child.since, child.occasion = at, Occasion.AGAIN
            self._children.shift(child, Phase.UP)
        elif child.phase is not Phase.STOPPING:  # else it came up before its start was given up
            raise _not_starting(child)
        return self._proceed(at)

    def start_failed(self, id: str, cause: str, at: float) -> list[Action]:
        """Hear that a child has not come up.

        :param cause: for people.
        :raises LifecycleError: it was not being started.
        """
        child = self._children[id]
        if child.phase not in {Phase.STARTING, Phase.STOPPING}:
            raise _not_starting(child)
        return self._over(child, ERROR, at, cause)

    def declined(self, id: str, at: float) -> list[Action]:
        """Hear that a child has ended normally while it was started: it is down, and not missed.

        :raises LifecycleError: it was not being started.
        """
        child = self._children[id]
        if child.phase not in {Phase.STARTING, Phase.STOPPING}:
            raise _not_starting(child)
        self._now = max(self._now, at)
        expected = child.leaving or child.phase is Phase.STOPPING
        child.leaving, child.occasion = False, Occasion.AGAIN
        child.wanted = child.wanted and expected
        self._children.shift(child, Phase.DOWN)
        self._settle(child)
        return self._proceed(at)

    def died(self, id: str, reason: Reason, at: float, cause: str = "") -> list[Action]:
        """Hear that a child has ended by itself.

        :param cause: for people: why, where the reason is ``error``.
        """
        child = self._children.by_id.get(id)
        if child is None or child.phase is Phase.DOWN:
            return []
        return self._over(child, reason, at, cause)

    def stopped(self, id: str, at: float) -> list[Action]:
        """Hear that a child has ended because it was told to, or was killed because it did not."""
        return self.died(id, SHUTDOWN, at)

    def woken(self, at: float) -> list[Action]:
        """Hear that the time that was waited for has come."""
        self._agenda.woken()
        return self._proceed(at)

    # What follows from it.

    def _over(self, child: Child, reason: Reason, at: float, cause: str) -> list[Action]:
        """Take account of the end of a child that was not down."""
        self._now = max(self._now, at)
        before = child.phase
        expected = child.leaving or before is Phase.STOPPING
        child.leaving = False
        self._children.shift(child, Phase.DOWN)
        if expected:
            self._settle(child)
        elif before is Phase.STARTING:
            self._not_started(child, cause or reason)
        else:
            self._ended(child, reason, cause or reason)
        return self._proceed(at)

    def _ended(self, child: Child, reason: Reason, cause: str) -> None:
        """Take account of a child that has ended by itself."""
        restart = child.spec.restart
        if restart == s.PERMANENT or (restart == s.TRANSIENT and reason == ERROR):
            backoff = self.flags.backoff
            if backoff is not None and self._now - child.since >= backoff.reset:
                child.failures = 0
            self._remedy(child, f"died ({cause})")
            return
        child.wanted = False
        self._settle(child)
        if child.spec.significant and self._work_is_done():
            self._end(Finished("shutdown"))

    def _not_started(self, child: Child, cause: str) -> None:
        """Take account of a child that has not come up."""
        if child.occasion is Occasion.AGAIN:
            self._remedy(child, f"did not come up again ({cause})")
        elif child.occasion is Occasion.FIRST:
            self._end(Escalate(f"child {child.spec.id!r} did not come up: {cause}"))
        else:
            child.wanted, child.held = False, True
            child.doomed = child.doomed or child.occasion is Occasion.ADDED
            self._settle(child)

    def _remedy(self, child: Child, what: str) -> None:
        """Restart a child that has failed, and those that go with it, unless it is too often."""
        flags = self.flags
        self._restarts.append(self._now)
        while self._now - self._restarts[0] > flags.period:
            self._restarts.popleft()
        if len(self._restarts) > flags.intensity:
            limit = f"more than {flags.intensity} restarts within {flags.period:g} s"
            self._end(Escalate(f"child {child.spec.id!r} {what}: {limit}"))
            return
        due = self._now
        if flags.backoff is not None:
            due += flags.backoff.delay(child.failures, self._draw())
        child.failures += 1
        for one in self._going_with(child):
            one.due = max(one.due, due)
            self._renew(one)

    def _going_with(self, child: Child) -> list[Child]:
        """Return the children that are restarted together with one."""
        if not self._is_group:
            return [child]
        first = child.place if self.flags.strategy == s.REST_FOR_ONE else 0
        return [one for one in self._children.by_id.values() if one.place >= first]

    def _renew(self, child: Child) -> None:
        """Have a child go down, where it is not, and come back where it may."""
        if child.held:
            return
        child.leaving = child.phase in {Phase.UP, Phase.STARTING}
        if child.spec.restart != s.TEMPORARY:
            child.wanted = True
        elif child.leaving:
            child.wanted = False
        self._children.note(child)

    def _take_down(self, id: str, at: float, *, doomed: bool) -> list[Action]:
        self._enter("ask")
        child = self._children[id]
        child.wanted, child.held = False, True
        child.doomed = child.doomed or doomed
        child.leaving = child.phase in {Phase.UP, Phase.STARTING}
        if child.phase is Phase.DOWN:
            self._settle(child)
        else:
            self._children.note(child)
        return self._proceed(at)

    def _settle(self, child: Child) -> None:
        """Keep a child that is down, or forget it."""
        self._children.note(child)
        stays = child.spec.restart != s.TEMPORARY and self.flags.strategy != s.POOL
        if not child.wanted and (child.doomed or not stays) and self.phase != ENDING:
            self._children.forget(child)
            self._actions.append(Forget(child.spec.id))

    def _end(self, verdict: Finished | Escalate) -> None:
        """Take all children down for good."""
        self._enter("end")
        self._verdict = verdict
        for child in self._children.by_id.values():
            child.wanted = False
            child.leaving = child.phase in {Phase.UP, Phase.STARTING}
            self._children.note(child)

    def _work_is_done(self) -> bool:
        if self.flags.auto_shutdown != s.ALL_SIGNIFICANT:
            return self.flags.auto_shutdown == s.ANY_SIGNIFICANT
        return not any(c.spec.significant and c.wanted for c in self._children.by_id.values())

    def _proceed(self, at: float) -> list[Action]:
        """Return what is to be done now."""
        self._now = max(self._now, at)
        actions, self._actions = self._actions, []
        if self.phase == STARTING and not self._is_first_start():
            self._enter("ready")
            actions.append(Ready())
        if self._is_group or (self.phase != RUNNING and self.flags.strategy != s.POOL):
            actions += self._agenda.one(self._now)
        else:
            actions += self._agenda.all(self._now)
        if self.phase == ENDING and self._children.all_down:
            self._enter("ended")
            actions.append(self._verdict)
        return actions

    def _is_first_start(self) -> bool:
        while self._first:
            child = self._first[0]
            if child.occasion is Occasion.FIRST and child.wanted:
                return True
            self._first.popleft()  # what is over once does not come again
        return False

    def _enter(self, event: str) -> None:
        self.phase = MACHINE.next_state(self.phase, event)

    def _take(self, spec: ChildSpec, occasion: Occasion) -> Child:
        self.flags.check_child(spec, self._children.by_id)
        return self._children.take(spec, occasion)


def _not_starting(child: Child) -> LifecycleError:
    message = f"child {child.spec.id!r} was not being started: it is {child.phase.value}"
    return LifecycleError(message)
