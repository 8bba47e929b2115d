"""A process that hears of guests, and keeps them in mind.

Its handler looks like an op: what the event holds is bound to the parameters by name, and checked.
"""

from __future__ import annotations

import logging
from collections import deque

from ion.process.process import Process
from ion.services.hello_events.service import POINT

log = logging.getLogger(__name__)
MEMORY = 100


class Listener(Process):
    """Keeps the last 100 guests in mind.

    :param topics: which events it hears: ``hello.arrived.*`` is every door.
    :param book: a name makes the subscription durable: guests who come while no listener runs are
        heard of later, and those listeners that give the same name share them.
    """

    def __init__(self, topics: str = "hello.arrived.*", book: str | None = None) -> None:
        self.topics = topics
        self.book = book
        self.guests: deque[str] = deque(maxlen=MEMORY)

    async def on_activate(self) -> None:
        """Subscribe; the subscription ends with the process."""
        await self.subscribe(POINT, self.topics, self.on_arrival, name=self.book)

    async def on_arrival(self, name: str, door: str) -> None:
        """Hear of a guest."""
        log.info("%s has come by the %s door", name, door)
        self.guests.append(name)

    async def op_guests(self) -> list[str]:
        """Return who was heard of, the last one last."""
        return list(self.guests)
