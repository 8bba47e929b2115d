"""Supervisors at work: what OTP's documentation promises, with children that really fail."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ion import (
    ChildSpec,
    Container,
    StartError,
    Supervisor,
)
from tests.process.supervised import EVENTS, FOREVER, Child, tree, until, watcher_of


@pytest.fixture(autouse=True)
def no_events() -> None:
    EVENTS.clear()
    Child.broken = ""
    Child.released = False


# strategies


@pytest.mark.parametrize(
    ("strategy", "events"),
    [
        ("one_for_one", "-b +b"),
        ("rest_for_one", "-b -c +b +c"),
        ("one_for_all", "-b -c -a +a +b +c"),
    ],
)
async def test_who_goes_with_a_child_that_fails(
    container: Container, strategy: str, events: str
) -> None:
    here = await tree(container, "a", "b", "c", strategy=strategy)
    before = {name: here.child(name) for name in "abc"}
    await here.fail("b")
    await until(lambda: len(EVENTS) == len(events.split()))
    await here.up(*"abc")
    assert events.split() == EVENTS
    for name in "abc":
        is_same = here.child(name) is before[name]
        assert is_same == (f"+{name}" not in events)
    assert events.split() == EVENTS


@pytest.mark.parametrize(
    ("restart", "how", "comes_back"),
    [
        ("permanent", "end", True),
        ("permanent", "terminate", True),
        ("permanent", "fail", True),
        ("transient", "end", False),
        ("transient", "terminate", False),
        ("transient", "fail", True),
        ("temporary", "end", False),
        ("temporary", "terminate", False),
        ("temporary", "fail", False),
    ],
)
async def test_who_comes_back(restart: Any, how: str, comes_back: bool) -> None:
    async with Container("memory://") as container:
        here = await tree(container, ChildSpec(id="a", target=Child, restart=restart), "last")
        before = here.child("a")
        assert before is not None
        if how == "end":
            await container.rpc_send(before.id, "end")
        elif how == "terminate":
            await container.terminate_process(before.id)
        else:
            before.fail("told to")
        await until(lambda: before.state == "TERMINATED")
        if comes_back:
            await here.up("a")
            assert here.child("a") is not before
            return
        await until(lambda: here.phases().get("a") != "up")
        await here.fail("last")
        await here.up("last")
        assert here.phases() == ({} if restart == "temporary" else {"a": "down"}) | {"last": "up"}


# intensity


async def test_too_many_failures_end_the_supervisor(container: Container) -> None:
    here = await tree(container, "a", "b", intensity=2, period=60)
    watcher = await watcher_of(container, here.supervisor.id)
    for _ in range(2):
        await here.fail("a")
        await here.up("a", "b")
    await here.fail("a")
    await until(lambda: watcher.heard)
    notice = watcher.heard[0]
    assert (notice.reason, notice.name) == ("error", "tree")
    assert "'a' died (told to): more than 2 restarts within 60 s" in notice.error
    assert EVENTS[-2:] == ["-a", "-b"]
    assert {p.name for p in container.processes.values()} == {"agent", "Watcher"}


async def test_a_supervisor_that_fails_is_restarted_by_its_own() -> None:
    low = {"children": [{"id": "a", "class": "tests.process.supervised:Child"}], "intensity": 0}
    specs = [ChildSpec(id="low", target=Supervisor, args=low), ChildSpec(id="b", target=Child)]
    async with Container("memory://") as container:
        here = await tree(container, *specs)
        pids = set(container.processes)
        first = next(p for p in container.processes.values() if p.name == "a")
        first.fail("told to")
        await until(lambda: EVENTS.count("+a") == 1)
        await until(lambda: set(here.phases().values()) == {"up"})
        names = sorted(p.name for p in container.processes.values())
        assert names == ["a", "agent", "b", "low", "tree"]
        assert len(set(container.processes) - pids) == 2
        rows = {row["id"]: row for row in here.supervisor.which_children()}
        assert (rows["low"]["kind"], rows["low"]["restarts"]) == ("supervisor", 1)
        assert here.supervisor.count_children() == {
            "specs": 2,
            "active": 2,
            "supervisors": 1,
            "workers": 1,
        }


async def test_a_failure_waits_for_its_back_off_longer_each_time() -> None:
    backoff = {"first": 0.05, "factor": 4, "jitter": False}
    async with Container("memory://") as container:
        here = await tree(container, "a", backoff=backoff)
        waits = []
        for _ in range(2):
            await here.fail("a")
            began = time.monotonic()
            await here.up("a")
            waits.append(time.monotonic() - began)
        assert waits[0] >= 0.04
        assert waits[1] >= 0.18
        child = here.child("a")
        assert child is not None
        assert child.describe()["restarts"] == 2


# the first start, and the end


@pytest.mark.parametrize("broken", ["raise", "base", "exit"])
async def test_where_a_child_does_not_come_up_at_first_nothing_stays(
    container: Container, broken: str
) -> None:
    Child.broken = f"{broken} c"
    specs = [ChildSpec(id=name, target=Child) for name in "abcd"]
    with pytest.raises(StartError, match="child 'c' did not come up"):
        await container.spawn(Supervisor, args={"children": specs})
    assert EVENTS == ["+a", "+b", "-c", "-b", "-a"]
    assert len(container.processes) == 1


@pytest.mark.parametrize("broken", ["raise", "base", "exit"])
async def test_a_restart_that_fails_is_tried_again(broken: str) -> None:
    async with Container("memory://") as container:
        here = await tree(container, "a")
        Child.broken = broken
        await here.fail("a")
        await until(lambda: EVENTS.count("-a") > 3)
        Child.broken = ""
        await here.up("a")
        assert here.supervisor.state == "ACTIVE"


async def test_a_child_that_blocks_the_loop_comes_up_all_the_same() -> None:
    async with Container("memory://") as container:
        here = await tree(container, "a", "b")
        Child.broken = "block"
        await here.fail("a")
        await here.up("a", "b")


@pytest.mark.parametrize("how", ["terminate", "stop"])
async def test_children_stop_in_reverse(container: Container, how: str) -> None:
    here = await tree(container, *"abcde")
    if how == "terminate":
        await container.terminate_process(here.supervisor.id)
    else:
        await container.stop()
    assert EVENTS == ["-e", "-d", "-c", "-b", "-a"]
    assert here.supervisor.state == "TERMINATED"


@pytest.mark.parametrize("budget", [0.0, 0.05])
async def test_a_child_that_does_not_end_is_left_behind(
    budget: float, caplog: pytest.LogCaptureFixture
) -> None:
    spec = ChildSpec(id="b", target=Child, args={"deaf": True}, shutdown=budget)
    async with Container("memory://") as container:
        here = await tree(container, "a", spec, "c")
        began = time.monotonic()
        await container.terminate_process(here.supervisor.id)
        assert time.monotonic() - began < 15
        assert EVENTS == ["-c", "-b", "-a"]
    assert "does not heed" in caplog.text
    Child.released = True


async def test_the_time_of_a_supervisor_is_also_that_of_its_children() -> None:
    spec = ChildSpec(id="slow", target=Child, args={"deaf": True}, shutdown=FOREVER)
    async with Container("memory://") as container:
        here = await tree(container, "a", spec)
        began = time.monotonic()
        await container.terminate_process(here.supervisor.id, timeout=0.05)
        assert time.monotonic() - began < 15
    Child.released = True


@pytest.mark.parametrize("how", ["hang", "deaf"])
async def test_a_supervisor_ends_while_a_child_is_starting(how: str) -> None:
    async with Container("memory://") as container:
        here = await tree(container, "a", "b")
        Child.broken = how
        await here.fail("b")
        await until(lambda: "?b" in EVENTS)
        await container.terminate_process(here.supervisor.id)
        assert len(container.processes) == 1
    assert EVENTS[-1] == "-a"
    Child.released = True


async def test_a_first_start_that_nobody_awaits_any_more_is_undone() -> None:
    Child.broken = "hang b"
    specs = [ChildSpec(id=name, target=Child) for name in "abc"]
    async with Container("memory://") as container:
        start = asyncio.create_task(container.spawn(Supervisor, args={"children": specs}))
        await until(lambda: "?b" in EVENTS)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        assert EVENTS == ["+a", "?b", "-b", "-a"]
        assert len(container.processes) == 1


@pytest.mark.parametrize(
    ("auto_shutdown", "ends"),
    [("any_significant", ["a"]), ("all_significant", ["a", "b"])],
)
async def test_the_end_of_the_work(auto_shutdown: str, ends: list[str]) -> None:
    workers = [
        ChildSpec(id=name, target=Child, restart="transient", significant=True) for name in "ab"
    ]
    async with Container("memory://") as container:
        here = await tree(container, "helper", *workers, auto_shutdown=auto_shutdown)
        watcher = await watcher_of(container, here.supervisor.id)
        for name in ends:
            assert watcher.heard == []
            child = here.child(name)
            assert child is not None
            await container.rpc_send(child.id, "end")
            await until(lambda child=child: child.state == "TERMINATED")  # type: ignore[misc]
        await until(lambda: watcher.heard)
        assert watcher.heard[0].reason == "shutdown"
        assert len(container.processes) == 2


async def test_ten_thousand_children_start_and_stop_in_order() -> None:
    count = 10_000
    specs = [ChildSpec(id=f"c{n}", target=Child) for n in range(count)]
    async with Container("memory://") as container:
        began = time.monotonic()
        pid = await container.spawn(Supervisor, args={"children": specs})
        up = time.monotonic()
        await container.terminate_process(pid)
        down = time.monotonic()
    names = [spec.id for spec in specs]
    assert EVENTS[:count] == [f"+{name}" for name in names]
    assert EVENTS[count:] == [f"-{name}" for name in reversed(names)]
    print(f"{count} children: up in {up - began:.1f} s, down in {down - up:.1f} s")
