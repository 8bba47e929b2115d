"""When a task is due: pure functions of its schedule, with no clock inside.

Due times of a schedule are a set, fixed when the task is added: which of them have fired is the
task's, and only ever grows, so that none fires twice wherever the clock is set.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import deque
from collections.abc import Iterator

import msgspec

from ion.base.errors import InvalidRequest
from ion.services.scheduler import cron
from ion.services.scheduler.model import Schedule

SHORTEST = 0.01  # seconds between two due times
LATEST = 9_000_000_000.0  # in 2255
LONGEST = 366 * 86400.0  # jitter and grace
LEAST_GRACE = 0.1  # of what is skipped: with none at all, each firing would come too late
COUNTED = 1000  # missed due times are counted so far
MAX_MOST = 1000
_ALWAYS = -math.inf


class Step(msgspec.Struct, frozen=True):
    """What becomes of a task whose time has come.

    :ivar fire: the due time to fire for, or None.
    :ivar missed: due times that nothing is done for; :data:`COUNTED` stands for any more.
    :ivar next: the due time after that; None: there is none.
    """

    fire: float | None
    missed: int
    next: float | None


def check(schedule: Schedule, now: float) -> None:
    """Refuse a schedule that cannot be, or will never be due.

    :raises InvalidRequest: the message says what of it.
    """
    kinds = [schedule.at, schedule.every, schedule.cron]
    if sum(kind is not None for kind in kinds) != 1:
        message = "give one of at (a time), every (seconds) and cron (an expression)"
        raise InvalidRequest(message)
    for name in ("at", "start", "end"):
        _check_time(name, getattr(schedule, name))
    if schedule.every is not None and not SHORTEST <= schedule.every <= LATEST:
        message = f"every: seconds, {SHORTEST} to {LATEST:.0f}, not {schedule.every}"
        raise InvalidRequest(message)
    for name in ("jitter", "grace"):
        if not 0 <= getattr(schedule, name) <= LONGEST:
            message = f"{name}: seconds, 0 to {LONGEST:.0f}, not {getattr(schedule, name)}"
            raise InvalidRequest(message)
    if schedule.misfire == "skip" and schedule.grace < LEAST_GRACE:
        message = (
            f"grace: {LEAST_GRACE} s at least, to skip what was missed: no firing is on the dot"
        )
        raise InvalidRequest(message)
    if not 1 <= schedule.most <= MAX_MOST:
        message = f"most: 1 to {MAX_MOST}, not {schedule.most}"
        raise InvalidRequest(message)
    cron.zone(schedule.timezone)
    if schedule.cron is not None:
        cron.check(schedule.cron)
    _check_fires(schedule, now)


def _check_time(name: str, moment: float | None) -> None:
    if moment is not None and not 0 <= moment <= LATEST:
        message = f"{name}: seconds since 1970, at most {LATEST:.0f}, not {moment}"
        raise InvalidRequest(message)


def _check_fires(schedule: Schedule, now: float) -> None:
    start, end = schedule.start, schedule.end
    if start is not None and end is not None and end < start:
        message = "the task never fires: its end is before its start"
        raise InvalidRequest(message)
    due = first(schedule, now)
    if due is None:
        message = "the task never fires: no due time is left before its end, or within 50 years"
        raise InvalidRequest(message)
    if schedule.misfire == "skip" and due + schedule.jitter + schedule.grace < now:
        message = "the task never fires: its time is over, and it skips what was missed"
        raise InvalidRequest(message)


def begun(schedule: Schedule, now: float) -> Schedule:
    """Return a schedule with the start that its due times are counted from, rounded."""
    start = now if schedule.start is None and schedule.every is not None else schedule.start
    return msgspec.structs.replace(
        schedule,
        at=_rounded(schedule.at),
        start=_rounded(start),
        end=_rounded(schedule.end),
    )


def first(schedule: Schedule, now: float) -> float | None:
    """Return the first due time of a task that is added now; None: there is none.

    A time that is over, ``at``, is due all the same: what is done then is the misfire policy's.
    """
    return after(schedule, _ALWAYS if schedule.at is not None else now)


def after(schedule: Schedule, moment: float) -> float | None:
    """Return the first due time after a moment; None: there is none."""
    return next(_all_after(schedule, moment), None)


def _all_after(schedule: Schedule, moment: float) -> Iterator[float]:
    """Yield the due times after a moment, in order."""
    end = schedule.end if schedule.end is not None else math.inf
    start = schedule.start if schedule.start is not None else _ALWAYS
    found: Iterator[float]
    if schedule.at is not None:
        found = iter([schedule.at] if schedule.at > moment else [])
    elif schedule.every is not None:
        found = _multiples(schedule.start or 0.0, schedule.every, moment)
    else:
        # the start is a due time itself, where the expression is true then
        begin = moment if moment >= start else start - 1.0
        found = cron.after(schedule.cron or "", schedule.timezone, max(begin, 0.0))
    for due in found:
        if due > end:
            return
        if due >= start and due > moment:
            yield due


def _multiples(start: float, every: float, moment: float) -> Iterator[float]:
    """Yield ``start + n * every`` after a moment; no sum of many, so nothing adds up."""
    number = 0 if moment < start else math.floor((moment - start) / every)
    last = moment
    for n in itertools.count(number):
        due = round(start + n * every, 6)
        if due > last:
            last = due
            yield due


def delay(schedule: Schedule, firing: str) -> float:
    """Return how late a firing is by its jitter: the same for the same firing."""
    if not schedule.jitter:
        return 0.0
    digest = hashlib.blake2b(firing.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return schedule.jitter * int.from_bytes(digest) / 2**64


def step(schedule: Schedule, due: float, now: float) -> Step:
    """Decide what becomes of a task that was due at ``due``, and is looked at now, after that."""
    limit = now - schedule.grace - schedule.jitter  # what was due before it was missed
    if due >= limit:
        return Step(due, 0, after(schedule, due))
    if schedule.misfire == "skip":
        there = _at_or_after(schedule, limit)
        return Step(None, _count(schedule, due, limit if there is None else there), there)
    most = schedule.most if schedule.misfire == "all" else 1
    if limit - due < (most - 1) * _least_spacing(schedule):
        return Step(due, 0, after(schedule, due))
    fire = _last_before(schedule, due, limit, most)
    return Step(fire, _count(schedule, due, fire), after(schedule, fire))


def _at_or_after(schedule: Schedule, limit: float) -> float | None:
    return next((due for due in _all_after(schedule, limit - 1.0) if due >= limit), None)


def _count(schedule: Schedule, due: float, end: float) -> int:
    """Return how many due times there are from ``due`` on, and before ``end``."""
    if due >= end:
        return 0
    later = itertools.takewhile(lambda other: other < end, _all_after(schedule, due))
    return 1 + sum(1 for _ in itertools.islice(later, COUNTED - 1))


def _least_spacing(schedule: Schedule) -> float:
    """Return how many seconds there are between two due times, at least."""
    if schedule.cron is None:
        return schedule.every or 0.0
    return cron.resolution(schedule.cron)


def _last_before(schedule: Schedule, due: float, limit: float, most: int) -> float:
    """Return the first one of the last ``most`` due times before a limit, from ``due`` on.

    It looks at windows that grow: who was away for a year has millions of them.
    """
    width = 1.0
    while True:
        begin = max(limit - width, due)
        known = 1 if begin == due else 0
        window = itertools.takewhile(lambda other: other < limit, _all_after(schedule, begin))
        last = deque(window, maxlen=most)
        if len(last) == most:
            return last[0]
        if known:
            return due
        width *= 2


def _rounded(moment: float | None) -> float | None:
    return None if moment is None else round(moment, 6)
