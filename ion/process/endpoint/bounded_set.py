"""Sets of keys with a bound, the oldest forgotten first: notes about messages that are not here."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

MAX_KEPT = 10_000
MAX_UNBEGUN = 65_535  # as many as a consumer may be handed
MAX_EXPECTED = 1000  # queues
SOON = 10.0  # seconds in which what was given back comes to somebody else


class BoundedSet(OrderedDict[Any, None]):
    """The latest of them, by (reply queue, conversation id).

    A cancel that came before its request, which must not begin then, is one; another kind is
    :class:`Unbegun`.

    :param limit: how many are kept.
    """

    def __init__(self, limit: int = MAX_KEPT) -> None:
        super().__init__()
        self.limit = limit

    def keep(self, key: Any) -> None:
        """Note a message; where there are too many, the oldest note goes."""
        self[key] = None
        if len(self) > self.limit:
            self.popitem(last=False)

    def take(self, key: Any) -> bool:
        """Return whether there is a note about a message that has come now, and drop the note."""
        if key not in self:
            return False
        del self[key]
        return True


class Unbegun(BoundedSet):
    """Messages that were not begun where they were before, so that their coming again counts for
    nothing: those that a lost connection took back, and those that somebody has handed over.
    """

    def __init__(self) -> None:
        super().__init__(MAX_UNBEGUN)
        self._expected: dict[str, tuple[int, float]] = {}

    def expect(self, queue: str, count: int, now: float) -> None:
        """Note that at most ``count`` messages will come again by a queue, soon, unbegun."""
        expected = {q: e for q, e in self._expected.items() if e[1] > now and q != queue}
        while len(expected) >= MAX_EXPECTED:
            del expected[next(iter(expected))]
        self._expected = {**expected, queue: (count, now + SOON)}

    def is_expected(self, queue: str, now: float) -> bool:
        """Return whether a message that has come again by a queue is one of those."""
        count, until = self._expected.pop(queue, (0, 0.0))
        if count > 1:
            self._expected[queue] = (count - 1, until)
        return until > now
