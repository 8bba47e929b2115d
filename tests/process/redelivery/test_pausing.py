"""A process begins nothing while messages that came again are moved; then it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ion import Container, Service

CONFIG = {"service.retry_delays": [0.05]}


class Slow(Service, name="slow", version="1.0.0"):
    """Waits for ever with ``held``, and notes what it began."""

    def __init__(self, begun: list[str]) -> None:
        self.begun = begun

    async def op_do(self, key: str) -> str:
        self.begun.append(key)
        if key.startswith("held"):
            await asyncio.sleep(60)
        return key


class Gate:
    """Keeps what is published to the ladder, as a broker would that is slow to confirm."""

    def __init__(self, container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept: list[Callable[[], None]] = []
        self.came = asyncio.Event()
        self._publish = container.transport.publish
        monkeypatch.setattr(container.transport, "publish", self.publish)

    def publish(self, exchange: str, *args: Any, **options: Any) -> None:
        if ".retry." in exchange:
            self.kept.append(lambda: self._publish(exchange, *args, **options))
            self.came.set()
        else:
            self._publish(exchange, *args, **options)

    def open(self) -> None:
        for publish in self.kept:
            publish()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def test_nothing_is_begun_while_messages_are_moved(
    bus: tuple[str, dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, config = bus
    first: list[str] = []
    second: list[str] = []
    async with Container(url, sysname="held", config={**config, **CONFIG}) as living:
        dying = Container(url, sysname="held", config={**config, **CONFIG})
        await dying.start()
        await dying.spawn(Slow, args={"begun": first})
        for number in range(3):
            await living.send("slow", "do", {"key": f"held-{number}"})
        await until(lambda: len(first) == 3)
        gate = Gate(living, monkeypatch)
        pid = await living.spawn(Slow, args={"begun": second})
        await dying.kill()
        await until(lambda: len(gate.kept) == 3)
        call = asyncio.ensure_future(living.rpc_send("slow", "do", {"key": "new"}))
        process = living.processes[pid]
        await until(lambda: process.waiting == 1)
        assert second == []
        assert process.describe()["active"] == 0
        gate.open()
        assert await call == "new"
        await until(lambda: len(second) == 4)
        assert process.describe()["active"] == 3
        await living.kill()


async def test_a_held_process_can_be_stopped(
    bus: tuple[str, dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, config = bus
    begun: list[str] = []
    async with Container(url, sysname="held", config={**config, **CONFIG}) as living:
        dying = Container(url, sysname="held", config={**config, **CONFIG})
        await dying.start()
        await dying.spawn(Slow, args={"begun": begun})
        await living.send("slow", "do", {"key": "held"})
        await until(lambda: begun == ["held"])
        gate = Gate(living, monkeypatch)
        pid = await living.spawn(Slow, args={"begun": begun})
        await dying.kill()
        await gate.came.wait()
        ending = asyncio.ensure_future(living.terminate_process(pid, timeout=20))
        await asyncio.sleep(0)
        gate.open()
        await asyncio.wait_for(ending, 10)
        assert begun == ["held"]
