"""What has come of a stream, by publisher: what is missing, and what comes twice."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

REACH = 64  # granules that one may come after its successors, and still be known as new
MAX_PUBLISHERS = 1000
_MASK = (1 << REACH) - 1


class Seen(msgspec.Struct, array_like=True):
    """What has come of one publisher.

    :ivar last: its greatest number so far.
    :ivar mask: bit n: number ``last - n`` has come.
    """

    last: int
    mask: int

    def take(self, number: int) -> int | None:
        """Take note of a number; return how many are missing right before it, None: it came."""
        ahead = number - self.last
        if ahead > 0:
            self.mask = ((self.mask << min(ahead, REACH)) | 1) & _MASK
            self.last = number
            return ahead - 1
        bit = 1 << -ahead if -ahead < REACH else 0
        if not bit or self.mask & bit:
            return None
        self.mask |= bit
        return 0


class Tracker:
    """Tells new granules from those that have come already, for all publishers of a stream.

    :ivar missed: granules that never came, as far as is known: those that come late are taken off.
    :ivar doubled: that came once more.
    """

    __slots__ = ("_seen", "doubled", "missed")

    def __init__(self) -> None:
        self.missed = 0
        self.doubled = 0
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    def is_new(self, publisher: str, number: int, *, sparse: bool) -> bool:
        """Take note of a granule; return whether it has not come before."""
        seen = self._seen.get(publisher)
        if seen is None:
            if len(self._seen) >= MAX_PUBLISHERS:
                self._seen.popitem(last=False)
            self._seen[publisher] = Seen(number, 1)
            return True
        last = seen.last
        if number == last + 1:  # as nearly always
            seen.mask = (seen.mask << 1 | 1) & _MASK
            seen.last = number
            return True
        missing = seen.take(number)
        if missing is None:
            self.doubled += 1
            return False
        if not sparse:
            self.missed += missing if number > last else -1
        return True
