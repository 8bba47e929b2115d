"""How a process ends, and what becomes of those that call, watch and follow it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from ion import (
    Container,
    LifecycleError,
    Process,
    ProcessNotFound,
    ReceivedContainerError,
    Service,
    StartError,
)
from ion.process.supervision.exit_reason import DownNotice, End

FOREVER = 600.0


async def until(condition: Callable[[], Any]) -> None:
    """Return once a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


class Mortal(Process, name="mortal"):
    """Ends in every way there is."""

    concurrency = 4

    def __init__(self) -> None:
        self.told = 0
        self.cleaned = 0

    async def on_terminate(self) -> None:
        self.told += 1

    async def op_work(self) -> None:
        await asyncio.sleep(FOREVER)

    async def op_raise(self) -> None:
        raise ValueError("only this op")

    async def op_exit(self) -> None:
        sys.exit(3)

    async def op_end(self) -> str:
        await self.terminate()
        return "ended"

    async def op_fail(self) -> None:
        self.fail(RuntimeError("no disk"))
        await asyncio.sleep(FOREVER)

    async def op_crash(self) -> str:
        self.run(self._crash(), "crash")
        return "begun"

    async def op_background(self) -> None:
        self.run(self._background())

    async def _crash(self) -> None:
        raise RuntimeError("in the background")

    async def _background(self) -> None:
        try:
            await asyncio.sleep(FOREVER)
        finally:
            self.cleaned += 1


class Watcher(Process, name="watcher"):
    """Notes what it hears of."""

    mailbox = 1

    def __init__(self) -> None:
        self.heard: list[DownNotice] = []
        self.release = asyncio.Event()
        self.working = 0

    async def on_down(self, notice: DownNotice) -> None:
        assert not self.working
        self.heard.append(notice)
        if notice.reason == "shutdown":
            raise RuntimeError("its watcher stays")

    async def op_work(self) -> None:
        self.working += 1
        await self.release.wait()
        self.working -= 1


class Guard:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.ends: list[End] = []

    def begins(self, process: Process) -> None: ...

    def finishes(self, process: Process) -> None: ...

    def over(self, process: Process, end: End) -> None:
        assert process.state == "TERMINATED"
        self.ends.append(end)


@pytest.fixture
def guard() -> Guard:
    return Guard()


async def spawned(container: Container, guard: Guard | None = None) -> Mortal:
    pid = await container.spawn(Mortal, guardian=guard)
    process = container.processes[pid]
    assert isinstance(process, Mortal)
    return process


async def watching(container: Container, *pids: str) -> Watcher:
    watcher = container.processes[await container.spawn(Watcher)]
    assert isinstance(watcher, Watcher)
    for pid in pids:
        await watcher.monitor(pid)
    return watcher


@pytest.mark.parametrize(
    ("op", "reason", "error"),
    [
        ("end", "normal", ""),
        ("fail", "error", "RuntimeError: no disk"),
        ("exit", "error", "SystemExit in op 'exit': 3"),
        ("crash", "error", "RuntimeError: in the background"),
    ],
)
async def test_what_is_heard_of_an_end(
    container: Container, guard: Guard, op: str, reason: str, error: str
) -> None:
    process = await spawned(container, guard)
    watcher = await watching(container, process.id)
    with contextlib.suppress(ReceivedContainerError):
        await container.rpc_send(process.id, op)
    await until(lambda: watcher.heard and guard.ends)
    assert watcher.heard == [DownNotice(process.id, "mortal", reason, error)]
    assert guard.ends == [End(reason, error)]
    assert process.told == 1
    assert process.id not in container.processes


async def test_a_process_that_ends_itself_begins_nothing_more(container: Container) -> None:
    process = await spawned(container)
    process.concurrency = 1
    ending = asyncio.create_task(container.rpc_send(process.id, "end"))
    waiting = asyncio.create_task(container.rpc_send(process.id, "work", timeout=20))
    assert await ending == "ended"
    for call in (waiting, container.rpc_send(process.id, "work", timeout=20)):
        with pytest.raises(ProcessNotFound):
            await call
    assert process._handled == 1


async def test_an_exception_of_an_op_is_no_end(container: Container) -> None:
    process = await spawned(container)
    for _ in range(2):
        with pytest.raises(ReceivedContainerError, match="only this op"):
            await container.rpc_send(process.id, "raise")
    assert process.state == "ACTIVE"


async def test_a_process_that_fails_answers_what_it_has_begun(container: Container) -> None:
    process = await spawned(container)
    call = asyncio.create_task(container.rpc_send(process.id, "work", timeout=60))
    await until(lambda: process._active)
    process.fail("no disk")
    assert process.state == "ERROR"
    with pytest.raises(ReceivedContainerError, match="failed while it handled 'work'"):
        await call
    await until(lambda: process.state == "TERMINATED")


class Shared(Service, name="shared", concurrency=1):
    """One of several instances."""

    async def op_work(self) -> str:
        if self.spawn_args:
            await asyncio.sleep(FOREVER)
        return self.id


async def test_what_a_failed_instance_has_not_begun_goes_to_the_others(
    container: Container, other: Container
) -> None:
    pid = await container.spawn(Shared, args={"slow": True})
    calls = [asyncio.create_task(other.rpc_send("shared", "work", timeout=60)) for _ in range(5)]
    await until(lambda: container.processes[pid].waiting == 4)
    heir = await other.spawn(Shared)
    container.processes[pid].fail("no disk")
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[1:] == [heir] * 4
    assert isinstance(results[0], ReceivedContainerError)


async def test_background_tasks_end_with_their_process(guard: Guard) -> None:
    async with Container("memory://") as container:
        process = await spawned(container, guard)
        await container.rpc_send(process.id, "background")
        await until(lambda: process._tasks and process._tasks.names)
        await container.terminate_process(process.id)
        assert process.cleaned == 1
        assert guard.ends == [End("shutdown")]
        with pytest.raises(LifecycleError, match="was not begun"):
            process.run(asyncio.sleep(0))


async def test_a_sys_exit_in_a_background_task_ends_its_process_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Container("memory://") as container:
        process = await spawned(container)
        watcher = await watching(container, process.id)

        async def leave() -> None:
            sys.exit(5)

        process.run(leave())
        await until(lambda: watcher.heard)
        assert watcher.heard[0].error == "SystemExit: 5"
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1


@pytest.mark.parametrize("first", ["terminate", "fail"])
async def test_of_two_ends_at_once_the_first_one_is_told(guard: Guard, first: str) -> None:
    async with Container("memory://") as container:
        process = await spawned(container, guard)
        watcher = await watching(container, process.id)
        ending = [asyncio.create_task(container.terminate_process(process.id))]
        if first == "terminate":
            await asyncio.sleep(0)
        process.fail("broken")
        ending.append(asyncio.create_task(container.terminate_process(process.id)))
        await asyncio.gather(*ending)
        await until(lambda: watcher.heard)
        reason = {"terminate": "shutdown", "fail": "error"}[first]
        assert [end.reason for end in guard.ends] == [reason]
        assert [notice.reason for notice in watcher.heard] == [reason]
        assert process.told == 1


class Starting(Process):
    """Fails, exits, ends or hangs in its hooks."""

    how = ""
    released = False

    async def on_activate(self) -> None:
        if self.how == "fail":
            self.fail("gave up")
        elif self.how == "task":
            self.run(self._crash())
        elif self.how == "terminate":
            await self.terminate()
        elif self.how == "exit":
            sys.exit(1)
        elif self.how == "base":
            raise BaseException("odd")  # noqa: TRY002 - the oddest there is
        elif self.how == "cancel":
            raise asyncio.CancelledError
        await asyncio.sleep(FOREVER)

    async def _crash(self) -> None:
        raise RuntimeError("helper broke")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("fail", "gave up"),
        ("task", "helper broke"),
        ("terminate", "terminated while it started"),
        ("exit", "SystemExit: 1"),
        ("base", "odd"),
        ("cancel", "cancelled from within"),
    ],
)
async def test_a_start_that_ends_in_between_fails(
    monkeypatch: pytest.MonkeyPatch, how: str, why: str
) -> None:
    monkeypatch.setattr(Starting, "how", how)
    async with Container("memory://") as container:
        with pytest.raises(StartError, match=why):
            await container.spawn(Starting)
        assert len(container.processes) == 1


async def test_a_hook_that_heeds_no_cancellation_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def deaf(self: Starting) -> None:
        while not Starting.released:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(FOREVER)

    monkeypatch.setattr(Starting, "on_activate", deaf)
    async with Container("memory://", config={"container.start_timeout": 0.05}) as container:
        with pytest.raises(StartError, match="took longer"):
            await container.spawn(Starting)
    assert "does not heed" in caplog.text
    monkeypatch.setattr(Starting, "released", True)


# watching


async def test_of_no_such_process_one_hears_at_once(container: Container, other: Container) -> None:
    gone = [f"{container.id}.99", f"{other.id}.99", "nowhere.1", "no-pid"]
    watcher = await watching(container, *gone)
    await until(lambda: len(watcher.heard) == len(gone))
    assert {notice.pid for notice in watcher.heard} == set(gone)
    assert {notice.reason for notice in watcher.heard} == {"no such process"}


async def test_across_containers_each_end_is_heard_once(
    container: Container, other: Container
) -> None:
    process = await spawned(other)
    watchers = [await watching(container, process.id, process.id) for _ in range(3)]
    here = await watching(other, process.id)
    await watchers[0].unmonitor(process.id)
    process.fail("no disk")
    await until(lambda: watchers[1].heard and watchers[2].heard and here.heard)
    notice = DownNotice(process.id, "mortal", "error", "no disk")
    assert [watcher.heard for watcher in (*watchers, here)] == [[], [notice], [notice], [notice]]


async def test_a_container_that_stops_tells_of_all_its_processes(
    container: Container, bus: tuple[str, dict[str, object]]
) -> None:
    url, config = bus
    async with Container(url, sysname="test", config=config) as third:
        pids = [(await spawned(third)).id for _ in range(5)]
        watcher = await watching(container, *pids)
    await until(lambda: len(watcher.heard) == len(pids))
    assert {(notice.pid, notice.reason) for notice in watcher.heard} == {
        (pid, "shutdown") for pid in pids
    }
    assert watcher.state == "ACTIVE"  # though its hook raised


async def test_a_lost_container_is_told_once() -> None:
    name = "memory://notices-lost"
    async with Container(name) as one, Container(name) as two:
        process = await spawned(two)
        watcher, there = await watching(one, process.id), await watching(two)
        await there.monitor(watcher.id)
        one.notices.lost(two.id)
        one.notices.lost(two.id)
        await until(lambda: watcher.heard)
        assert [notice.reason for notice in watcher.heard] == ["lost"]
        await one.terminate_process(watcher.id)
        assert not one.notices._watched
        assert not one.notices._watching


async def test_a_notice_waits_for_its_turn_and_for_room() -> None:
    async with Container("memory://") as container:
        process, another = await spawned(container), await spawned(container)
        watcher = await watching(container, process.id, another.id)
        work = asyncio.create_task(container.rpc_send(watcher.id, "work", timeout=60))
        await until(lambda: watcher.working)
        process.fail("first")
        another.fail("second, and the mailbox is full")
        await until(lambda: watcher.waiting == 1)
        assert watcher.heard == []
        watcher.release.set()
        await work
        await until(lambda: len(watcher.heard) == 2)


async def test_a_watcher_that_is_gone_leaves_nothing(
    container: Container, other: Container
) -> None:
    process, near = await spawned(other), await spawned(container)
    watcher = await watching(container, process.id, near.id)
    assert other.notices._watched
    await container.terminate_process(watcher.id)
    await until(lambda: not other.notices._watched)
    assert not container.notices._watched
    assert not container.notices._watching


@pytest.mark.parametrize(
    ("op", "state"), [("end", "ACTIVE"), ("fail", "TERMINATED"), ("none", "TERMINATED")]
)
async def test_links(container: Container, other: Container, op: str, state: str) -> None:
    process, follower = await spawned(other), await spawned(container)
    watcher = await watching(container, follower.id)
    last = await spawned(other)
    await follower.link(process.id)
    await follower.monitor(last.id)
    if op == "none":
        await other.terminate_process(process.id)
    else:
        with contextlib.suppress(ReceivedContainerError):
            await other.rpc_send(process.id, op)
    await until(lambda: process.state == "TERMINATED")
    await until(lambda: not container.notices._watching.get(follower.id, {}).get(process.id))
    await until(lambda: follower.state == state)
    if state == "ACTIVE":
        return
    await until(lambda: watcher.heard)
    expected = {"fail": "error", "none": "shutdown"}[op]
    assert watcher.heard[0].reason == expected
    assert ("no disk" in watcher.heard[0].error) == (op == "fail")


async def test_state_is_saved_where_there_is_something_to_save() -> None:
    async with Container("memory://") as container:
        process = await spawned(container)
        with pytest.raises(LifecycleError, match="no get_state"):
            process.save_state()
        with pytest.raises(ProcessNotFound):
            await container.terminate_process("nobody.1")


class Hoarder(Service, name="hoarder"):
    """Keeps what it handles, as a task does that a handler begins."""

    async def op_keep(self) -> None:
        self.kept = self.message


async def test_a_service_that_has_ended_is_freed_whatever_it_keeps(container: Container) -> None:
    """What was delivered is not tracked: it led back to its channel's taker, for ever."""
    ended = []
    for _ in range(3):
        pid = await container.spawn(Hoarder)
        await container.rpc_send("hoarder", "keep")
        ended.append(weakref.ref(container.processes[pid]))
        await container.terminate_process(pid)

    def is_freed() -> bool:
        gc.collect()  # the memory bus forgets the last one that took when there is another
        return sum(process() is not None for process in ended) <= 1

    await until(is_freed)
