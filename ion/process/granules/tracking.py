"""What has come of a stream, by publisher: what is missing, and what comes twice."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

REACH = 64  # numbers behind the last of which it is known whether they came
MAX_PUBLISHERS = 1000
_MASK = (1 << REACH) - 1


class Seen(msgspec.Struct, array_like=True):
    """What has come of one publisher.

    :ivar last: its greatest number so far.
    :ivar mask: bit n: number ``last - n`` has come.
    :ivar at: when it was noted, seconds since 1970; 0.0: nobody looks at that.
    """

    last: int
    mask: int
    at: float = 0.0

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
    """Lets pass what is next of each publisher of a stream, and nothing that is behind that.

    So a subscriber hears each granule once at most, and those of a publisher in their order,
    whatever the broker, or who publishes once more after a loss, brings a second time, or late.

    :ivar missed: granules that never came, or came after one that follows them; but where a
        publisher leaves numbers out.
    :ivar doubled: that came once more.
    """

    __slots__ = ("_seen", "doubled", "missed")

    def __init__(self) -> None:
        self.missed = 0
        self.doubled = 0
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    def is_new(self, publisher: str, number: int, *, sparse: bool) -> bool:
        """Take note of a granule; return whether it is to be heard."""
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
        if number <= last:
            self.doubled += missing is None
            return False
        if not sparse:
            self.missed += missing or 0
        return True
