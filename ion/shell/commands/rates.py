"""Rates from two looks at the numbers of a system: pure functions from answers to rows.

The answers are those of the agents' op ``stats`` (:class:`ion.container.agent.reports.Stats`); keys
that are not there count as nothing, so that an older container can be looked at, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Stats = Mapping[str, Any]
Rows = list[dict[str, Any]]
_DIGITS = 3


class Sample(NamedTuple):
    """What a system did between two looks; a rate is None where there was only one.

    :ivar seconds: between them, by this side's clock.
    :ivar containers: rows by id; ``services`` and ``processes``: the busiest first.
    """

    time: float
    seconds: float
    containers: Rows
    services: Rows
    processes: Rows


def sample(before: Sequence[Stats], after: Sequence[Stats], time: float, seconds: float) -> Sample:
    """Return what was done between two looks.

    :param time: of the second look, seconds since 1970.
    """
    earlier = {str(each.get("container")): each for each in before}
    pairs = []
    for now in sorted(after, key=lambda each: str(each.get("container"))):
        then = earlier.get(str(now.get("container")))
        pairs.append((None if then is None or _is_anew(then, now) else then, now))
    containers = [_container(then, now) for then, now in pairs]
    processes = [row for then, now in pairs for row in _processes(then, now)]
    return Sample(time, seconds, containers, _services(pairs), _busiest(processes))


def _is_anew(then: Stats, now: Stats) -> bool:
    """Tell whether a container of that id was started between two looks."""
    return _number(now, "uptime") < _number(then, "uptime")


def _container(then: Stats | None, now: Stats) -> dict[str, Any]:
    cpu = _rate(then, now, "cpu", _seconds(then, now))
    return {
        "container": now.get("container"),
        "uptime": now.get("uptime"),
        "cpu_percent": None if cpu is None else round(cpu * 100, 1),
        "rss": now.get("rss"),
        "threads": now.get("threads"),
        "lag": now.get("lag"),
        "in_per_s": _rate(then, now, "messages_in", _seconds(then, now)),
        "out_per_s": _rate(then, now, "messages_out", _seconds(then, now)),
        "calls_open": now.get("calls_open"),
        "calls_at_hand": now.get("calls_at_hand"),
        "processes": len(_rows(now, "processes")),
    }


def _processes(then: Stats | None, now: Stats) -> Rows:
    seconds = _seconds(then, now)
    earlier = {each.get("pid"): each for each in _rows(then, "processes")}
    rows = []
    for each in _rows(now, "processes"):
        # One that was not there before has handled all that it has since then.
        since = None if then is None else earlier.get(each.get("pid"), {})
        row = {key: each.get(key) for key in ("pid", "name", "service", "state")}
        rows.append({**row, "container": now.get("container"), **_done(since, each, seconds)})
    return rows


def _done(then: Stats | None, now: Stats, seconds: float) -> dict[str, Any]:
    return {
        "handled_per_s": _rate(then, now, "handled", seconds),
        "failed_per_s": _rate(then, now, "failed", seconds),
        "waiting": now.get("waiting"),
        "active": now.get("active"),
        "handled": now.get("handled"),
        "failed": now.get("failed"),
    }


def _services(pairs: Sequence[tuple[Stats | None, Stats]]) -> Rows:
    """Return one row a service and version, over all containers."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for then, now in pairs:
        earlier = {_key(each): each for each in _rows(then, "services")}
        for each in _rows(now, "services"):
            since = None if then is None else earlier.get(_key(each), {})
            _add(merged, each, _done(since, each, _seconds(then, now)))
    return _busiest(list(merged.values()))


def _add(merged: dict[tuple[str, str], dict[str, Any]], each: Stats, done: Stats) -> None:
    name, version = _key(each)
    row = merged.setdefault((name, version), {"name": name, "version": version})
    for key in ("instances", "in_flight", "handled", "failed"):
        row[key] = row.get(key, 0) + _number(each, key)
    for key in ("handled_per_s", "failed_per_s"):
        rates = [rate for rate in (row.get(key), done[key]) if rate is not None]
        row[key] = round(sum(rates), _DIGITS) if rates else None


def _key(service: Stats) -> tuple[str, str]:
    return str(service.get("name", "")), str(service.get("version", ""))


def _busiest(rows: Rows) -> Rows:
    """Return rows, those first that handle most, then those where most waits."""

    def busy(row: dict[str, Any]) -> tuple[Any, ...]:
        waits = row.get("waiting") or row.get("in_flight") or 0
        return (-(row["handled_per_s"] or 0.0), -waits, -(row.get("handled") or 0))

    return sorted(rows, key=busy)


def _seconds(then: Stats | None, now: Stats) -> float:
    """Return the time between two answers by the clock of who gave them, which may be set."""
    if then is None:
        return 0.0
    return _number(now, "uptime") - _number(then, "uptime")


def _rate(then: Stats | None, now: Stats, key: str, seconds: float) -> float | None:
    if then is None or seconds <= 0:
        return None
    return round(max(_number(now, key) - _number(then, key), 0) / seconds, _DIGITS)


def _rows(answer: Stats | None, key: str) -> list[Stats]:
    value = (answer or {}).get(key)
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _number(answer: Stats, key: str) -> float:
    value = answer.get(key, 0)
    return value if isinstance(value, int | float) else 0
