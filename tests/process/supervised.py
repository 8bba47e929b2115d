"""A supervisor with children that fail as they are told, for the tests of supervisors."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

from ion import Backoff, ChildSpec, Container, DownNotice, Process, Supervisor

FOREVER = 600.0
SOON = Backoff(first=0.001, cap=0.001)
MANY = {"intensity": 1000, "backoff": SOON}
EVENTS: list[str] = []


async def until(condition: Callable[[], Any]) -> None:
    """Return once a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


class Child(Process):
    """Notes its starts and ends, and fails as it is told."""

    broken = ""  # how those that start now fail
    released = False

    def __init__(self, value: int = 0, deaf: bool = False) -> None:
        self.value = value
        self.deaf = deaf

    async def on_activate(self) -> None:
        kind, _, name = Child.broken.partition(" ")
        if kind and name in ("", self.name):
            await self._break(kind)
        EVENTS.append(f"+{self.name}")

    async def _break(self, kind: str) -> None:
        if kind == "raise":
            raise ValueError("not now")
        if kind == "base":
            raise BaseException("odd")  # noqa: TRY002 - the oddest there is
        if kind == "exit":
            sys.exit(1)
        if kind == "hang":
            EVENTS.append(f"?{self.name}")
            await asyncio.sleep(FOREVER)
        if kind == "block":
            time.sleep(0.1)  # noqa: ASYNC251 - as bad code does
        if kind == "deaf":
            EVENTS.append(f"?{self.name}")
            await deaf()

    async def on_terminate(self) -> None:
        EVENTS.append(f"-{self.name}")
        if self.deaf:
            await deaf()

    async def op_pid(self) -> str:
        return self.id

    async def op_end(self) -> None:
        await self.terminate()


async def deaf() -> None:
    """Heed no cancellation."""
    while not Child.released:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(FOREVER)


class Watcher(Process):
    """Notes what it hears of."""

    async def on_init(self) -> None:
        self.heard: list[DownNotice] = []

    async def on_down(self, notice: DownNotice) -> None:
        self.heard.append(notice)


class Tree:
    """A supervisor with its container, seen from a test."""

    def __init__(self, container: Container, supervisor: Supervisor) -> None:
        self.container = container
        self.supervisor = supervisor

    def child(self, name: str) -> Child | None:
        """The child that is up now."""
        for row in self.supervisor.which_children():
            if row["id"] == name and row["pid"] is not None:
                process = self.container.processes.get(row["pid"])
                assert process is None or isinstance(process, Child)
                return process
        return None

    def phases(self) -> dict[str, str]:
        return {row["id"]: row["phase"] for row in self.supervisor.which_children()}

    async def fail(self, name: str) -> None:
        """Let a child fail, and wait until it is gone."""
        child = self.child(name)
        assert child is not None
        child.fail("told to")
        await until(lambda: child.state == "TERMINATED")

    async def up(self, *names: str) -> None:
        """Wait until the children are up."""
        await until(lambda: all(self.child(name) for name in names))


async def tree(
    container: Container, *children: Any, kind: type[Supervisor] = Supervisor, **flags: Any
) -> Tree:
    specs = [c if isinstance(c, ChildSpec) else ChildSpec(id=c, target=Child) for c in children]
    args = {"children": specs, **MANY, **flags}
    pid = await container.spawn(kind, args=args, name="tree")
    supervisor = container.processes[pid]
    assert isinstance(supervisor, Supervisor)
    EVENTS.clear()
    return Tree(container, supervisor)


async def watcher_of(container: Container, pid: str) -> Watcher:
    watcher = container.processes[await container.spawn(Watcher)]
    assert isinstance(watcher, Watcher)
    await watcher.monitor(pid)
    return watcher
