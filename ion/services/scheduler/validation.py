"""What one asks the scheduler for, checked and put into its own words."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, get_args

import msgspec

from ion.base.errors import ContentTooLarge, InvalidRequest
from ion.services.scheduler import cron, times
from ion.services.scheduler.model import Kept, Kind, Schedule, State, Target, Task

MAX_ID = 200  # bytes
MAX_TEXT = 1000  # characters
MAX_CONTENT = 64 * 1024  # bytes
MAX_WORD = 255  # characters of service.op
MAX_TIMEOUT = 3600.0
MAX_KEEP = 100
Moment = float | str | None

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def moment_of(name: str, given: Moment, timezone: str) -> float | None:
    """Return a time that was given as seconds since 1970, or as text in ISO 8601.

    :param timezone: what text means that has no offset.
    :raises InvalidRequest: it is neither, or there is no such time zone.
    """
    if not isinstance(given, str):
        return given
    try:
        found = datetime.fromisoformat(given)
        if found.tzinfo is None:
            found = found.replace(tzinfo=cron.zone(timezone))
        return found.timestamp()
    except (ValueError, OverflowError):
        message = f"{name}: {given[:50]!r} is no time, as 2026-11-21T18:15:00+01:00 is"
        raise InvalidRequest(message) from None


def schedule_of(at: Moment, start: Moment, end: Moment, timezone: str, **others: Any) -> Schedule:
    """Return when a task is to be due, with its times as seconds.

    :raises InvalidRequest: one of them is no time.
    """
    return Schedule(
        at=moment_of("at", at, timezone),
        start=moment_of("start", start, timezone),
        end=moment_of("end", end, timezone),
        timezone=timezone,
        **others,
    )


def target_of(call: str, send: str, **others: Any) -> Target:
    """Return what a firing is to be.

    :raises InvalidRequest: it is no op, both are given, or the timeout is none.
    :raises ContentTooLarge: the content is over :data:`MAX_CONTENT`.
    """
    if call and send:
        message = "give call or send, not both; neither: an event is published"
        raise InvalidRequest(message)
    word = call or send
    to, _, op = word.rpartition(".")
    if word and not (to and op and len(word) <= MAX_WORD):
        message = f"{word[:100]!r} is no op: give service.op"
        raise InvalidRequest(message)
    kind: Kind = "call" if call else "send" if send else "event"
    target = Target(kind=kind, to=to, op=op, **others)
    if not 0 < target.timeout <= MAX_TIMEOUT:
        message = f"timeout: seconds, up to {MAX_TIMEOUT:.0f}, not {target.timeout}"
        raise InvalidRequest(message)
    size = len(_encode(target))
    if size > MAX_CONTENT:
        message = f"the content has {size} bytes, over the {MAX_CONTENT} that a task holds"
        raise ContentTooLarge(message, details={"size": size, "limit": MAX_CONTENT})
    return target


def kept_of(
    task_id: str,
    schedule: Schedule,
    target: Target,
    now: float,
    *,
    by: str,
    owner: str,
    description: str,
    keep: int,
) -> Kept:
    """Return what is kept of a new task.

    :raises InvalidRequest: the message says what of it cannot be.
    """
    _check_id(task_id)
    for name, text in (("owner", owner), ("description", description)):
        if len(text) > MAX_TEXT or "\0" in text:
            message = f"{name}: text of at most {MAX_TEXT} characters"
            raise InvalidRequest(message)
    if not 1 <= keep <= MAX_KEEP:
        message = f"keep: 1 to {MAX_KEEP} firings, not {keep}"
        raise InvalidRequest(message)
    now = round(now, 6)  # as due times are: the first interval is a whole one
    times.check(schedule, now)
    given = hashlib.blake2b(_encode((schedule, target, owner, description)), digest_size=16)
    schedule = times.begun(schedule, now)
    task = Task(
        id=task_id,
        schedule=schedule,
        target=target,
        by=by,
        owner=owner,
        description=description,
        created=now,
        due=times.first(schedule, now),
    )
    return Kept(task=task, given=given.digest(), keep=keep)


def _check_id(task_id: str) -> None:
    try:
        is_id = 0 < len(task_id.encode()) <= MAX_ID and task_id.isprintable()
    except UnicodeEncodeError:
        is_id = False
    if not is_id:
        message = f"an id is printable text of 1 to {MAX_ID} bytes, not {task_id[:50]!r}"
        raise InvalidRequest(message)


def check_page(order: list[str], limit: int, orders: tuple[str, ...], most: int) -> None:
    """Refuse a page that is too large, or in no order that there is.

    :raises InvalidRequest: it is.
    """
    if not 1 <= limit <= most:
        message = f"limit: 1 to {most}, not {limit}"
        raise InvalidRequest(message)
    for name in order:
        if name.removeprefix("-") not in orders:
            message = f"order: of {', '.join(orders)}, not {name[:50]!r}"
            raise InvalidRequest(message)


def check_state(state: str) -> None:
    """Refuse to look for tasks in a state that there is none of; "": any.

    :raises InvalidRequest: there is none.
    """
    states = get_args(State)
    if state and state not in states:
        message = f"state: one of {', '.join(states)}, not {state[:50]!r}"
        raise InvalidRequest(message)
