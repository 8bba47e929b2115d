"""Scenarios of OTP's documentation of supervisors that need real processes, and several of them.

docs/reference/supervision.md says which test stands for which scenario.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ion import ChildSpec, Container, Supervisor
from tests.process.supervised import EVENTS, MANY, Child, Tree, tree, until, watcher_of

CHILD = "tests.process.supervised:Child"
AT_ONCE = {"backoff": None, "period": 3600}


@pytest.fixture(autouse=True)
def no_events() -> None:
    EVENTS.clear()
    Child.broken = ""
    Child.released = False


@pytest.fixture
async def host() -> Any:
    async with Container("memory://") as container:
        yield container


def names(container: Container) -> list[str]:
    return sorted(process.name for process in container.processes.values())


def restarts(here: Tree) -> dict[str, int]:
    return {row["id"]: row["restarts"] for row in here.supervisor.which_children()}


def process(container: Container, name: str) -> Any:
    return next(p for p in container.processes.values() if p.name == name)


# the end


class Slow(Child):
    """Takes as long to end as the test wants."""

    released_by_test: asyncio.Event

    async def on_terminate(self) -> None:
        await super().on_terminate()
        EVENTS.append("waits")
        await Slow.released_by_test.wait()
        EVENTS.append("done")


@pytest.mark.parametrize("kind", ["worker", "supervisor"])
async def test_without_a_limit_a_child_has_the_time_of_its_container(
    host: Container, kind: str
) -> None:
    Slow.released_by_test = asyncio.Event()
    spec = ChildSpec(id="slow", target=Slow, shutdown=None)
    if kind == "supervisor":
        args = {"children": [spec], **MANY}
        spec = ChildSpec(id="low", target=Supervisor, args=args, shutdown=None)
    here = await tree(host, "a", spec)
    stop = asyncio.create_task(host.terminate_process(here.supervisor.id, timeout=60))
    await until(lambda: "waits" in EVENTS)
    assert "a" in names(host)  # its turn comes when the slow one has ended
    Slow.released_by_test.set()
    await stop
    assert EVENTS == ["-slow", "waits", "done", "-a"]


@pytest.mark.parametrize("budget", [0.0, 0.05, None])
@pytest.mark.parametrize("strategy", ["one_for_one", "pool"])
async def test_a_child_that_dies_while_it_is_told_to_end_has_ended(
    host: Container, strategy: str, budget: float | None
) -> None:
    here = await tree(host, strategy=strategy)
    for name in "abc":
        await here.supervisor.start_child(ChildSpec(id=name, target=Child, shutdown=budget))
    children = [here.child(name) for name in "abc"]
    stop = asyncio.create_task(host.terminate_process(here.supervisor.id))
    await asyncio.sleep(0)
    for child in children:
        assert child is not None
        child.fail("at the same time")
    await stop
    assert names(host) == ["agent"]
    assert [event for event in EVENTS if event[0] == "+"] == ["+a", "+b", "+c"]


class Meeting(Child):
    """Ends when all of its kind are ending."""

    ending = 0

    async def on_terminate(self) -> None:
        Meeting.ending += 1
        await until(lambda: Meeting.ending == 20)
        await super().on_terminate()


async def test_the_children_of_a_pool_end_at_the_same_time(host: Container) -> None:
    Meeting.ending = 0
    template = ChildSpec(id="m", target=Meeting, shutdown=None)
    here = await tree(host, strategy="pool", template=template)
    for _ in range(20):
        await here.supervisor.start_one()
    await host.terminate_process(here.supervisor.id, timeout=60)
    assert len(EVENTS) == 40
    assert names(host) == ["agent"]


# giving up


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one", "pool"])
async def test_too_many_failures_are_the_end_with_every_strategy(
    host: Container, strategy: str
) -> None:
    here = await tree(host, strategy=strategy, intensity=2, **AT_ONCE)
    for name in "abc":
        await here.supervisor.start_child(ChildSpec(id=name, target=Child))
    watcher = await watcher_of(host, here.supervisor.id)
    for name in "ab":
        await here.fail(name)
        await until(lambda: set(here.phases().values()) == {"up"})
    await here.fail("c")
    await until(lambda: watcher.heard)
    assert (watcher.heard[0].reason, names(host)) == ("error", ["Watcher", "agent"])


async def test_failures_are_handed_up_level_by_level(host: Container) -> None:
    """Each level allows one restart: the leaf may fail three times, and the fourth is the end."""
    low = {"children": [{"id": "leaf", "class": CHILD}], "intensity": 1, **AT_ONCE}
    spec = ChildSpec(id="low", target=Supervisor, args=low)
    here = await tree(host, spec, intensity=1, **AT_ONCE)
    watcher = await watcher_of(host, here.supervisor.id)
    lows = []
    for failures in range(1, 4):
        lows.append(process(host, "low").id)
        process(host, "leaf").fail("told to")
        await until(lambda failures=failures: EVENTS.count("+leaf") == failures)  # type: ignore[misc]
        await until(lambda: here.phases() == {"low": "up"})
    assert lows == [lows[0], lows[0], lows[2]]
    assert lows[0] != lows[2]
    process(host, "leaf").fail("told to")
    await until(lambda: watcher.heard)
    assert EVENTS.count("-leaf") == 4
    assert names(host) == ["Watcher", "agent"]


async def test_a_transient_supervisor_that_gave_up_is_restarted(host: Container) -> None:
    """OTP would leave it: there, one that gives up ends with the reason ``shutdown``."""
    low = {"children": [{"id": "leaf", "class": CHILD}], "intensity": 0}
    spec = ChildSpec(id="low", target=Supervisor, args=low, restart="transient")
    here = await tree(host, spec)
    process(host, "leaf").fail("told to")
    await until(lambda: restarts(here) == {"low": 1} and here.phases() == {"low": "up"})


@pytest.mark.parametrize(("restart", "comes_back"), [("permanent", True), ("transient", False)])
async def test_a_supervisor_whose_work_is_done(
    host: Container, restart: Any, comes_back: bool
) -> None:
    worker = {"id": "work", "class": CHILD, "restart": "transient", "significant": True}
    low = {"children": [worker], "auto_shutdown": "any_significant"}
    here = await tree(host, ChildSpec(id="low", target=Supervisor, args=low, restart=restart), "a")
    first = process(host, "low")
    await host.rpc_send(process(host, "work").id, "end")
    await until(lambda: first.state == "TERMINATED")
    if comes_back:
        await until(lambda: here.phases() == {"low": "up", "a": "up"})
        assert process(host, "low") is not first
        return
    await until(lambda: here.phases() == {"low": "down", "a": "up"})
    await here.fail("a")
    await here.up("a")
    assert here.phases()["low"] == "down"


async def test_significant_and_taken_down_by_a_sibling_or_on_request(host: Container) -> None:
    worker = ChildSpec(id="work", target=Child, restart="transient", significant=True)
    here = await tree(host, "a", worker, strategy="one_for_all", auto_shutdown="any_significant")
    await here.fail("a")
    await here.up("a", "work")
    await here.supervisor.terminate_child("work")
    assert here.supervisor.state == "ACTIVE"


# what can be asked


async def test_the_order_of_children_is_that_of_their_starts(host: Container) -> None:
    here = await tree(host, *"abc", strategy="rest_for_one")
    await here.supervisor.start_child(ChildSpec(id="d", target=Child))
    await here.fail("b")
    await here.up(*"abcd")
    await here.supervisor.restart_child("a")
    assert list(here.phases()) == list("abcd")
    await here.supervisor.delete_child("a")
    await here.supervisor.start_child(ChildSpec(id="a", target=Child))
    assert list(here.phases()) == list("bcda")
    EVENTS.clear()
    await host.terminate_process(here.supervisor.id)
    assert EVENTS == ["-a", "-d", "-c", "-b"]


async def test_those_that_wait_for_a_restart_are_counted_as_not_active(host: Container) -> None:
    backoff = {"first": 600.0, "cap": 600.0, "jitter": False}
    here = await tree(host, "a", "b", backoff=backoff)
    await here.fail("a")
    assert here.phases() == {"a": "waiting", "b": "up"}
    counted = here.supervisor.count_children()
    assert counted == {"specs": 2, "active": 1, "supervisors": 0, "workers": 2}
    await here.supervisor.terminate_child("a")
    assert here.phases() == {"a": "down", "b": "up"}
    await here.supervisor.delete_child("a")
    assert here.phases() == {"b": "up"}


async def test_nothing_is_kept_of_temporary_children(host: Container) -> None:
    template = ChildSpec(id="t", target=Child, restart="temporary", args={"value": 7})
    here = await tree(host, strategy="pool", template=template)
    pids = [await here.supervisor.start_one() for _ in range(500)]
    for number, pid in enumerate(pids):
        if number % 2:
            host.processes[pid].fail("told to")
        else:
            await here.supervisor.terminate_child(host.processes[pid].name)
    await until(lambda: not here.supervisor.which_children())
    supervisor = here.supervisor
    kept = (supervisor._instances, supervisor._starts, supervisor._saved)
    assert kept == ({}, {}, {})
    assert supervisor._core.restarts == []
    assert names(host) == ["agent", "tree"]


async def test_a_temporary_bystander_is_lost_with_its_group_and_nobody_else(
    host: Container,
) -> None:
    specs = [ChildSpec(id="t", target=Child, restart="temporary"), "a", "b"]
    here = await tree(host, *specs, strategy="one_for_all")
    await here.fail("b")
    await here.up("a", "b")
    assert here.phases() == {"a": "up", "b": "up"}
    assert EVENTS == ["-b", "-a", "-t", "+a", "+b"]
