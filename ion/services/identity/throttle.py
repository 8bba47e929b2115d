"""Throttle: who fails to prove who they are, again and again, has to wait. Bounded."""

from __future__ import annotations

import time
from collections.abc import Callable

from ion.base.errors import ApplicationError

FREE = 5  # failures that cost nothing
LONGEST = 60.0  # seconds
MAX_KNOWN = 10_000


class Throttle:
    """Counts failures in a row, by actor.

    :param now: a clock, seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: dict[str, tuple[int, float]] = {}  # actor -> count, not before

    def check(self, actor: str) -> None:
        """Check that an actor may try.

        :raises ApplicationError: 429, not yet; ``details`` holds ``retry_after``, seconds.
        """
        _, not_before = self._failures.get(actor, (0, 0.0))
        left = not_before - self._now()
        if left > 0:
            message = f"too many have failed to be {actor!r:.80}: try again in {left:.0f} s"
            raise ApplicationError(message, 429, "TooManyAttempts", {"retry_after": left})

    def failed(self, actor: str) -> None:
        """Note that one has failed."""
        count = self._failures.pop(actor, (0, 0.0))[0] + 1
        if len(self._failures) >= MAX_KNOWN:
            del self._failures[next(iter(self._failures))]
        wait = min(2.0 ** (count - FREE), LONGEST) if count > FREE else 0.0
        self._failures[actor] = (count, self._now() + wait if wait else 0.0)

    def forget(self, actor: str) -> None:
        """Note that an actor has proved who they are."""
        self._failures.pop(actor, None)
