"""The container of an agent is killed, then that of its device: it streams again, by itself.

Two `ioncc` on a real RabbitMQ: one is the device, the other has the agent, and the service that
keeps its stream on SQLite. No sample is kept twice, and keeping goes on after each kill. With
ION_SOAK=1 each is killed ten times.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ion import IonError, connect
from ion.process.connection import Connection
from ion.services.instrument.client import InstrumentClient
from ion.services.instrument.model import Status
from ion.services.streams.client import StreamsClient
from tests.journeys.faults.waiting import until
from tests.journeys.program import Program

pytestmark = [pytest.mark.amqp, pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 10 if os.environ.get("ION_SOAK") else 1
DEVICE = """\
type: release
name: device
version: 0.1.0
apps:
  - {name: simulator, args: {rate: 20.0}}
"""
AGENT = """\
type: release
name: agent
version: 0.1.0
apps:
  - {name: streams, config: {streams: {gps: {persist: true}}}}
  - name: gps
    args: {device: {service: simulator, silence: 1.0, batch_seconds: 0.2}}
"""


@pytest.fixture
async def nodes(tmp_path: Path, amqp_url: str) -> AsyncIterator[tuple[Program, Program]]:
    for name, text in (("device.rel", DEVICE), ("agent.rel", AGENT)):
        (tmp_path / name).write_text(text)
    device, agent = (
        Program(
            tmp_path,
            amqp_url,
            f"{name}.rel",
            settings={"store.url": f"sqlite:///{tmp_path}/{name}.db"},
        )
        for name in ("device", "agent")
    )
    try:
        await device.start()
        await agent.start()
        yield device, agent
    finally:
        await agent.close()
        await device.close()


class Watch:
    """Asks the agent, and the keeper, from outside."""

    def __init__(self, caller: Connection) -> None:
        self._caller = caller
        self._gps = InstrumentClient("gps1", caller, timeout=5.0)

    async def status(self) -> Status | None:
        try:
            return await self._gps.status()
        except IonError:
            return None

    async def streams(self, samples: int = 5) -> None:
        """Wait until it streams, and has streamed."""

        async def check() -> bool:
            status = await self.status()
            return status is not None and status.state == "STREAMING" and status.samples >= samples

        await until(check, "it does not stream")

    async def loses(self) -> None:
        async def check() -> bool:
            status = await self.status()
            return status is not None and status.state == "LOST_CONNECTION"

        await until(check, "it does not see that its device is gone")


async def test_an_agent_and_its_device_are_killed(
    nodes: tuple[Program, Program], amqp_url: str
) -> None:
    device, agent = nodes
    async with connect(amqp_url, sysname="kills") as caller:
        watch = Watch(caller)
        await watch.streams()
        for _ in range(KILLS):
            await agent.kill()
            await agent.start()
            await watch.streams()
        for _ in range(KILLS):
            await device.kill()
            await watch.loses()
            before = await watch.status()
            assert before is not None
            await device.start()
            await watch.streams(before.samples + 5)
            after = await watch.status()
            assert after is not None
            assert after.losses > 0
        read = StreamsClient(caller).read("gps")
        times = [time async for granule in read for time in granule["time"].tolist()]
    assert len(times) > 10 * KILLS
    assert times == sorted(set(times))  # none twice, and in order
