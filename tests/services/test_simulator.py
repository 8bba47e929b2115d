"""The simulated device, as one who connects to it sees it; and its service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ion import BadRequest, Container, StartError
from ion.services.simulator.client import SimulatorClient
from ion.services.simulator.service import SimulatorService

LIMIT = 20.0


@pytest.fixture
async def container() -> AsyncIterator[Container]:
    async with Container("memory://", sysname="test") as running:
        yield running


class Listener:
    """Somebody at the other end of the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def line(self, begin: bytes) -> bytes:
        """Return the next line that begins so."""
        async with asyncio.timeout(LIMIT):
            while not (line := await self.reader.readline()).startswith(begin):
                assert line, "it was thrown out"
        return line.strip()

    async def close(self) -> None:
        await gone(self.writer)


async def gone(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def listening(simulator: SimulatorClient) -> Listener:
    return Listener(*await asyncio.open_connection(*await simulator.address()))


async def test_it_talks_and_can_be_set(container: Container) -> None:
    await container.spawn(SimulatorService, args={"rate": 50.0})
    simulator = SimulatorClient(container)
    listener = await listening(simulator)
    for kind in (b"$GPGGA,", b"$GPRMC,", b"$GPVTG,"):
        assert await listener.line(kind)
    for said, answer in (
        (b"$PION,RATE,20*18", b"$PION,RATE,20,OK*30"),
        (b"$PION,RATE,0*2A", b"$PION,RATE,0,ERROR*5E"),
        (b"$PION,SENTENCES,GGA", b"$PION,SENTENCES,GGA,OK*"),
        (b"$PION,COLOUR,RED", b"$PION,COLOUR,RED,ERROR*"),
        (b"$PION,VERSION*00", b"$PION,ERROR,CHECKSUM*"),
        (b"$PION,VERSION", b"$PION,VERSION,ION-GPS-1,OK*"),
    ):
        listener.writer.write(said + b"\r\n")
        assert (await listener.line(b"$PION,")).startswith(answer), said
    status = await simulator.status()
    assert status.settings == {"rate": 20.0, "sentences": "GGA"}
    assert status.connections == 1
    await listener.close()


async def test_it_misbehaves_when_told_and_by_itself(container: Container) -> None:
    schedule = [{"fault": "garbage", "after": 0, "seconds": 600}]
    await container.spawn(SimulatorService, args={"rate": 50.0, "schedule": schedule})
    simulator = SimulatorClient(container)
    assert (await simulator.status()).faults == ["garbage"]
    assert (await simulator.misbehave("silence", 600)).faults == ["garbage", "silence"]
    assert (await simulator.behave()).faults == []
    host, port = await simulator.address()
    listener = await listening(simulator)
    await simulator.misbehave("refuse", 600)
    async with asyncio.timeout(LIMIT):
        with contextlib.suppress(ConnectionResetError):  # whichever way it is thrown out
            while await listener.reader.read(100):
                pass
        await _refused(host, port)
        await simulator.behave()
        await _accepted(host, port)
    await listener.close()
    content: Any = {"fault": "rust"}
    with pytest.raises(BadRequest, match="rust"):
        await container.rpc_send("simulator", "misbehave", content)


async def _refused(host: str, port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            return
        await gone(writer)


async def _accepted(host: str, port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            await gone(writer)
            return


@pytest.mark.parametrize(
    "schedule",
    [
        [{"fault": "rust"}],
        [{"after": 1}],
        [{"fault": "drip", "seconds": "long"}],
        [{"fault": "drip", "seconds": 0.0}],
        [{"fault": "drip", "after": -1.0}],
        [{"fault": "drip", "after": float("nan")}],
        [{"fault": "drip"}] * 1001,
    ],
)
async def test_a_schedule_that_cannot_be_is_found_at_the_start(
    container: Container, schedule: list[dict[str, Any]]
) -> None:
    with pytest.raises(StartError, match="schedule"):
        await container.spawn(SimulatorService, args={"schedule": schedule})
    with pytest.raises(StartError, match="rate"):
        await container.spawn(SimulatorService, args={"rate": 0.0})


async def test_a_port_that_it_cannot_have_is_said(container: Container) -> None:
    await container.spawn(SimulatorService)
    taken = (await SimulatorClient(container).address())[1]
    for port in (taken, 99_999):
        with pytest.raises(StartError, match=rf"simulator cannot listen at 127\.0\.0\.1:{port}"):
            await container.spawn(SimulatorService, args={"port": port})
