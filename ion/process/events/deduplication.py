"""No event twice, where what a repository replays meets what is heard as it comes. Pure.

An event may come both ways. By its id it is known which way it was heard first, and dropped when it
comes the other way. What was told before the subscription's queue was bound, and came to the
repository only later than all that was replayed (since its store was away), is found by its time.
"""

from __future__ import annotations

SLACK = 1.0  # seconds that the clocks of publishers may be behind


class Deduplication:
    """What was heard either way: replayed, and as it came.

    :param mark: id of the event that was told when the queue was bound.
    :param bound: when that was, seconds since 1970, UTC.
    :ivar is_passed: the mark has come by the queue: so has what was told before.
    """

    def __init__(self, mark: str, bound: float) -> None:
        self.is_passed = False
        self._mark = mark
        self._horizon = bound + SLACK
        self._replayed: set[str] = set()
        self._heard: set[str] | None = set()

    def replay(self, id: str) -> None:
        """Note that an event is replayed, which may come by the queue, too."""
        self._replayed.add(id)

    def hear(self, id: str, created: float) -> bool:
        """Return whether an event that came by the queue is to be handled: it was not replayed."""
        if id == self._mark:
            self.is_passed = True
        if id in self._replayed:
            return False
        if self._heard is not None and created <= self._horizon:
            self._heard.add(id)
        return True

    def is_late(self, id: str, created: float) -> bool:
        """Return whether an event of the repository will not come by the queue.

        It was told before that was bound, though it came to the repository after the mark.
        """
        known = self._heard is None or id in self._heard or id in self._replayed
        return not known and created <= self._horizon

    def close(self) -> None:
        """Look for late events no more."""
        self._heard = None
