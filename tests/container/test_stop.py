"""A container's stop takes no longer than its budget, whatever hooks, modules and handlers do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from ion import Container, Process, ReceivedContainerError, Service

FOREVER = 600.0


class Hanging(Process):
    """Never gets to the end of its end."""

    async def on_terminate(self) -> None:
        await asyncio.sleep(FOREVER)


class Stubborn(Process):
    """Heeds no cancellation, until the test is over."""

    released = False

    async def op_work(self) -> None:
        while not Stubborn.released:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(FOREVER)


class Busy(Service, name="busy"):
    """Is never done."""

    ended = 0

    async def op_work(self) -> None:
        await asyncio.sleep(FOREVER)

    async def on_terminate(self) -> None:
        Busy.ended += 1


async def begun(container: Container, count: int = 1) -> None:
    """Return once that many handlers run."""
    async with asyncio.timeout(10):
        while sum(process._active for process in container.processes.values()) < count:
            await asyncio.sleep(0.001)


async def test_many_hooks_that_hang_are_cut_off_and_callers_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, before = "memory://stop-hooks", Busy.ended
    async with Container(name) as caller, Container(name) as container:
        await container.spawn(Busy)
        for _ in range(100):
            await container.spawn(Hanging)
        call = asyncio.create_task(caller.rpc_send("busy", "work", timeout=60))
        await begun(container)
        began = time.monotonic()
        await container.stop(timeout=0.2)
        assert time.monotonic() - began < 15  # one after another, 20 s and the call's minute
        with pytest.raises(ReceivedContainerError, match="terminated"):
            await call
    assert "cut off" in caplog.text
    assert Busy.ended == before + 1  # its hook was called all the same
    assert container.state == "TERMINATED"


async def test_handlers_of_several_processes_share_the_budget() -> None:
    name = "memory://stop-handlers"
    async with Container(name) as caller, Container(name) as container:
        pids = [await container.spawn(Stubborn) for _ in range(5)]
        calls = [asyncio.create_task(caller.rpc_send(pid, "work", timeout=60)) for pid in pids]
        await begun(container, 5)
        began = time.monotonic()
        await container.stop(timeout=0.2)
        assert time.monotonic() - began < 15
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        Stubborn.released = True  # cancelled with the test's loop, they end
    assert {type(outcome) for outcome in outcomes} == {ReceivedContainerError}


async def test_a_module_that_does_not_stop_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "neverending.py").write_text(
        "import asyncio\n"
        "async def start(container, start_type, app): pass\n"
        "async def stop(container, state): await asyncio.sleep(600)\n"
    )
    (tmp_path / "neverending.app").write_text(
        "type: application\nname: neverending\nversion: 1.0.0\nmod:\n  name: neverending\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    async with Container("memory://") as container:
        await container.start_app(tmp_path / "neverending.app")
        began = time.monotonic()
        await container.stop(timeout=0.2)
        assert time.monotonic() - began < 15
    assert "neverending" in caplog.text


async def test_a_stop_without_time_still_answers() -> None:
    name = "memory://stop-at-once"
    async with Container(name) as caller, Container(name) as container:
        await container.spawn(Busy)
        call = asyncio.create_task(caller.rpc_send("busy", "work", timeout=60))
        await begun(container)
        await container.stop(timeout=0)
        with pytest.raises(ReceivedContainerError, match="terminated"):
            await call
