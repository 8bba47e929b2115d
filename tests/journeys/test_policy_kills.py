"""The policy service and the container that decides are killed while rules change: never open.

Both are an `ioncc` of their own on a real RabbitMQ. What no version of the rules ever allowed is
asked for all the while, and never let in; where rules cannot be had, nothing is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ion import Forbidden, IonError, OpNotFound, connect
from ion.process.connection import Connection
from ion.services.policy.client import PolicyClient
from tests.journeys.faults.fleet import PATIENCE
from tests.journeys.program import Program

pytestmark = [pytest.mark.amqp, pytest.mark.slow, pytest.mark.timeout(600)]

KEY = "5a" * 32
HEAD = "type: policy\nroles: {ADMIN: []}\nrules:\n- {allow: hello.nothing, to: [ADMIN]}\n"
OPEN = HEAD + "- {allow: hello.hello, to: [anyone]}\n"
KILLS = 10 if os.environ.get("ION_SOAK") else 1


class Probe:
    """Asks all the while for what is never allowed, and remembers the answers."""

    def __init__(self, connection: Connection) -> None:
        self.denied = 0
        self.let_in = 0
        self._connection = connection

    async def run(self) -> None:
        while True:
            try:
                await self._connection.rpc_send("hello", "nothing", {}, 2)
            except Forbidden:
                self.denied += 1
            except OpNotFound:  # it came so far that its op was looked for
                self.let_in += 1
            except IonError:
                await asyncio.sleep(0.02)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@asynccontextmanager
async def running(folder: Path, url: str) -> AsyncIterator[tuple[Program, Program]]:
    home = Program(folder, url, "policy", settings={"agent.key": KEY})
    settings = {
        "agent.key": KEY,
        "store.url": f"sqlite:///{folder}/judge.db",
        "policy.service": "true",
        "policy.default": "deny",
        "policy.reload_every": 0.2,
        "identity.verify": "present",
    }
    judge = Program(folder, url, "hello", settings=settings)
    try:
        await asyncio.gather(home.start(), judge.start())
        yield home, judge
    finally:
        await asyncio.gather(home.close(), judge.close())


async def test_it_is_never_open(amqp_url, tmp_path):
    config = {"agent.key": KEY}
    async with (
        running(tmp_path, amqp_url) as (home, judge),
        connect(amqp_url, sysname="kills", config=config) as connection,
    ):
        client = PolicyClient(connection, as_system=True)

        async def is_open() -> bool:
            with contextlib.suppress(IonError):
                await connection.rpc_send("hello", "hello", {}, 5)
                return True
            return False

        async def is_shut() -> bool:
            try:
                await connection.rpc_send("hello", "hello", {}, 5)
            except Forbidden:
                return True
            except IonError:
                pass
            return False

        assert await is_shut()  # no rules were ever put
        probe = Probe(connection)
        probing = asyncio.ensure_future(probe.run())
        try:
            acknowledged = 0
            for _ in range(KILLS):
                acknowledged = await put_and_kill(client, home, acknowledged)
                await home.start()
                newest = await client.current(timeout=PATIENCE)
                assert newest.version in (acknowledged, acknowledged + 1)  # one may be on its way
                acknowledged = newest.version
            await client.put(OPEN, acknowledged)
            await until(is_open)
            await home.kill()
            assert await is_open()  # the rules that it has stay in force
            await judge.kill()
            await judge.start()
            assert await is_shut()  # and without any, nothing is allowed
            await home.start()
            await until(is_open)
        finally:
            probing.cancel()
        assert probe.let_in == 0
        assert probe.denied > 0


async def put_and_kill(client: PolicyClient, home: Program, version: int) -> int:
    """Put one version after the other until the service is killed; return the last one it told."""
    killing = asyncio.ensure_future(later(home))
    while not killing.done():
        text = OPEN if version % 2 else HEAD
        try:
            version = (await client.put(text, version, timeout=2)).version
        except IonError:
            await asyncio.sleep(0.02)
    await killing
    return version


async def later(home: Program) -> None:
    await asyncio.sleep(0.5)  # in the midst of many
    await home.kill()
