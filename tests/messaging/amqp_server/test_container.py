"""A container whose bus listens, and those that join it with ``local://``."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

import ion
from ion import Container, Service, ServiceClient
from ion.base.errors import ConfigurationError, StartError, Unavailable
from ion.messaging.transport import TransportState
from tests.messaging.amqp_server.listening import until

LISTENS = {"broker.listen": "127.0.0.1:0"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own = tmp_path / "run"
    own.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own))
    return own / "ion"


class Slow(Service, name="slow"):
    """Answers when it is told to."""

    begun = asyncio.Event()
    go = asyncio.Event()

    async def op_wait(self) -> str:
        self.begun.set()
        await self.go.wait()
        return "done"

    async def op_where(self) -> str:
        return self.id


@pytest.fixture(autouse=True)
def anew() -> None:
    Slow.begun, Slow.go = asyncio.Event(), asyncio.Event()


def container(url: str = "memory://", **config: object) -> Container:
    return Container(url, sysname="lab", config=config)


async def test_a_script_calls_by_local(caplog: pytest.LogCaptureFixture, folder: Path) -> None:
    caplog.set_level(logging.DEBUG)
    async with container(**LISTENS) as host:
        pid = await host.spawn(Slow)
        url = json.loads((folder / "lab.json").read_text())["url"]
        for where, sysname in (("local://", "lab"), ("local://lab", "lab")):
            async with ion.connect(where, sysname=sysname) as script:
                assert await ServiceClient("slow", script).where(timeout=10) == pid
        with pytest.raises(Unavailable, match="'other'"):
            async with ion.connect("local://", sysname="other"):
                pass
    password = url.split(":")[2].split("@")[0]
    assert len(password) > 20
    assert password not in caplog.text
    with pytest.raises(Unavailable):
        async with ion.connect("local://", sysname="lab"):
            pass


async def test_what_a_script_has_begun_is_answered_before_the_bus_goes() -> None:
    host = container(**LISTENS)
    await host.start()
    await host.spawn(Slow)
    async with ion.connect("local://", sysname="lab") as script:
        call = asyncio.create_task(ServiceClient("slow", script).wait(timeout=20))
        await Slow.begun.wait()
        stopping = asyncio.create_task(host.stop(20))
        await asyncio.sleep(0)
        Slow.go.set()
        assert await call == "done"
        await stopping


async def test_containers_that_join_share_the_work() -> None:
    async with container(**LISTENS) as host, container("local://", **LISTENS) as second:
        assert second.transport.scheme == "local"
        assert "***@127.0.0.1" in second.broker
        pids = {await host.spawn(Slow), await second.spawn(Slow)}
        for caller in (host, second):
            slow = ServiceClient("slow", caller)
            assert {await slow.where(timeout=10) for _ in range(20)} == pids


async def test_who_joined_joins_the_next_one_too() -> None:
    host = container(**LISTENS)
    await host.start()
    async with container("local://") as second:
        pid = await second.spawn(Slow)
        await host.stop()
        await until(lambda: second.transport.state is TransportState.LOST, "the bus is gone")
        async with container(**LISTENS) as third:
            await second.transport.wait_connected(10)
            assert await ServiceClient("slow", third).where(timeout=10) == pid


async def test_a_start_that_fails_leaves_nothing(folder: Path) -> None:
    async with container(**LISTENS):
        second = container(**LISTENS)
        with pytest.raises(StartError, match="already"):
            await second.start()
        assert second.transport.state is TransportState.CLOSED
        async with ion.connect("local://", sysname="lab"):
            pass
    assert not list(folder.glob("*.json"))
    wrong = container(**{"broker.listen": "0.0.0.0:0"})
    with pytest.raises(ConfigurationError, match="loopback only"):
        await wrong.start()
    with pytest.raises(ConfigurationError, match=r"broker\.listen is for memory://"):
        container("amqp://127.0.0.1:1/", **LISTENS)


async def test_a_port_that_is_taken() -> None:
    async with container(**LISTENS) as host:
        taken = host.transport._listener._server.port
        second = Container(sysname="b", config={"broker.listen": f"127.0.0.1:{taken}"})
        with pytest.raises(StartError, match="cannot listen"):
            await second.start()


@pytest.mark.parametrize("url", ["local://a.b", "local://a/b/c", "local://u:p@h"])
def test_what_is_no_such_url(url: str) -> None:
    with pytest.raises(ConfigurationError, match="local://"):
        Container(url)
