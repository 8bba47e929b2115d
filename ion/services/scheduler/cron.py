"""Cron expressions, in time zones: a thin wall around cronsim and the time zone data.

Expressions are those of Debian's cron: five fields, or six with seconds in front; ``L``, ``LW``,
``5#2`` and ``5L`` as well. Where clocks are turned, a job of fixed hours runs once that day (one in
the gap right after it, one in the hour that comes twice the first time); one with ``*`` in its
minutes or hours, or with seconds, goes by the clock on the wall.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from ion.base.errors import ConfigurationError, InvalidRequest

MAX_EXPRESSION = 200  # characters
FIELDS = 5  # without seconds


@functools.cache
def _library() -> Any:
    """Return cronsim.

    :raises ConfigurationError: it is not installed.
    """
    try:
        import cronsim  # only who has cron tasks needs it
    except ImportError:
        message = "cron tasks need cronsim: pip install 'ioncore[scheduler]'"
        raise ConfigurationError(message) from None
    return cronsim


@functools.lru_cache(maxsize=256)
def zone(name: str) -> tzinfo:
    """Return a time zone.

    :raises InvalidRequest: there is none of that name.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found, a path, a folder
        message = (
            f"there is no time zone {name!r}; they are called as Europe/Berlin "
            "(where none is found: pip install 'ioncore[scheduler]')"
        )
        raise InvalidRequest(message) from None


def check(expression: str) -> None:
    """Refuse what is no cron expression, or is never true.

    :raises InvalidRequest: it is not.
    """
    if len(expression) > MAX_EXPRESSION:
        message = f"a cron expression has at most {MAX_EXPRESSION} characters"
        raise InvalidRequest(message)
    wrong = _wrong(expression)
    if wrong is None:
        return
    if _is_day_of_no_month(expression):
        message = f"the cron expression {expression!r} never fires: no such month has that day"
        raise InvalidRequest(message)
    message = f"{expression!r} is no cron expression: {wrong}"
    raise InvalidRequest(message)


def _is_day_of_no_month(expression: str) -> bool:
    """Return whether all that is wrong is that its months never have its days."""
    fields = expression.split()
    if len(fields) not in (FIELDS, FIELDS + 1):
        return False
    *days, month, weekday = fields
    in_any_month = " ".join([*days, "*", weekday])
    return _wrong(in_any_month) is None and _wrong(f"* * * {month} *") is None


def _wrong(expression: str) -> str | None:
    cronsim = _library()
    try:
        cronsim.CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except cronsim.CronSimError as error:
        return str(error)
    except (ValueError, AssertionError, TypeError) as error:  # it trips over some, as "L-3"
        return str(error) or "it cannot be read"
    return None


def after(expression: str, timezone: str, moment: float) -> Iterator[float]:
    """Yield the times of a checked expression that are after a moment, in order.

    It ends where none comes within 50 years.
    """
    begin = datetime.fromtimestamp(moment, zone(timezone))
    last = moment
    for found in _library().CronSim(expression, begin):
        time = found.timestamp()
        if time > last:  # an hour that comes twice would be given twice
            last = time
            yield time


def resolution(expression: str) -> float:
    """Return how many seconds there are between two times of an expression, at least."""
    return 60.0 if len(expression.split()) == FIELDS else 1.0
