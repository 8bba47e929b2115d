"""What travels to and from the scheduler, and what it keeps.

Times are seconds since 1970, UTC, with microseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

Misfire = Literal["skip", "once", "all"]
Overlap = Literal["skip", "queue"]
Kind = Literal["event", "send", "call"]
State = Literal["active", "paused", "done"]
Outcome = Literal["fired", "running", "done", "failed", "skipped"]

GRACE = 10.0
MOST = 100
TIMEOUT = 15.0
KEEP = 20


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a task is due: ``at`` a time, ``every`` so many seconds from ``start``, or by ``cron``.

    :ivar timezone: of the cron expression.
    :ivar start: no due time is before it; ``start``, ``start + every``, ... are those of ``every``.
    :ivar end: no due time is after it.
    :ivar jitter: seconds; each firing is that late at most, by an amount that its id decides.
    :ivar misfire: what becomes of due times that were missed by more than ``grace`` (and
        ``jitter``) seconds: nothing (``skip``), one firing for all of them (``once``), or a firing
        for each of the last ``most`` of them (``all``).
    """

    at: float | None = None
    every: float | None = None
    cron: str | None = None
    timezone: str = "UTC"
    start: float | None = None
    end: float | None = None
    jitter: float = 0.0
    misfire: Misfire = "once"
    grace: float = GRACE
    most: int = MOST


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a firing is: an event, a message that nobody answers, or a call of an op.

    :ivar to: the service (or process) that is sent to or called; "": an event is published.
    :ivar content: of the message, or of the event.
    :ivar timeout: of a call, seconds.
    :ivar overlap: what becomes of a call that is due while that before it goes on: it is skipped,
        or waits for its end (``queue``); what has waited for long is a misfire.
    """

    kind: Kind = "event"
    to: str = ""
    op: str = ""
    content: Any = None
    timeout: float = TIMEOUT
    overlap: Overlap = "skip"
    origin: str = ""
    origin_type: str = ""
    sub_type: str = ""

    @property
    def word(self) -> str:
        """Return how people call it, and find tasks by it."""
        return f"event:{self.origin}" if self.kind == "event" else f"{self.to}.{self.op}"


class Firing(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One firing of a task.

    :ivar id: ``<task>/<due time>``, the ``message_id`` of what it sends: the same for ever.
    :ivar due: when it was to be; of one by hand, when that was.
    :ivar at: when it was.
    :ivar outcome: ``fired`` (the event or message is on its way), ``running``, ``done`` or
        ``failed`` (a call; or nobody was there to be sent to), ``skipped`` (the call before it went
        on).
    :ivar missed: due times before it that nothing was done for (1,000 at most are counted).
    :ivar tries: how often the call was begun: more than once where its scheduler died.
    :ivar result: of the call; None where it was large.
    :ivar error: why it has failed: code, type and message.
    """

    id: str
    due: float
    at: float
    outcome: Outcome
    missed: int = 0
    tries: int = 1
    ended: float | None = None
    result: Any = None
    error: dict[str, Any] | None = None


class Task(msgspec.Struct, kw_only=True):
    """A task.

    :ivar by: who has added it, as far as that is known: the ``actor`` of its events.
    :ivar owner: whose it is; by default, theirs.
    :ivar state: ``active``; ``paused``; ``done``: it is not due any more, and is kept for a while.
    :ivar due: when it fires next (before its jitter), or would, were it not paused.
    :ivar fired: how many firings there were.
    :ivar missed: due times that nothing was done for.
    :ivar last: its last firing.
    :ivar running: the call that goes on.
    :ivar trouble: why it has not fired though it is due: code, type and message; it is tried again.
    """

    id: str
    schedule: Schedule
    target: Target
    by: str = ""
    owner: str = ""
    description: str = ""
    created: float = 0.0
    state: State = "active"
    due: float | None = None
    fired: int = 0
    missed: int = 0
    last: Firing | None = None
    running: Firing | None = None
    trouble: dict[str, Any] | None = None


class Tasks(msgspec.Struct, frozen=True):
    """Some of many tasks.

    :ivar cursor: gives the next ones; None: these are the last.
    """

    items: list[Task]
    cursor: str | None = None


class Kept(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A task as it is kept.

    :ivar given: what it was added with: who adds it again adds the same.
    :ivar keep: how many firings are remembered.
    :ivar history: the last firings, the oldest first.
    :ivar until: when a running call is lost: its scheduler would have told of its end.
    :ivar ended: when the task was done.
    :ivar wait: when a task in trouble is tried again.
    """

    task: Task
    given: bytes = b""
    keep: int = KEEP
    history: list[Firing] = []
    until: float = 0.0
    ended: float | None = None
    wait: float = 0.0


def firing_id(task: str, due: float) -> str:
    """Return the id of a firing, which is the same whoever makes it, and whenever."""
    return f"{task}/{told(due)}"


def told(moment: float) -> str:
    """Return a time as text, in UTC, to the microsecond."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
