"""What was refused lately, and how much may be checked in vain: refusing must cost little. Pure.

To check a signature costs more than to handle a message, and anybody can send a token. One that was
refused is refused again without a look, for a while: so comes what has expired and is used on. Of
new ones that are not good, so many are checked in a second; then what is not known waits.
"""

from __future__ import annotations

from ion.base.errors import Unauthorized, Unavailable

FOR = 5.0  # seconds
MAX_KEPT = 512  # of up to 8 KiB each
BURST, RATE = 1000.0, 500.0  # checks in vain at once, and in a second after that


class NegativeCache:
    """The tokens that were refused lately."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, str, str]] = {}  # -> when, message, reason
        self._left, self._filled = BURST, 0.0

    def __len__(self) -> int:
        return len(self._kept)

    def look(self, token: str, now: float) -> None:
        """Refuse a token that was refused a moment ago.

        :param now: seconds since 1970.
        :raises Unauthorized: it was; as then.
        """
        found = self._kept.get(token)
        if found is not None and 0 <= now - found[0] < FOR:
            raise Unauthorized(found[1], details={"reason": found[2]})

    def may_check(self, now: float) -> None:
        """See that one more signature may be checked.

        :raises Unavailable: too many were checked in vain.
        """
        self._left = min(self._left + max(now - self._filled, 0.0) * RATE, BURST)
        self._filled = now
        if self._left < 1:
            message = "too many tokens come that are not good: try again"
            raise Unavailable(message, details={"retry-after": 1.0, "reason": "flood"})

    def note(self, token: str, error: Unauthorized, now: float, *, checked: bool) -> None:
        """Take note of a refusal.

        :param checked: whether a signature was checked for it.
        """
        self._left -= checked
        reason = str(error.details.get("reason", ""))
        if reason == "early":
            return  # it will be good
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[token] = (now, error.message, reason)
