"""Cloning an object of 100,000 elements between two OS processes over RabbitMQ.

``python -m benchmarks.stores.clone local`` starts a private RabbitMQ, a process that has the
object, and one that clones it into a SQLite file; it tells how many elements and bytes travelled,
how long that took, by how much the memory of the cloner grew, and what a second pull costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import role
from ion import Container, Process, connect
from ion.objects.kept import KeptPeer
from ion.objects.workbench import Workbench
from ion.process.peering import FarPeer, Peering
from ion.stores.opening import open_datastore
from ion.testing.servers import RabbitServer

ELEMENTS = 100_000
SIZE = 600  # bytes of each of the two random parts of one
SYSNAME = "clone"
TIMEOUT = 120.0
ROOT = Path(__file__).parents[2]


def part(n: int) -> dict[str, Any]:
    """Return a part of the object: too large to be kept within another element."""
    return {"n": n, "a": os.urandom(SIZE), "b": os.urandom(SIZE)}


class Owner(Peering, Process, name="owner"):
    """Has the object."""

    async def make(self, elements: int) -> None:
        """Make it: a map of so many parts, each an element of its own."""
        own = await self.repository("object")
        tree = own.begin()
        for n in range(elements):
            tree.set(("parts", f"{n:07}"), part(n))
        await own.commit(tree, author="owner")

    async def change(self) -> None:
        """Change one part."""
        own = await self.repository("object")
        tree = await own.checkout()
        tree.set(("parts", "0000007"), part(7))
        await own.commit(tree, author="owner")

    async def op_change(self) -> None:
        """Change one part."""
        await self.change()

    async def op_handled(self) -> int:
        """Return how many messages it has handled before this one."""
        return self._handled


@dataclass(frozen=True)
class Cloned:
    """What was seen.

    :ivar grown: bytes by which the cloner's memory grew, at its most.
    :ivar again: messages that the owner got for a second pull of the unchanged object.
    :ivar changed: elements that travelled after one part was changed.
    """

    elements: int
    size: int
    seconds: float
    grown: int
    again: int
    again_seconds: float
    changed: int


def memory() -> int:
    """Return the most memory that this OS process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def own(url: str, elements: int) -> None:
    """Be the owner, until standard input ends."""
    async with Container(url, sysname=SYSNAME) as container:
        pid = await container.spawn(Owner)
        owner = container.processes[pid]
        assert isinstance(owner, Owner)
        await owner.make(elements)
        print(pid, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def clone(url: str, pid: str, path: Path) -> Cloned:
    """Be the cloner."""
    datastore = open_datastore(f"sqlite:///{path}")
    await datastore.open()
    try:
        async with connect(url, sysname=SYSNAME) as system:
            bench = Workbench(await KeptPeer.open(datastore))
            return await measured(system, pid, bench)
    finally:
        await datastore.close()


async def measured(system: Any, pid: str, bench: Workbench) -> Cloned:
    """Clone, pull again, and pull a change."""
    far = FarPeer(system, pid, timeout=TIMEOUT)
    await far.heads("object")
    before, start = memory(), time.perf_counter()
    first = await bench.pull("object", far)
    seconds, grown = time.perf_counter() - start, memory() - before
    handled = await system.rpc_send(pid, "handled")
    start = time.perf_counter()
    await bench.pull("object", far)
    again_seconds = time.perf_counter() - start
    again = await system.rpc_send(pid, "handled") - handled - 1
    await system.rpc_send(pid, "change", timeout=TIMEOUT)
    changed = await bench.pull("object", far)
    return Cloned(
        first.moved.elements,
        first.moved.size,
        seconds,
        grown,
        again,
        again_seconds,
        changed.moved.elements,
    )


@contextlib.asynccontextmanager
async def owner(url: str, elements: int) -> AsyncIterator[str]:
    """Start the owner as an OS process of its own; give its process id."""
    words = ["-m", "benchmarks.stores.clone", "own", url, str(elements)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pid = (await process.stdout.readline()).decode().strip()
        if not pid:
            message = "the owner did not start"
            raise RuntimeError(message)
        yield pid
    finally:
        process.stdin.close()
        await process.wait()


async def run(elements: int = ELEMENTS) -> Cloned:
    """Run it on a private RabbitMQ."""
    server = RabbitServer()
    try:
        await asyncio.to_thread(server.start)
        url = server.url(server.new_vhost())
        with tempfile.TemporaryDirectory() as folder:
            async with owner(url, elements) as pid:
                return await clone(url, pid, Path(folder) / "clone.db")
    finally:
        await asyncio.to_thread(server.close)


async def figures(elements: int) -> dict[str, float]:
    """Run it; return what was seen as figures."""
    seen = await run(elements)
    return {
        "elements": seen.elements,
        "rate": round(seen.elements / seen.seconds, 1),
        "mb": round(seen.size / 1e6, 1),
        "seconds": round(seen.seconds, 3),
        "grown_mib": round(seen.grown / 2**20, 1),
        "again": seen.again,
        "again_ms": round(seen.again_seconds * 1000, 2),
        "changed": seen.changed,
    }


def main() -> None:
    """Be the owner, or measure and hand the figures over."""
    if sys.argv[1:2] == ["own"]:
        asyncio.run(own(sys.argv[2], int(sys.argv[3])))
        return
    options = role.options()
    role.run(figures(max(round(ELEMENTS * options.scale), 100)), options.loop)


if __name__ == "__main__":
    main()
