"""How long to wait before the next try: exponential with full jitter. Pure."""

from __future__ import annotations

FIRST = 0.05
EARLY_CAP = 0.5
LATE_CAP = 30.0
EARLY = 60.0
_MAX_DOUBLINGS = 12


def delay(attempt: int, elapsed: float, chance: float) -> float:
    """Return the seconds to wait before try number ``attempt`` (0 = the first).

    :param elapsed: seconds since the trouble began; within the first minute waits stay short.
    :param chance: a random number from 0 to 1: the jitter.
    """
    cap = EARLY_CAP if elapsed < EARLY else LATE_CAP
    return min(cap, FIRST * 2.0 ** min(attempt, _MAX_DOUBLINGS)) * chance
