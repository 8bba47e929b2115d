"""For how long something has stood as it is, by one's own clock.

Who holds a lease renews a row now and then. Whether they have become silent cannot be told from a
time that they have written: their clock may be another one. But who looks at the row again and
again knows for how long it has not changed.
"""

from __future__ import annotations

from ion.base import clock

MOST = 10_000  # rows that are remembered; beyond, the one that changed first is forgotten


class Sightings:
    """What rows were last seen as."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def unchanged(self, row: str, revision: int) -> float:
        """Take note of a row's revision; return for how many seconds, at least, it has had it."""
        now = clock.monotonic()
        before = self._seen.get(row)
        if before is not None and before[0] == revision:
            return now - before[1]
        self._seen.pop(row, None)
        if len(self._seen) >= MOST:
            del self._seen[next(iter(self._seen))]
        self._seen[row] = revision, now
        return 0.0
