"""What a container's log says, as events: asked for, masked, bounded, and never of itself."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Iterator

import pytest

from ion import Container, Process, Service
from ion.process.events import logs
from ion.process.events.background_publisher import BackgroundPublisher
from ion.process.events.types import LogError, LogEvent, LogWarning
from tests.process.hearing import Storm, Weather, listen, until

_names = itertools.count(1)
log = logging.getLogger("station.pump")
ON = {"events.logs": "warning", "events.lifecycle": "off"}
OFF = {"events.lifecycle": "off"}


@pytest.fixture
def url() -> Iterator[str]:
    """Give the URL of a bus; nothing is left behind at the root of all loggers."""
    before = list(logging.getLogger().handlers)
    yield f"memory://logs-{next(_names)}"
    assert logging.getLogger().handlers == before


class Pump(Service, name="pump"):
    """Logs."""

    async def op_run(self, pressure: int) -> None:
        log.warning("pressure is %d at amqp://ada:hidden@host/", pressure, extra={"token": "t"})

    async def op_break(self) -> None:
        raise ValueError("the seal of redis://:hidden@host is gone")

    async def op_elsewhere(self) -> None:
        await asyncio.to_thread(log.critical, "from another thread")


async def test_warnings_and_errors_of_a_container_are_told(url: str) -> None:
    async with Container(url, config=OFF) as watch, Container(url, config=ON) as container:
        listener = await listen(watch, of=LogEvent)
        await container.spawn(Pump)
        log.info("nobody hears this")
        await container.rpc_send("pump", "run", {"pressure": 7})
        await container.send("pump", "break")
        await container.rpc_send("pump", "elsewhere")
        await until(lambda: len(listener.heard) >= 3)
        warning, *errors = listener.heard
        assert isinstance(warning, LogWarning)
        assert warning.description == "pressure is 7 at amqp://ada:***@host/"
        assert (warning.origin, warning.origin_type) == (container.id, "station.pump")
        assert (warning.op, warning.process.rpartition(".")[0]) == ("run", container.id)
        assert warning.where.startswith("test_logs.py:")
        assert {type(each) for each in errors} == {LogError}
        assert any(
            each.error == "ValueError: the seal of redis://:***@host is gone" for each in errors
        )
        assert {each.sub_type for each in errors} == {"error", "critical"}
        assert not any("hidden" in repr(each) for each in listener.heard)
        with pytest.MonkeyPatch.context() as patch:  # who logs nonsense is told so as ever
            patch.setattr(logging, "raiseExceptions", False)
            log.warning("%d", "no number")


async def test_a_handler_of_such_events_that_fails_begins_no_endless_tale(url: str) -> None:
    async with Container(url, config=ON) as container:
        picky = await listen(container, of=LogEvent, fails=True, name="picky")
        log.warning("bad")
        await until(lambda: picky.tries >= 2)
        log.warning("good")
        await until(lambda: picky.heard)
        assert {event.description for event in picky.heard} == {"good"}


async def test_a_flood_is_bounded_and_lifecycle_events_do_not_drown(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "RATE", 0.0)
    async with Container(url, config=ON) as container:
        listener = await listen(container)
        for n in range(1000):
            log.warning("drop %d", n)
        await container.publish_event(Storm(origin="pier", force=9))
        await until(lambda: len(listener.heard) > logs.BURST)
        assert [isinstance(each, Storm) for each in listener.heard].count(True) == 1
        (teller,) = [h for h in logging.getLogger().handlers if isinstance(h, logs.LogTeller)]
        teller._allowance._rate = 1e9
        log.warning("after it")
        await until(lambda: len(listener.heard) >= 2 + logs.BURST)
        assert len(listener.heard) == 2 + logs.BURST  # nothing of the flood came in between
        last = listener.heard[-1]
        assert isinstance(last, LogEvent)
        assert last.omitted == 1000 - logs.BURST


async def test_what_the_way_itself_says_is_not_told(url: str) -> None:
    async with Container(url, config=ON) as container, Container(url, config=ON) as other:
        listener = await listen(other, of=LogEvent)
        logging.getLogger("ion.messaging.amqp.reconnect").error("the broker is away")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(container.endpoint.transport, "wait_writable", _warn_and_return)
            log.warning("a word")
            await until(lambda: listener.heard)
        told = [event.description for event in listener.heard]
        assert "the broker is away" not in told
        assert "on the way" not in told


async def _warn_and_return(timeout: float) -> None:
    log.warning("on the way")


class Plain(Process):
    """Does nothing."""


async def test_where_nobody_asks_for_it_nothing_is_told(url: str) -> None:
    async with Container(url) as container:
        await container.spawn(Plain)
        assert not any(isinstance(each, logs.LogTeller) for each in logging.getLogger().handlers)


async def test_one_that_cannot_be_told_takes_no_other_with_it():
    """A name of a file, in what is logged, need not be text; nor need fields be plain data."""
    async with Container("memory://", config={"events.lifecycle": "off"}) as container:
        listener = await listen(container, of=Weather)
        handing = BackgroundPublisher(container.endpoint, "events of a test", 10)
        for event in (
            Weather(origin="first"),
            Weather(origin="odd", description=os.fsdecode(b"no file \xff")),
            Weather(origin="never", extra={"is": object()}),
            Weather(origin="large", description="x" * 2_000_000),
            Weather(origin="last"),
        ):
            handing.put(event)
        await until(lambda: len(listener.heard) == 3)
        await handing.close(1.0)
        heard = [(event.origin, event.description) for event in listener.heard]
        assert heard == [("first", ""), ("odd", "no file \\udcff"), ("last", "")]
