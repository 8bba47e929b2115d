"""Background tasks end when their owner does, and none fails in silence."""

from __future__ import annotations

import asyncio
import logging
import sys
import time

import pytest

from ion import IonError
from ion.base import tasks as tasks_module
from ion.base.tasks import Interrupted, Overdue, Tasks, contained, within


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_is_held_while_it_runs_and_forgotten_when_it_is_over():
    group = Tasks("owner")
    go = asyncio.Event()
    task = group.start(go.wait(), "waiter")
    assert group.names == ["owner.waiter"]
    go.set()
    await task
    await asyncio.sleep(0)
    assert len(group) == 0
    assert await group.stop() == []


async def test_stop_asks_first_and_lets_what_heeds_it_finish():
    group = Tasks("owner")
    finished = []

    async def polite() -> None:
        await group.stopping.wait()
        finished.append("polite")

    group.start(polite(), "polite")
    assert await group.stop(timeout=5) == []
    assert finished == ["polite"]


async def test_stop_cancels_what_does_not_end_in_time():
    group = Tasks("owner")
    task = group.start(forever(), "forever")
    assert await group.stop(timeout=0.01) == []
    assert task.cancelled()


async def test_stop_is_bounded_and_names_what_ignores_the_cancellation(monkeypatch, caplog):
    monkeypatch.setattr(tasks_module, "GRACE", 0.02)
    group = Tasks("owner")
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = group.start(stubborn(), "stubborn")
    await asyncio.sleep(0)
    start = time.monotonic()
    assert await group.stop(timeout=0.01) == ["owner.stubborn"]
    assert time.monotonic() - start < 1.0
    assert "owner.stubborn" in caplog.text
    release.set()
    await task


async def test_a_crash_is_logged_once_and_reported(caplog):
    reports = []
    group = Tasks("owner", on_crash=lambda name, error: reports.append((name, error)))

    async def broken() -> None:
        raise ZeroDivisionError("by nothing")

    group.start(broken(), "broken")
    await group.stop(timeout=5)
    [(name, error)] = reports
    assert name == "owner.broken"
    assert isinstance(error, ZeroDivisionError)
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "owner.broken" in record.getMessage()
    assert record.exc_info is not None


async def test_a_cancelled_task_is_no_crash(caplog):
    reports = []
    group = Tasks("owner", on_crash=lambda *report: reports.append(report))
    group.start(forever(), "forever").cancel()
    await group.stop(timeout=5)
    assert reports == []
    assert not caplog.records


async def test_nothing_begins_once_the_group_stops():
    group = Tasks("owner")
    await group.stop()
    with pytest.raises(RuntimeError, match="'late' was not begun"):
        group.start(forever(), "late")
    assert len(group) == 0


async def test_a_task_may_stop_its_own_group():
    group = Tasks("owner")
    other = group.start(forever(), "other")

    async def suicidal() -> list[str]:
        return await group.stop()

    assert await group.start(suicidal(), "self") == []
    assert other.cancelled()


async def test_a_stop_that_is_cancelled_cancels_the_tasks():
    group = Tasks("owner")
    task = group.start(forever(), "forever")
    stop = asyncio.ensure_future(group.stop(timeout=60))
    await group.stopping.wait()
    await asyncio.sleep(0)
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_stop_may_be_called_twice():
    group = Tasks("owner")
    group.start(forever(), "forever")
    assert await asyncio.gather(group.stop(), group.stop()) == [[], []]


# within and contained


async def test_within_gives_what_a_task_gives():
    async def fails() -> None:
        raise ValueError("wrong")

    assert await within(asyncio.ensure_future(asyncio.sleep(0, "done")), 5) == "done"
    assert await within(asyncio.ensure_future(asyncio.sleep(0, "done")), None) == "done"
    with pytest.raises(ValueError, match="wrong"):
        await within(asyncio.ensure_future(fails()), 5)


async def test_within_cuts_off_what_takes_longer():
    task = asyncio.ensure_future(forever())
    with pytest.raises(Overdue):
        await within(task, 0.01)
    assert task.cancelled()


async def test_within_tells_who_was_cancelled():
    task = asyncio.ensure_future(forever())
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(Interrupted):
        await within(task, 5)
    task = asyncio.ensure_future(forever())
    waiting = asyncio.ensure_future(within(task, 5))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert task.cancelled()


async def test_a_sys_exit_in_a_task_is_an_error():
    async def leaves() -> None:
        sys.exit(3)

    with pytest.raises(IonError, match="SystemExit: 3"):
        await asyncio.ensure_future(contained(leaves()))
