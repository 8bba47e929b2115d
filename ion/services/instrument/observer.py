"""Somebody who looks at an instrument: what there is to see when nobody has typed anything yet."""

from __future__ import annotations

import logging

from ion.base import clock
from ion.process.events.types import AgentStateChanged
from ion.process.granules.granule import Granule
from ion.process.granules.subscriber import StreamSubscriber
from ion.process.process import Process
from ion.services.instrument.machine import LOST_CONNECTION, STREAMING

log = logging.getLogger(__name__)
KNOT = 0.514444  # metres per second


class Observer(Process):
    """Says where the instrument is, at most every ``interval`` seconds, and what becomes of it.

    :param stream: of positions: ``lat``, ``lon``, ``alt``, ``speed``, ``course``.
    :param reports: after so many it falls silent; 0: never.
    """

    def __init__(self, stream: str = "gps", interval: float = 10.0, reports: int = 6) -> None:
        self.watched = stream
        self.interval = interval
        self.left = reports or -1
        self.samples = 0
        self._since = clock.monotonic()
        self._next = 0.0
        self.has_begun = False

    async def on_activate(self) -> None:
        """Subscribe to the positions, and to what agents tell."""
        await StreamSubscriber.open(self, self.watched, self.on_granule)
        await self.subscribe_events(AgentStateChanged, self.on_state)

    async def on_state(self, event: AgentStateChanged) -> None:
        """Hear of an agent in another state; how it first got to where it streams is no news."""
        self.has_begun |= event.state in (STREAMING, LOST_CONNECTION)
        if event.state == STREAMING:
            self.samples, self._since = 0, clock.monotonic()  # a rate is of the time since then
        if not self.has_begun:
            return
        why = f": {event.reason}" if event.reason else ""
        log.info("%s is %s%s", event.origin, event.state, why)

    async def on_granule(self, granule: Granule) -> None:
        """Hear of positions."""
        self.samples += len(granule["time"])
        now = clock.monotonic()
        if now < self._next or self.left == 0:
            return
        self._next = now + self.interval
        rate = self.samples / max(now - self._since, 1.0)
        self.samples, self._since = 0, now
        self._report({name: float(granule[name][-1]) for name in granule}, rate)
        self.left -= 1
        if self.left == 0:
            log.info("the observer has seen enough, and is quiet from now on")

    def _report(self, at: dict[str, float], rate: float) -> None:
        log.info(
            "%s is at %.5f %s %.5f %s, %.1f m up, %.1f kn to %03.0f degrees; %.2f samples/s",
            self.watched,
            abs(at["lat"]),
            "NS"[at["lat"] < 0],
            abs(at["lon"]),
            "EW"[at["lon"] < 0],
            at["alt"],
            at["speed"] / KNOT,
            at["course"],
            rate,
        )
