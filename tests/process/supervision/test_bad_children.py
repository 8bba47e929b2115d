"""Children that behave badly: nobody survives that should not, and the supervisor lives or gives up
as is written in docs/explanation/supervision.md.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ion import (
    ChildSpec,
    Container,
    Process,
    ReceivedContainerError,
    StartError,
    Supervisor,
)
from ion.base import tasks
from ion.base.errors import LifecycleError
from tests.process.supervised import (
    EVENTS,
    FOREVER,
    MANY,
    Child,
    Tree,
    deaf,
    tree,
    until,
    watcher_of,
)

ODD: list[type[BaseException]] = [
    ValueError,
    SystemExit,
    GeneratorExit,
    asyncio.CancelledError,
    BaseException,
    KeyboardInterrupt,
]
ALWAYS = float("inf")
ODDITIES = [odd.__name__ for odd in ODD if odd is not KeyboardInterrupt]


class Bad(Child):
    """Does in a hook, or in an op, what its class says; each time, or only ``times`` times."""

    where = ""
    what = ""
    times = ALWAYS
    instances: list[Bad] = []  # noqa: RUF012

    def __init__(self, value: int = 0) -> None:
        super().__init__(value)
        Bad.instances.append(self)
        if Bad.where == "__init__":
            self._sync()

    async def on_init(self) -> None:
        await self._do("on_init")

    async def on_activate(self) -> None:
        await super().on_activate()
        await self._do("on_activate")

    async def on_terminate(self) -> None:
        await super().on_terminate()
        await self._do("on_terminate")

    async def op_do(self) -> str:
        await self._do("op")
        return "done"

    async def op_in_background(self) -> None:
        self.run(self._do("task"))

    def get_state(self) -> int:
        if Bad.where == "get_state":
            self._sync()
        return self.value

    def set_state(self, state: int) -> None:
        if Bad.where == "set_state":
            self._sync()
        self.value = state

    def _sync(self) -> None:
        if Bad.times > 0:
            Bad.times -= 1
            for odd in ODD:
                if odd.__name__ == Bad.what:
                    raise odd("odd")

    async def _do(self, where: str) -> None:
        if Bad.where != where or Bad.times <= 0:
            return
        if Bad.what == "deaf":
            await deaf()
        elif Bad.what == "hang":
            EVENTS.append(f"?{self.name}")
            await asyncio.sleep(FOREVER)
        elif Bad.what == "block":
            time.sleep(0.3)  # noqa: ASYNC251 - as bad code does
        elif Bad.what == "spawn":
            await self.spawn_child(Child, name="small")
            raise ValueError("and dies")
        else:
            self._sync()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Any:
    EVENTS.clear()
    Child.broken, Child.released = "", False
    Bad.where = Bad.what = ""
    Bad.times = ALWAYS
    Bad.instances.clear()
    monkeypatch.setattr(tasks, "GRACE", 0.05)
    yield
    Child.released = True


@pytest.fixture
async def host() -> AsyncIterator[Container]:
    async with Container("memory://", config={"container.drain_timeout": 2.0}) as container:
        yield container
    Child.released = True


def names(container: Container) -> list[str]:
    return sorted(process.name for process in container.processes.values())


async def bad(container: Container, *before: str, **flags: Any) -> Tree:
    """Start a tree whose last child is a bad one."""
    return await tree(container, *before, ChildSpec(id="bad", target=Bad, shutdown=0.1), **flags)


def misbehave(where: str, what: str, times: float = ALWAYS) -> None:
    Bad.where, Bad.what, Bad.times = where, what, times


# what is raised, and where


@pytest.mark.parametrize("what", ODDITIES)
@pytest.mark.parametrize("where", ["__init__", "on_init", "on_activate"])
async def test_what_is_raised_at_the_first_start_fails_the_supervisor_s(
    host: Container, where: str, what: str
) -> None:
    misbehave(where, what)
    specs = [ChildSpec(id="a", target=Child), ChildSpec(id="bad", target=Bad)]
    with pytest.raises(StartError, match="child 'bad' did not come up"):
        await host.spawn(Supervisor, args={"children": specs})
    assert names(host) == ["agent"]
    assert EVENTS[0] == "+a"
    assert EVENTS[-1] == "-a"


@pytest.mark.parametrize("what", ODDITIES)
@pytest.mark.parametrize("where", ["on_init", "on_activate", "set_state"])
async def test_what_is_raised_at_a_restart_is_one_more_failure(
    host: Container, where: str, what: str
) -> None:
    here = await bad(host, "a")
    child = here.child("bad")
    assert isinstance(child, Bad)
    child.save_state()
    misbehave(where, what, times=3)
    await here.fail("bad")
    await here.up("bad")
    # a state that is refused is dropped: the second try goes well
    assert here.supervisor.which_children()[1]["restarts"] == (2 if where == "set_state" else 4)
    assert names(host) == ["a", "agent", "bad", "tree"]


@pytest.mark.parametrize("what", ODDITIES)
@pytest.mark.parametrize("where", ["on_terminate", "get_state"])
async def test_what_is_raised_at_the_end_changes_nothing(
    host: Container, where: str, what: str
) -> None:
    here = await bad(host, "a")
    misbehave(where, what)
    await here.supervisor.restart_child("bad")
    await here.supervisor.terminate_child("bad")
    assert here.phases() == {"a": "up", "bad": "down"}
    await host.terminate_process(here.supervisor.id)
    assert names(host) == ["agent"]


@pytest.mark.parametrize(
    ("what", "is_end"),
    [
        ("ValueError", False),
        ("BaseException", False),
        ("CancelledError", False),
        ("GeneratorExit", False),
        ("SystemExit", True),
    ],
)
async def test_what_an_op_raises(host: Container, what: str, is_end: bool) -> None:
    here = await bad(host, "a")
    before = here.child("bad")
    assert before is not None
    misbehave("op", what, times=1)
    with pytest.raises(ReceivedContainerError):
        await host.rpc_send(before.id, "do")
    if is_end:
        await until(lambda: here.child("bad") not in (None, before))
    now = here.child("bad")
    assert (now is not before) == is_end
    assert now is not None
    assert await host.rpc_send(now.id, "do") == "done"


@pytest.mark.parametrize("what", sorted({*ODDITIES} - {"CancelledError"}))
async def test_what_a_background_task_raises_is_the_failure_of_its_process(
    host: Container, what: str
) -> None:
    here = await bad(host, "a")
    before = here.child("bad")
    assert before is not None
    misbehave("task", what, times=1)
    await host.rpc_send(before.id, "in_background")
    await until(lambda: here.child("bad") not in (None, before))
    assert before.state == "TERMINATED"


# what does not end


@pytest.mark.parametrize("what", ["hang", "deaf"])
@pytest.mark.parametrize("where", ["on_init", "on_activate"])
async def test_a_start_that_never_ends_is_a_failed_one(where: str, what: str) -> None:
    config = {"container.start_timeout": 0.05}
    async with Container("memory://", config=config) as container:
        here = await bad(container, "a")
        misbehave(where, what)
        await here.fail("bad")
        await until(lambda: here.supervisor.which_children()[1]["restarts"] >= 3)
        Bad.where = ""
        await here.up("bad")
        assert names(container) == ["a", "agent", "bad", "tree"]
    Child.released = True


@pytest.mark.parametrize("where", ["on_terminate", "op", "task"])
async def test_one_that_ignores_its_cancellation_is_left_behind(
    host: Container, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = await bad(host, "a")
    child = here.child("bad")
    assert child is not None
    misbehave(where, "deaf")
    call: asyncio.Task[Any] | None = None
    if where == "op":
        call = asyncio.create_task(host.rpc_send(child.id, "do", timeout=60))
        await until(lambda: child._active)
    if where == "task":
        await host.rpc_send(child.id, "in_background")
    began = time.monotonic()
    await host.terminate_process(here.supervisor.id)
    assert time.monotonic() - began < 15
    assert names(host) == ["agent"]
    assert EVENTS[-1] == "-a"  # the one before it was stopped all the same
    if call is not None:
        with pytest.raises(ReceivedContainerError):
            await call
    else:
        assert "heed" in caplog.text or "do not end" in caplog.text


async def test_one_that_blocks_the_loop_is_waited_for_and_holds_up_all(host: Container) -> None:
    here = await bad(host, "a")
    for where in ("on_init", "on_activate", "on_terminate"):
        misbehave(where, "block")
        await here.supervisor.restart_child("bad")
    misbehave("op", "block")
    child = here.child("bad")
    assert child is not None
    calls = host.rpc_send(child.id, "do"), host.rpc_send(here.supervisor.id, "count_children")
    done, counted = await asyncio.gather(*calls)
    assert (done, counted["active"]) == ("done", 2)


# what dies again and again


async def test_one_that_fails_a_thousand_times_comes_back_a_thousand_times(
    host: Container,
) -> None:
    here = await bad(host, "a", intensity=2000, period=3600)
    for number in range(1, 1001):
        await here.fail("bad")
        await until(lambda: here.phases()["bad"] == "up")
        if number % 250 == 0:
            gc.collect()
            assert sum(each.state != "TERMINATED" for each in Bad.instances) == 1
    row = here.supervisor.which_children()[1]
    assert (row["restarts"], names(host)) == (1000, ["a", "agent", "bad", "tree"])
    assert host.notices._watched == {}
    assert len(here.supervisor._work) == 0


async def test_one_that_never_comes_back_up_ends_its_supervisor_after_so_many_times(
    host: Container,
) -> None:
    here = await bad(host, "a", intensity=1000, period=3600, backoff=None)
    watcher = await watcher_of(host, here.supervisor.id)
    misbehave("on_init", "ValueError")
    await here.fail("bad")
    await until(lambda: watcher.heard)
    assert len(Bad.instances) == 1001  # the first, and a thousand restarts
    assert "more than 1000 restarts" in watcher.heard[0].error
    assert "did not come up again" in watcher.heard[0].error
    assert names(host) == ["Watcher", "agent"]


async def test_while_one_fails_again_and_again_its_supervisor_can_be_asked(
    host: Container,
) -> None:
    here = await bad(host, "a", intensity=10**9, backoff=None)
    ask, pid = host.rpc_send, here.supervisor.id
    misbehave("on_init", "ValueError")
    await here.fail("bad")
    await until(lambda: len(Bad.instances) > 20)
    assert (await ask(pid, "count_children"))["active"] == 1
    await here.supervisor.start_child(ChildSpec(id="more", target=Child))
    await here.supervisor.terminate_child("bad")
    count = len(Bad.instances)
    assert here.phases() == {"a": "up", "bad": "down", "more": "up"}
    await here.fail("a")
    await here.up("a")
    assert len(Bad.instances) == count
    misbehave("", "")
    await here.supervisor.restart_child("bad")
    assert set(here.phases().values()) == {"up"}


async def test_a_start_that_is_given_up_before_its_task_has_begun_is_told(host: Container) -> None:
    here = await bad(host, "a")
    more = ChildSpec(id="more", target=Child)
    adding = asyncio.create_task(here.supervisor.start_child(more))
    ending = asyncio.create_task(here.supervisor.terminate_child("more"))  # in the same turn
    async with asyncio.timeout(20):
        await ending
        with pytest.raises(LifecycleError, match="given up"):
            await adding
    assert here.phases() == {"a": "up", "bad": "up", "more": "down"}
    await here.supervisor.restart_child("more")
    assert here.phases()["more"] == "up"


@pytest.mark.parametrize("how", ["terminate_child", "delete_child"])
async def test_who_waits_for_a_start_that_is_not_to_be_is_told(host: Container, how: str) -> None:
    here = await bad(host, "a", strategy="rest_for_one")  # one starts after the other
    misbehave("on_init", "hang")
    first = asyncio.create_task(here.supervisor.start_child(ChildSpec(id="first", target=Bad)))
    await until(lambda: here.phases().get("first") == "starting")
    adding = asyncio.create_task(here.supervisor.start_child(ChildSpec(id="more", target=Child)))
    await until(lambda: "more" in here.phases())
    async with asyncio.timeout(20):
        await getattr(here.supervisor, how)("more")
        with pytest.raises(LifecycleError, match="taken down before it came up"):
            await adding
    first.cancel()


class Cutting(Child):
    """Has the start of its supervisor given up while it comes up itself."""

    def __init__(self, cut: Callable[[], object], turns: int) -> None:
        super().__init__()
        self.cut = cut
        self.turns = turns

    async def on_activate(self) -> None:
        self.cut()
        for _ in range(self.turns):
            await asyncio.sleep(0)


async def test_a_supervisor_whose_start_is_given_up_at_any_moment_ends(
    host: Container, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where its last child is up just then; and no coroutine is left that nobody awaits."""
    for turns in range(12):
        args = {"cut": lambda: starting.cancel(), "turns": turns}  # noqa: B023, PLW0108 - it is made below
        children = [ChildSpec(id="a", target=Child), ChildSpec(id="b", target=Cutting, args=args)]
        starting = asyncio.create_task(host.spawn(Supervisor, args={"children": children}))
        await asyncio.wait([starting], timeout=20)
        assert starting.cancelled()
        await until(lambda: names(host) == ["agent"])
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_process_that_is_ended_at_any_moment_of_its_start_leaves_nothing(
    host: Container,
) -> None:
    for turns in range(12):  # a coroutine that nobody has awaited fails this test
        starting = asyncio.create_task(host.spawn(Child))
        for _ in range(turns):
            await asyncio.sleep(0)
        for process in [each for each in host.processes.values() if isinstance(each, Child)]:
            await host.terminate_process(process.id)
        starting.cancel()
        await asyncio.wait([starting], timeout=20)
        assert starting.cancelled() or isinstance(starting.exception(), StartError | None)
        gc.collect()
    await until(lambda: names(host) == ["agent"])


@pytest.mark.parametrize("own", [False, True])
async def test_background_work_that_is_ended_before_it_began_leaves_nothing(
    host: Container, own: bool
) -> None:
    process = host.processes[await host.spawn(Child)]
    task = process.run(asyncio.sleep(FOREVER), own=own)
    task.cancel()
    await asyncio.wait([task])
    gc.collect()  # a coroutine that nobody has awaited fails this test


# what leaves others behind


async def test_one_that_starts_others_and_dies_takes_them_along(host: Container) -> None:
    here = await bad(host, "a", intensity=10, period=3600, backoff=None)
    misbehave("on_activate", "spawn")
    watcher = await watcher_of(host, here.supervisor.id)
    await here.fail("bad")
    await until(lambda: watcher.heard)
    assert names(host) == ["Watcher", "agent"]
    assert EVENTS.count("+small") == EVENTS.count("-small") == 10


class Leaving(Process):
    """Ends while it starts, in a way of its own."""

    how = ""

    async def on_activate(self) -> None:
        if Leaving.how == "terminated":
            await self._host.terminate_process(self.id)
        elif Leaving.how == "failed":
            self.fail("gave up")
        elif Leaving.how == "declined":
            await self.terminate()
        elif Leaving.how == "task":
            self.run(self._die())
            await asyncio.sleep(FOREVER)

    async def _die(self) -> None:
        raise ValueError("helper broke")


@pytest.mark.parametrize("how", ["terminated", "failed", "task"])
async def test_one_that_exits_while_it_starts_has_failed(host: Container, how: str) -> None:
    spec = ChildSpec(id="l", target=Leaving)
    Leaving.how = how
    with pytest.raises(StartError, match="child 'l' did not come up"):
        await host.spawn(Supervisor, args={"children": [spec]})
    Leaving.how = ""
    here = await tree(host, spec, "a", intensity=3, period=3600, backoff=None)
    watcher = await watcher_of(host, here.supervisor.id)
    Leaving.how = how
    pid = here.supervisor.which_children()[0]["pid"]
    host.processes[pid].fail("told to")
    await until(lambda: watcher.heard)
    assert names(host) == ["Watcher", "agent"]


class Choosy(Child):
    """Declines where it is told to, in either hook of its start."""

    hook = ""

    async def on_init(self) -> None:
        if Choosy.hook == "on_init":
            await self.terminate()
            EVENTS.append("went on")

    async def on_activate(self) -> None:
        if Choosy.hook == "on_activate":
            await self.terminate()
            EVENTS.append("went on")
        await super().on_activate()


@pytest.mark.parametrize("hook", ["on_init", "on_activate"])
async def test_one_that_declines_is_not_missed(
    host: Container, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Choosy, "hook", hook)
    spec = ChildSpec(id="c", target=Choosy)
    here = await tree(host, "a", spec, "b", intensity=0)
    assert here.phases() == {"a": "up", "c": "down", "b": "up"}
    assert await here.supervisor.start_child(ChildSpec(id="d", target=Choosy)) == ""
    assert await here.supervisor.restart_child("c") == ""
    gone = ChildSpec(id="e", target=Choosy, restart="temporary")
    assert await here.supervisor.start_child(gone) == ""
    assert list(here.phases()) == ["a", "c", "b", "d"]
    assert "went on" not in EVENTS
    with pytest.raises(StartError, match="terminated while it started"):
        await host.spawn(Choosy)
    monkeypatch.setattr(Choosy, "hook", "")
    assert await here.supervisor.restart_child("c")
    assert here.phases()["c"] == "up"


async def test_a_supervisor_is_not_brought_down_by_what_its_children_raise_at_its_end(
    host: Container,
) -> None:
    misbehave("on_terminate", "BaseException")
    specs = [ChildSpec(id=f"b{n}", target=Bad) for n in range(20)]
    pid = await host.spawn(Supervisor, args={"children": specs, **MANY})
    await host.terminate_process(pid)
    assert names(host) == ["agent"]
    assert [event for event in EVENTS if event[0] == "-"] == [f"-b{n}" for n in range(19, -1, -1)]


PROGRAM = """
import asyncio, sys
from ion import ChildSpec, Container, Process, Supervisor

class Bad(Process):
    async def on_init(self): self.do("on_init")
    async def on_activate(self): self.do("on_activate")
    async def op_do(self): self.do("op")
    async def op_begin(self): self.run(self.task())
    async def task(self): self.do("task")
    def do(self, where):
        if where == sys.argv[1]:
            raise KeyboardInterrupt

async def main():
    async with Container("memory://") as container:
        pid = await container.spawn(Supervisor, args={"children": [ChildSpec(id="b", target=Bad)]})
        child = container.processes[pid].which_children()[0]["pid"]
        await container.send(child, "do")
        await container.send(child, "begin")
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["on_init", "on_activate", "op", "task"])
def test_a_keyboard_interrupt_ends_the_program_wherever_it_is_raised(where: str) -> None:
    """It is the person's in front of it, and nobody's to swallow."""
    command = [sys.executable, "-c", PROGRAM, where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
