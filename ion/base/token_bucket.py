"""A token bucket: how much of what others cause is done, at once and in a second after that."""

from __future__ import annotations


class TokenBucket:
    """A bucket that fills as time goes by, and of which each one takes.

    :param burst: how many it holds: so many may come at once.
    :param rate: how many come in a second.
    :param now: the time, on the clock that :meth:`take` is told it from.
    """

    __slots__ = ("_burst", "_filled", "_left", "_rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = self._left = float(burst)
        self._rate = rate
        self._filled = now

    def take(self, now: float) -> bool:
        """Take one; return whether there was one."""
        self._left = min(self._left + max(now - self._filled, 0.0) * self._rate, self._burst)
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
