"""Events that a process does not wait for: in order, the oldest dropped, none twice for nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ion.base.errors import BadRequest, Unavailable
from ion.process.events import Event, queue
from ion.process.events.publishing import EventPublishing
from ion.process.events.queue import EventQueue
from tests.process.hearing import until


class Teller(EventPublishing):
    """Tells of events where the broker is there; refuses those without an origin."""

    def __init__(self) -> None:
        self.tries: list[str] = []
        self.told: list[str] = []
        self.is_away = False

    async def publish_event(self, event: Event, **_: Any) -> Event:  # type: ignore[override]
        self.tries.append(event.origin)
        if self.is_away:
            raise Unavailable("the broker is away")
        if not event.origin:
            raise BadRequest("an event has an origin")
        self.told.append(event.origin)
        return event


async def test_events_wait_for_the_broker_and_the_oldest_make_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue, "AGAIN", 0.01)
    teller = Teller()
    teller.is_away = True
    events = EventQueue(teller, most=3)
    running = asyncio.create_task(events.run())
    event = Event(origin="first")
    events.put(event)
    assert event.created  # when it happened, not when it is told
    await until(lambda: len(teller.tries) >= 2)
    for origin in ("dropped", "", "third", "fourth"):
        events.put(Event(origin=origin))
    assert not teller.told
    teller.is_away = False
    await until(lambda: teller.told == ["first", "third", "fourth"])
    await until(lambda: "1 events were dropped" in caplog.text)
    assert "an event has an origin" in caplog.text
    events.put(Event(origin="later"))
    await until(lambda: teller.told[-1] == "later")
    running.cancel()
