"""The datastore is killed in mid-push: its branch is what it was or what it was to be, never half.

It is an `ioncc` of its own on a real RabbitMQ, its store an SQLite file, which is looked at while
nobody has it open. With ION_SOAK=1 it is killed a hundred times, at any moment.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ion import IonError, connect
from ion.objects.kept import KeptPeer
from ion.objects.workbench import Workbench
from ion.process.connection import Connection
from ion.process.peering import FarPeer
from ion.services.datastore.client import new_workbench
from ion.stores.opening import open_datastore
from tests.journeys.faults.fleet import PATIENCE
from tests.journeys.program import Program

pytestmark = [pytest.mark.amqp, pytest.mark.slow, pytest.mark.timeout(1800)]

SOAK = bool(os.environ.get("ION_SOAK"))
PARTS = 60
BATCH = 8_000  # bytes of one put
PUTS = 10  # of a push, at least
TIMEOUT = 20.0
# what the datastore is asked when it is killed: the how-manieth such call of a push
MOMENTS = [("missing", 2), ("put_blobs", 1), ("put_blobs", 6), ("set_head", 1)]
_random = random.Random(7)


class Datastore(Program):
    """The `ioncc` that runs the datastore."""

    async def look(self) -> bytes | None:
        """Return what the branch ends with, of which all is there; nobody has the store open."""
        datastore = open_datastore(self.store)
        await datastore.open()
        try:
            kept = await KeptPeer.open(datastore)
            head = (await kept.heads("object")).get("main")
            if head is not None:
                bench = await new_workbench()
                await (await bench.clone("object", kept)).checkout()
            return head
        finally:
            await datastore.close()


class Deadly(FarPeer):
    """The datastore as a peer; it is killed at a moment of a push.

    :ivar struck: set when that call was sent.
    """

    def __init__(self, caller: Connection, op: str, number: int) -> None:
        super().__init__(caller, "datastore", timeout=TIMEOUT, batch=BATCH)
        self.struck = asyncio.Event()
        self._left = number
        self._op = op

    async def _ask(self, op: str, content: Mapping[str, Any]) -> Any:
        if op == self._op:
            self._left -= 1
        if self._left != 0 or self.struck.is_set():
            return await super()._ask(op, content)
        asking = asyncio.ensure_future(super()._ask(op, content))
        await asyncio.sleep(_random.uniform(0, 0.01))  # any moment of it
        self.struck.set()
        return await asking


async def change(bench: Workbench) -> bytes:
    own = bench.repository("object")
    tree = await own.checkout() if await own.branches() else own.begin()
    for n in range(PARTS):
        tree.set(f"parts/{n}", {"n": n, "raw": os.urandom(1200)})
    return bytes.fromhex((await own.commit(tree)).hash)


async def push_until_done(bench: Workbench, peer: FarPeer) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await bench.push("object", peer)
            except IonError:
                await asyncio.sleep(0.1)
            else:
                return


def moments() -> list[tuple[str, int]]:
    if not SOAK:
        return MOMENTS
    return [("put_blobs", _random.randint(1, PUTS)) for _ in range(75)] + [("set_head", 1)] * 25


async def test_killed_in_mid_push(amqp_url: str, tmp_path: Path) -> None:
    datastore = Datastore(tmp_path, amqp_url, "datastore.app")
    await datastore.start()
    try:
        async with connect(amqp_url, sysname="kills") as system:
            bench = await new_workbench()
            peer = FarPeer(system, "datastore", timeout=TIMEOUT)
            before = await change(bench)
            await bench.push("object", peer)
            for op, number in moments():
                after = await change(bench)
                deadly = Deadly(system, op, number)
                pushing = asyncio.create_task(push_until_done(bench, deadly))
                async with asyncio.timeout(PATIENCE):
                    await deadly.struck.wait()
                await datastore.kill()
                assert await datastore.look() in (before, after), (op, number)
                await datastore.start()
                await pushing
                assert (await peer.heads("object"))["main"] == after
                before = after
    finally:
        await datastore.close()
