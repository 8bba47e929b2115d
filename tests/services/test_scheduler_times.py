"""When tasks are due: pure functions, so any clock and any time of the year can be tried."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.base.errors import ConfigurationError, InvalidRequest
from ion.services.scheduler import cron, times
from ion.services.scheduler.model import Schedule

NOW = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
YEARS = st.floats(0, 40 * 365 * 86400.0)
# where clocks are turned: in Berlin, in New York, and at midnight in Beirut
TURNS = [1774746000, 1792893600, 1773039600, 1793512800, 1774735200, 1792875600]
NEAR_TURNS = st.tuples(st.sampled_from(TURNS), st.floats(-3e4, 3e4)).map(sum)
MOMENTS = YEARS | NEAR_TURNS
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Beirut", "Asia/Kolkata"])
OFTEN = ["* * * * *", "*/7 * * * *", "0,30 1-3 * * *", "*/20 * * * * *", "*/30 0-1 * * *"]
DAILY = ["30 2 * * *", "15 0 * * *", "0 */5 * * *", "0 30 2 * * *", "0 0 * * *"]
SELDOM = ["0 0 29 2 *", "0 12 L * *", "0 0 * * MON#2", "59 23 31 12 *"]
CRONS = st.sampled_from([*OFTEN, *DAILY, *SELDOM])
steady = settings(max_examples=50, deadline=None, derandomize=True, database=None)
EVERY = st.floats(0.01, 1e7)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    start = draw(st.none() | YEARS)
    rest = {
        "start": start,
        "end": draw(st.none() | st.floats(start or 0.0, 2e9)),
        "misfire": draw(st.sampled_from(["skip", "once", "all"])),
        "grace": draw(st.floats(0, 100)),
        "jitter": draw(st.sampled_from([0.0, 3.0])),
        "most": draw(st.integers(1, 5)),
    }
    match draw(st.integers(0, 2)):
        case 0:
            return Schedule(at=draw(YEARS), **rest)
        case 1:
            return times.begun(Schedule(every=draw(EVERY), **rest), NOW)
    return Schedule(cron=draw(CRONS), timezone=draw(ZONES), **rest)


def local(zone: str, *words: int) -> float:
    return datetime(*words, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[arg-type]


def due_from(schedule: Schedule, moment: float, count: int) -> list[float]:
    found = []
    for _ in range(count):
        due = times.after(schedule, moment)
        if due is None:
            break
        found.append(moment := due)
    return found


@steady
@given(schedules(), MOMENTS)
def test_due_times_only_go_forward_and_stay_within_bounds(
    schedule: Schedule, moment: float
) -> None:
    found = due_from(schedule, moment, 10)
    assert found == sorted(set(found))
    assert all(due > moment for due in found)
    assert all(due >= (schedule.start or 0.0) for due in found)
    assert all(due <= (schedule.end or math.inf) for due in found)


@steady
@given(schedules(), MOMENTS, st.floats(0, 1))
def test_due_times_are_the_same_wherever_one_begins_to_look(
    schedule: Schedule, moment: float, part: float
) -> None:
    found = due_from(schedule, moment, 4)
    for before, due in zip([moment, *found], found, strict=False):
        between = before + (due - before) * part
        if between < due:
            assert times.after(schedule, between) == due


@steady
@given(schedules(), MOMENTS, st.floats(0, 3e7))
def test_a_step_takes_out_all_that_is_over_and_fires_what_the_policy_says(
    schedule: Schedule, moment: float, late: float
) -> None:
    due = times.after(schedule, moment)
    if due is None:
        return
    now = due + late
    step = times.step(schedule, due, now)
    assert step.next is None or step.next > due
    limit = now - schedule.grace - schedule.jitter
    if step.fire is None:
        assert schedule.misfire == "skip"
        assert step.missed > 0
        assert step.next is None or step.next >= limit
        return
    assert due <= step.fire <= now
    assert step.next == times.after(schedule, step.fire)
    if due >= limit:
        assert (step.fire, step.missed) == (due, 0)
    elif schedule.misfire == "once":
        assert step.next is None or step.next >= limit
    else:
        left = due_from(schedule, step.fire, schedule.most)
        assert len([each for each in left if each < limit]) < schedule.most
    assert (step.missed == 0) == (step.fire == due)


@steady
@given(schedules(), st.lists(st.tuples(st.floats(-1e6, 1e6), st.booleans()), max_size=20), MOMENTS)
def test_no_due_time_fires_twice_wherever_the_clock_is_set(
    schedule: Schedule, moves: list[tuple[float, bool]], now: float
) -> None:
    due = times.first(schedule, now)
    fired: list[float] = []
    for seconds, is_jump in moves:
        now += seconds if is_jump else abs(seconds) / 1e4
        for _ in range(10):
            if due is None or due > now:
                break
            step = times.step(schedule, due, now)
            if step.fire is not None:
                fired.append(step.fire)
            due = step.next
    assert fired == sorted(set(fired))


@steady
@given(st.floats(0.1, 100), st.integers(1, 100), st.floats(0, 50))
def test_with_a_clock_that_goes_on_and_policy_all_none_is_lost(
    every: float, count: int, gap: float
) -> None:
    schedule = times.begun(Schedule(every=every, misfire="all", grace=1.0, most=1000), NOW)
    due = times.first(schedule, NOW)
    now, fired = NOW, []
    while len(fired) < count:
        now += gap + 0.01
        while due is not None and due <= now:
            step = times.step(schedule, due, now)
            assert step.missed == 0
            fired.append(step.fire)
            due = step.next
    assert fired == [round(schedule.start + n * every, 6) for n in range(1, len(fired) + 1)]


def test_clocks_are_turned() -> None:
    def days(cron: str, *start: int) -> list[str]:
        schedule = Schedule(cron=cron, timezone="Europe/Berlin")
        found = due_from(schedule, local("Europe/Berlin", *start), 4)
        zone = ZoneInfo("Europe/Berlin")
        return [datetime.fromtimestamp(due, zone).strftime("%d %H:%M %Z") for due in found]

    # on 29 March 2026 there is no 2:30, on 25 October 2026 there are two
    assert days("30 2 * * *", 2026, 3, 28) == [
        *("28 02:30 CET", "29 03:00 CEST", "30 02:30 CEST", "31 02:30 CEST"),
    ]
    assert days("30 2 * * *", 2026, 10, 24) == [
        *("24 02:30 CEST", "25 02:30 CEST", "26 02:30 CET", "27 02:30 CET"),
    ]
    assert days("*/30 * * * *", 2026, 10, 25, 2) == [
        *("25 02:30 CEST", "25 02:00 CET", "25 02:30 CET", "25 03:00 CET"),
    ]
    # an interval is one of time, not of the clock on the wall
    day = times.begun(Schedule(every=86400.0, start=local("Europe/Berlin", 2026, 3, 28, 12)), NOW)
    found = due_from(day, local("Europe/Berlin", 2026, 3, 28, 12), 2)
    assert found == [local("Europe/Berlin", 2026, 3, day, 13) for day in (29, 30)]


def test_leap_days() -> None:
    found = due_from(Schedule(cron="0 0 29 2 *"), NOW, 3)
    assert [datetime.fromtimestamp(due, UTC).year for due in found] == [2028, 2032, 2036]


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        (Schedule(), "one of at"),
        (Schedule(at=NOW, every=1.0), "one of at"),
        (Schedule(cron="0 0 30 2 *"), "never fires: no such month has that day"),
        (Schedule(cron="0 0 31 4,6 *"), "never fires: no such month has that day"),
        (Schedule(cron="0 0 * * MON#6"), "no cron expression"),
        (Schedule(cron="61 * * * *"), "Bad minute"),
        (Schedule(cron="L-3 * * * *"), "no cron expression"),
        (Schedule(cron="0 0 29 2 *", end=NOW + 86400), "never fires"),
        (Schedule(cron="* " * 200), "200 characters"),
        (Schedule(cron="* * * * *", timezone="Mars/Olympus"), "no time zone"),
        (Schedule(cron="* * * * *", timezone="../etc/passwd"), "no time zone"),
        (Schedule(every=1.0, timezone="Mars/Olympus"), "no time zone"),
        (Schedule(every=1.0, start=NOW + 9, end=NOW + 8), "end is before its start"),
        (Schedule(every=1.0, end=NOW - 1), "never fires"),
        (Schedule(at=NOW - 100, misfire="skip"), "skips what was missed"),
        (Schedule(at=math.nan), "since 1970"),
        (Schedule(at=math.inf), "since 1970"),
        (Schedule(every=math.nan), "every"),
        (Schedule(every=0.0), "every"),
        (Schedule(every=1e300), "0.01 to 9000000000, not"),
        (Schedule(every=1.0, jitter=-1.0), "jitter"),
        (Schedule(every=1.0, grace=math.inf), "grace"),
        (Schedule(every=1.0, most=0), "most"),
    ],
)
def test_what_cannot_be_or_never_fires_is_refused(schedule: Schedule, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        times.check(schedule, NOW)


def test_an_outage_of_years_is_over_at_once() -> None:
    due = NOW
    now = NOW + timedelta(days=3650).total_seconds()
    for schedule in (
        Schedule(cron="* * * * * *", start=NOW),
        Schedule(every=0.01, start=NOW),
        Schedule(cron="* * * * *", start=NOW, misfire="all", most=3),
    ):
        step = times.step(schedule, due, now)
        assert step.missed == times.COUNTED
        assert step.fire is not None
        assert now - 4 * 60 < step.fire + schedule.grace < now + 1


@steady
@given(st.text(min_size=1), st.floats(0.001, 1000))
def test_jitter_is_the_same_for_the_same_firing(name: str, jitter: float) -> None:
    schedule = Schedule(every=1.0, jitter=jitter)
    late = times.delay(schedule, name)
    assert 0 <= late <= jitter
    assert late == times.delay(schedule, name)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    cron._library.cache_clear()
    with pytest.raises(ConfigurationError, match=r"pip install 'ioncore\[scheduler\]'"):
        times.check(Schedule(cron="* * * * *"), NOW)
    times.check(Schedule(every=1.0), NOW)
