"""The children of a supervisor: what each is doing, and what is to be done about them."""

from __future__ import annotations

import enum
import heapq
import itertools
from collections import Counter

import msgspec

from ion.base.errors import LifecycleError
from ion.process.supervision.actions import Action, Start, Terminate, Wait
from ion.process.supervision.spec import ChildSpec

NOW = float("-inf")  # the time before which a start that need not wait is not due


class Phase(enum.Enum):
    """What a child is doing."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


class Occasion(enum.Enum):
    """Why a child is started; it says what a start that fails means."""

    FIRST = "first"  # with the supervisor, which fails
    ADDED = "added"  # it is forgotten
    ASKED = "asked"  # it stays down
    AGAIN = "again"  # it counts as one more failure


class Child(msgspec.Struct, eq=False):
    """A child and what is to become of it.

    :ivar place: in the order of starts.
    :ivar wanted: whether it is to be up, now or after it went down.
    :ivar leaving: whether it is to be terminated, and was not yet.
    :ivar held: whether it went down on request.
    :ivar doomed: whether it is forgotten when it is down.
    :ivar since: when it came up.
    :ivar due: it is not started before.
    :ivar failures: in a row.
    """

    spec: ChildSpec
    place: int
    occasion: Occasion
    phase: Phase = Phase.DOWN
    wanted: bool = True
    leaving: bool = False
    held: bool = False
    doomed: bool = False
    since: float = 0.0
    due: float = NOW
    failures: int = 0

    @property
    def is_to_start(self) -> bool:
        """Whether it is down, and is to be up."""
        return self.wanted and self.phase is Phase.DOWN


class Children:
    """The table of the children, in the order of starts.

    :ivar by_id: all that are known.
    :ivar work: those that are to be terminated or started; the heaps know which comes first, and
        may also hold some that are not to be any more: many children cost no more than few.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Child] = {}
        self.work: dict[str, Child] = {}
        self._places = 0
        self._count: Counter[Phase] = Counter()
        self._to_end: list[tuple[int, int, Child]] = []
        self._to_start: list[tuple[int, int, Child]] = []
        self._pushed = itertools.count().__next__  # no two children are compared

    def __getitem__(self, id: str) -> Child:
        try:
            return self.by_id[id]
        except KeyError:
            message = f"there is no child {id!r}"
            raise LifecycleError(message) from None

    @property
    def all_down(self) -> bool:
        """Whether none is up, comes up or goes down."""
        count = self._count
        return not (count[Phase.UP] or count[Phase.STARTING] or count[Phase.STOPPING])

    def has(self, phase: Phase) -> bool:
        """Return whether any child is in that phase."""
        return self._count[phase] > 0

    def take(self, spec: ChildSpec, occasion: Occasion) -> Child:
        """Take a child in, as the last one; it is to be started."""
        self._places += 1
        child = self.by_id[spec.id] = Child(spec, self._places, occasion)
        self.note(child)
        return child

    def forget(self, child: Child) -> None:
        """Know a child no more that is down."""
        del self.by_id[child.spec.id]

    def shift(self, child: Child, phase: Phase) -> None:
        """Have a child do something else."""
        self._count[child.phase] -= 1
        self._count[phase] += 1
        child.phase = phase
        self.note(child)

    def note(self, child: Child) -> None:
        """Remember whether there is anything to be done about a child."""
        if child.leaving:
            heapq.heappush(self._to_end, (-child.place, self._pushed(), child))
        elif child.is_to_start:
            heapq.heappush(self._to_start, (child.place, self._pushed(), child))
        else:
            self.work.pop(child.spec.id, None)
            return
        self.work[child.spec.id] = child

    def disorder(self) -> None:
        """Take note that the order of what is to be done now is of no interest."""
        self._to_end.clear()
        self._to_start.clear()

    def last_to_end(self) -> Child | None:
        """Return the last one that is to be terminated."""
        while self._to_end and not self._to_end[0][2].leaving:
            heapq.heappop(self._to_end)
        return self._to_end[0][2] if self._to_end else None

    def first_to_start(self) -> Child | None:
        """Return the first one that is to be started, now or later."""
        while self._to_start and not self._to_start[0][2].is_to_start:
            heapq.heappop(self._to_start)
        return self._to_start[0][2] if self._to_start else None


class Agenda:
    """What is done next about the children: one after the other, or each by itself.

    :param blocking: whether a start that is not due yet keeps those after it waiting.
    """

    def __init__(self, children: Children, *, blocking: bool) -> None:
        self._children = children
        self._blocking = blocking
        self._armed: float | None = None  # the time that was last asked for

    def woken(self) -> None:
        """Take note that the time that was asked for has come."""
        self._armed = None

    def one(self, now: float) -> list[Action]:
        """Terminate the last one that is to be, or else start the first one that is to be; nothing
        while one is still at it.
        """
        children = self._children
        if children.has(Phase.STOPPING):
            return []
        leaving = children.last_to_end()
        if leaving is not None:
            return [self._terminate(leaving)]
        first = children.first_to_start()
        if first is None or children.has(Phase.STARTING):
            return []
        if first.due <= now:
            return [self._start(first)]
        candidates = [first] if self._blocking else sorted(children.work.values(), key=_place)
        for child in candidates:
            if child.due <= now:
                return [self._start(child)]
        return self._wait(candidates)

    def all(self, now: float) -> list[Action]:
        """Terminate and start whatever is to be."""
        self._children.disorder()
        actions: list[Action] = []
        waiting = []
        for child in list(self._children.work.values()):
            if child.leaving:
                actions.append(self._terminate(child))
            elif child.due <= now:
                actions.append(self._start(child))
            else:
                waiting.append(child)
        return actions + self._wait(waiting)

    def _start(self, child: Child) -> Action:
        self._children.shift(child, Phase.STARTING)
        return Start(child.spec.id)

    def _terminate(self, child: Child) -> Action:
        child.leaving = False
        self._children.shift(child, Phase.STOPPING)
        return Terminate(child.spec.id, child.spec.shutdown)

    def _wait(self, waiting: list[Child]) -> list[Action]:
        until = min((child.due for child in waiting), default=self._armed)
        if until is None or until == self._armed:
            return []
        self._armed = until
        return [Wait(until)]


def _place(child: Child) -> int:
    return child.place
