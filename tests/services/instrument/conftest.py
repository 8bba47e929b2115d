"""A device that tests have misbehave, and agents that watch it closely."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ion import Container
from ion.services.instrument import states
from ion.services.instrument.agent import InstrumentAgent
from ion.services.instrument.client import InstrumentClient
from ion.services.simulator.device import SimulatedDevice

PATIENCE = 30.0
SILENCE = 0.3
FAST = {"reconnect_first": 0.05, "reconnect_cap": 0.2}
STORE = {"store.url": "memory://"}


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    """Return what ``check`` returns as soon as it is true."""
    end = time.monotonic() + PATIENCE
    while not (found := await check()):
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.02)
    return found


class Gps:
    """An agent, its client, and the device."""

    def __init__(
        self, container: Container, talker: SimulatedDevice, client: InstrumentClient
    ) -> None:
        self.container = container
        self.talker = talker
        self.client = client

    def process(self, name: str) -> Any:
        return next(p for p in self.container.processes.values() if type(p).__name__ == name)

    async def status(self) -> Any:
        return await self.client.status()

    async def at(self, state: str) -> Any:
        """Wait until it is in a state."""

        async def check() -> Any:
            status = await self.status()
            return status if status.state == state else None

        return await until(check)

    async def more(self, count: int = 5) -> int:
        """Wait for more samples; return how many there are."""
        before = (await self.status()).samples

        async def check() -> int:
            now: int = (await self.status()).samples
            return now if now >= before + count else 0

        found: int = await until(check)
        return found


@pytest.fixture
async def talker() -> AsyncIterator[SimulatedDevice]:
    device = SimulatedDevice(rate=50.0, drip=0.0002)
    await device.open()
    yield device
    await device.close()


def device(talker: SimulatedDevice, **settings: Any) -> dict[str, Any]:
    base = {"host": talker.host, "port": talker.port, "silence": SILENCE, "batch_seconds": 0.05}
    return {**base, **settings}


async def spawned(container: Container, talker: SimulatedDevice, **args: Any) -> Gps:
    """Spawn an agent that is quick to come back."""
    args = {"resource": "gps1", "device": device(talker), "restore": False, **args}
    await container.spawn(InstrumentAgent, args=args)
    gps = Gps(container, talker, InstrumentClient(args["resource"], container))
    await container.rpc_send(args["resource"], "set_agent", {"values": FAST})
    return gps


@pytest.fixture
async def gps(talker: SimulatedDevice, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gps]:
    """Give an agent that streams, on the embedded bus: the device is what matters."""
    async with streaming(talker, monkeypatch) as found:
        yield found


@asynccontextmanager
async def streaming(
    talker: SimulatedDevice, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> AsyncIterator[Gps]:
    """Give what :func:`gps` gives, with other settings of the device."""
    monkeypatch.setattr(states, "POST_HELD", 0.2)
    async with Container("memory://", sysname="test", config=STORE) as container:
        found = await spawned(container, talker, device=device(talker, **settings))
        await found.more()
        yield found
