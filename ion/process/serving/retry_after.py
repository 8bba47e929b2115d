"""How long a full mailbox takes to empty: the truth behind ``retry-after``. Pure.

It is measured only from when a mailbox is half full, by counting what was handled since.
"""

from __future__ import annotations

SHORTEST, LONGEST = 0.1, 60.0  # seconds
UNKNOWN = 1.0  # where nothing was seen yet
TOO_SHORT = 0.1  # seconds in which it says nothing that no message was handled
WINDOW = 5.0  # seconds that a measurement covers


class RetryAfter:
    """A measurement of how fast a process handles its messages while it is busy.

    :param now: seconds, on any clock that is used throughout.
    :param handled: how many messages it has handled so far.
    :param concurrency: how many it handles at a time.
    """

    __slots__ = ("_began", "_concurrency", "_each", "_handled")

    def __init__(self, now: float, handled: int, concurrency: int = 1) -> None:
        self._began = now
        self._handled = handled
        self._concurrency = concurrency
        self._each = 0.0  # seconds a message, all that are handled at a time taken together

    def retry_after(self, now: float, handled: int, waiting: int) -> float:
        """Return in how many seconds what waits now will have been handled, 0.1 to 60."""
        elapsed, done = now - self._began, handled - self._handled
        if done > 0:
            self._each = elapsed / done
        elif elapsed >= TOO_SHORT:
            self._each = max(self._each, elapsed / self._concurrency)
        if done > 0 and elapsed > WINDOW:
            self._began, self._handled = now, handled
        estimate = self._each * max(waiting, 1) if self._each else UNKNOWN
        return round(min(max(estimate, SHORTEST), LONGEST), 3)
