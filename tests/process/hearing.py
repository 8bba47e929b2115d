"""What tests of events share: types of events, a process that hears, and waiting."""

from __future__ import annotations

import asyncio
import inspect
import time

import msgspec

from ion import Container, Process
from ion.process.events import Event

PATIENCE = 30.0


class Weather(Event):
    """The weather is worth telling of."""


class Storm(Weather):
    """There is a storm."""

    force: int


class Hurricane(Storm):
    """A storm with a name."""

    name: str = ""
    seen: list[float] = msgspec.field(default_factory=list)


class Listener(Process):
    """Hears what it is asked to, and keeps it; of some it says that it fails."""

    def __init__(
        self,
        of: type[Event] = Event,
        fails: bool = False,
        stops_at: int | None = None,
        **wanted: object,
    ) -> None:
        self.of = of
        self.fails = fails
        self.stops_at = stops_at
        self.wanted = wanted
        self.heard: list[Event] = []
        self.tries = 0

    async def on_activate(self) -> None:
        """Subscribe."""
        self.subscription = await self.subscribe_events(self.of, self.on_event, **self.wanted)

    async def on_event(self, event: Event) -> None:
        """Keep an event."""
        self.tries += 1
        if self.fails and event.description == "bad":
            raise ValueError("I do not like it")
        if self.stops_at is not None and self.tries > self.stops_at:
            await asyncio.Event().wait()
        self.heard.append(event)


async def listen(container: Container, **args: object) -> Listener:
    """Spawn a listener, and return it."""
    return container.processes[await container.spawn(Listener, args=args)]


async def until(condition) -> None:
    """Return once a condition is true, which may be awaitable; fail where it stays false."""
    end = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if (await found) if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < end, f"not so after {PATIENCE} s: {inspect.getsource(condition)}"
        await asyncio.sleep(0.005)
