"""The alarm: when clients publish faster than anybody takes, they are told, then not read from.

What is stored is counted now and then only: after a good part of the limit was published, and while
the alarm is on. Who publishes within the container's own OS process is not held up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ion.messaging.memory.broker import Broker

NONE, TOLD, HELD = 0, 1, 2  # the levels: publishers are told to wait; they are not read from
_MESSAGE = 512  # what a message takes besides its body, about
_PARTS = 16  # looks until as much as the limit was published
_END = 0.8  # of the limit: the alarm is over
_EVERY = 0.25  # seconds between two looks while it is on
_HARD = 2  # times the limit: those who do not stop are not read from


class Alarm:
    """Watches how much the queues of a broker hold.

    :param limit: bytes from which on publishers are told to wait.
    :param on_change: called after each change of the level.
    :ivar level: NONE, TOLD or HELD.
    :ivar reason: what publishers are told.
    """

    def __init__(self, broker: Broker, limit: int, on_change: Callable[[], None]) -> None:
        self._broker = broker
        self._limit = limit
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._since = 0
        self._timer: asyncio.TimerHandle | None = None
        self.level = NONE
        self.reason = f"the queues of the memory bus hold over {limit >> 20} MiB"

    def published(self, size: int) -> None:
        """Count a message that came in."""
        self._since += size + _MESSAGE
        if self._since * _PARTS >= self._limit:
            self._look()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._since = 0
        self.close()
        held = self._broker.stored(_MESSAGE)
        if held >= self._limit * _HARD:
            level = HELD
        elif held >= self._limit * (_END if self.level else 1):
            level = TOLD
        else:
            level = NONE
        changed, self.level = level != self.level, level
        if level:
            self._timer = self._loop.call_later(_EVERY, self._look)
        if changed:
            self._on_change()
