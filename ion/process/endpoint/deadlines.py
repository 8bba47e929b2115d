"""Deadlines of many calls on one timer, at the cost of one comparison a call.

The calls stand in tables already, by their ids. One timer is set for the earliest deadline that
was ever announced; when it fires, the tables are looked through for what has expired, and the
timer is set for the earliest of what is left. Calls that end in time, nearly all, cost nothing
more. A deadline fires 0 to 10 ms late; looking is done every 10 ms at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from ion.base.errors import BadRequest, DeadlineExceeded
from ion.observe.context import CallContext

TICK = 0.010
NEVER = float("inf")
LONGEST = 1e12  # seconds; in milliseconds it fits the headers that say it


def end_of(timeout: float, context: CallContext | None, now: float) -> float:
    """Return when a call that begins now must be over, on the loop's clock.

    :param timeout: seconds.
    :param context: the call that it is a part of, and must not outlast.
    :raises BadRequest: ``timeout`` is no number of seconds.
    :raises DeadlineExceeded: that call should be over.
    """
    if not isinstance(timeout, (int, float)) or not 0 < timeout <= LONGEST:
        message = f"timeout must be a number of seconds above 0, not {timeout!r}"
        raise BadRequest(message)
    deadline = now + timeout
    if context is not None and 0 < context.deadline < deadline:
        deadline = context.deadline
        if deadline <= now:
            message = "the deadline of the call that is being handled has passed"
            raise DeadlineExceeded(message)
    return deadline


class Expires(Protocol):
    """What has a deadline.

    :ivar deadline: on the loop's clock, seconds; 0.0 = none.
    """

    deadline: float

    def expire(self) -> None:
        """Called at the deadline, perhaps more than once; must not raise."""


class Begun(Expires, Protocol):
    """A conversation that another side began, as an endpoint sees it."""

    def cancel(self, cause: str) -> None:
        """Cancel its handler."""


class Deadlines:
    """The deadlines of the calls in some tables.

    :param tables: looked through; a call is in one of them as long as its deadline matters.
    :ivar earliest: when they are looked through next. Whoever adds a call with an earlier deadline
        calls :meth:`announce`.
    """

    __slots__ = ("_loop", "_tables", "_timer", "earliest")

    def __init__(self, loop: asyncio.AbstractEventLoop, *tables: Mapping[Any, Expires]) -> None:
        self._loop = loop
        self._tables = tables
        self._timer: asyncio.TimerHandle | None = None
        self.earliest = NEVER

    def announce(self, deadline: float) -> None:
        """Look through the tables at ``deadline`` (on the loop's clock), or before."""
        if deadline >= self.earliest:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.earliest = deadline
        self._timer = self._loop.call_at(deadline, self._look)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.earliest = NEVER

    def _look(self) -> None:
        self._timer = None
        self.earliest = NEVER
        now = self._loop.time()
        nearest = NEVER
        for table in self._tables:
            for call in list(table.values()):
                deadline = call.deadline
                if not deadline:
                    continue
                if deadline <= now:
                    call.expire()
                elif deadline < nearest:
                    nearest = deadline
        if nearest < NEVER:
            self.announce(max(nearest, now + TICK))
