"""Supervision: how soon a crashed child is back, and how long ten thousand take to start and stop.

Variants: ``process`` and ``service`` crash a thousand times, one crash after another, each followed
by a restart with a back-off of 20 ms, which is not counted; ``many`` starts and stops 10,000.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import role
from ion import Backoff, ChildSpec, Container, Process, Service, Supervisor

CRASHES = 1_000
CHILDREN = 10_000
BACKOFF = 0.02  # seconds, without jitter
CONSTANT = Backoff(first=BACKOFF, factor=1, jitter=False)
OFTEN: dict[str, Any] = {"intensity": 10**6, "backoff": CONSTANT}


class Crashing(Process):
    """Says when it is up."""

    up: asyncio.Event

    async def on_activate(self) -> None:
        Crashing.up.set()


class CrashingService(Service, name="crashing"):
    """The same with a queue."""

    async def on_activate(self) -> None:
        Crashing.up.set()


class Noted(Process):
    """Notes its end."""

    ended: list[str] = []  # noqa: RUF012

    async def on_terminate(self) -> None:
        Noted.ended.append(self.name)


async def crash(container: Container, target: type[Process]) -> dict[str, float]:
    """Return the milliseconds from a crash to the next instance's being up, less the back-off."""
    Crashing.up = asyncio.Event()
    spec = ChildSpec(id="child", target=target)
    pid = await container.spawn(Supervisor, args={"children": [spec], **OFTEN})
    supervisor = container.processes[pid]
    assert isinstance(supervisor, Supervisor)
    took = []
    for _ in range(CRASHES):
        child = container.processes[supervisor.which_children()[0]["pid"]]
        Crashing.up.clear()
        begun = time.perf_counter()
        child.fail("as it is told")
        await Crashing.up.wait()
        took.append((time.perf_counter() - begun - BACKOFF) * 1000)
        while supervisor.which_children()[0]["phase"] != "up":  # noqa: ASYNC110 - its turn is next
            await asyncio.sleep(0)
    took.sort()
    return {"p50_ms": took[CRASHES // 2], "p99_ms": took[CRASHES * 99 // 100], "max_ms": took[-1]}


async def many(container: Container) -> dict[str, float]:
    """Return the seconds that 10,000 children take to start, and to stop in reverse order."""
    specs = [ChildSpec(id=f"c{n}", target=Noted) for n in range(CHILDREN)]
    begun = time.perf_counter()
    pid = await container.spawn(Supervisor, args={"children": specs})
    up = time.perf_counter()
    await container.terminate_process(pid)
    down = time.perf_counter()
    assert Noted.ended == [spec.id for spec in reversed(specs)]
    return {"start_seconds": up - begun, "stop_seconds": down - up}


VARIANTS: dict[str, Callable[[Container], Awaitable[dict[str, float]]]] = {
    "process": lambda container: crash(container, Crashing),
    "service": lambda container: crash(container, CrashingService),
    "many": many,
}


async def main(variant: str) -> dict[str, float]:
    logging.disable(logging.ERROR)  # a thousand failures are a thousand lines
    async with Container("memory://", sysname="bench") as container:
        figures = await VARIANTS[variant](container)
    return {name: round(value, 3) for name, value in figures.items()}


if __name__ == "__main__":
    o = role.options()
    role.run(main(o.variant), o.loop)
