"""Calls that block the loop are found where they stand, and only those."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest
from blockbuster import BlockingError

from ion import Container, Service, ServiceClient
from ion.base import clock
from ion.testing.blocking import never_blocking


class Sleeper:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251


async def test_a_blocking_call_below_ion_fails(no_blocking):
    with clock.using(Sleeper()), pytest.raises(BlockingError, match=r"time\.sleep"):
        await clock.sleep(0)


async def test_calls_of_others_are_theirs(no_blocking):
    time.sleep(0)  # noqa: ASYNC251
    assert Path(__file__).read_text()


def test_off_the_loop_everything_may_block(no_blocking):
    with clock.using(Sleeper()):
        coroutine = clock.sleep(0)
        with pytest.raises(StopIteration):
            coroutine.send(None)


async def test_afterwards_all_is_as_before():
    with never_blocking():
        pass
    with clock.using(Sleeper()):
        await clock.sleep(0)


async def test_other_packages_can_be_watched(tmp_path, monkeypatch):
    (tmp_path / "sleepy.py").write_text("import time\ndef nap(): time.sleep(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import sleepy

    with never_blocking("sleepy"), pytest.raises(BlockingError):
        sleepy.nap()


async def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "blockbuster", None)
    with pytest.raises(pytest.UsageError, match="pip install"), never_blocking():
        pass


class EchoService(Service, name="echo"):
    """Repeats."""

    async def op_echo(self, text: str) -> str:
        """Return ``text``."""
        await asyncio.sleep(0)
        return text


async def test_the_way_of_a_message_does_not_block():
    async with Container("memory://", sysname="test") as container:
        await container.spawn(EchoService)
        echo = ServiceClient("echo", container)
        with never_blocking():
            assert await echo.echo(text="x") == "x"
