"""Order and flow of a conversation of many messages: numbers, and credit. Pure: no clock, no I/O.

Each side numbers what it says in the header ``conv-seq``: the request is 1, and so is nothing else.
A sender that leaves the header out, or sets it to no number, is taken as it comes.
"""

from __future__ import annotations

import enum
from typing import Any

MAX_CREDIT = 1_000_000


class Place(enum.Enum):
    """Where a message stands among those of its sender."""

    NEXT = "next"
    DOUBLE = "double"  # it was heard before
    GAP = "gap"  # one before it was lost
    AGAIN = "again"  # the sender has begun from the start


class Order:
    """The numbers of what the other side says.

    :ivar heard: the highest so far; what comes next is one more.
    """

    __slots__ = ("_first", "heard")

    def __init__(self) -> None:
        self.heard = 1
        self._first = ""

    def place(self, number: Any, message_id: str) -> Place:
        """Return where the message of that number stands, and count it where it is the next.

        :param message_id: tells a doubled first message from that of a sender who begins again.
        """
        if number.__class__ is not int:
            return Place.NEXT
        if number == self.heard + 1:
            if number == 2:  # noqa: PLR2004 - the first after the request
                self._first = message_id
            self.heard = number
            return Place.NEXT
        if number > self.heard:
            return Place.GAP
        if number == 2 and message_id != self._first:  # noqa: PLR2004
            return Place.AGAIN
        return Place.DOUBLE


class Window:
    """How many items the initiator of a stream has room for.

    :param size: at most so many are on their way or waiting to be read.
    """

    __slots__ = ("_due", "open", "owed", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.open = size  # items that may still come
        self.owed = 0  # items that were read, but not given back as credit yet
        self._due = max(1, size // 2)

    def take(self) -> bool:
        """Count an item that came; return whether it was allowed to."""
        self.open -= 1
        return self.open >= 0

    def read(self) -> bool:
        """Count an item that was read; return whether it is time to give credit."""
        self.owed += 1
        return self.owed >= self._due

    @property
    def is_due(self) -> bool:
        """Whether it is time to give credit."""
        return self.owed >= self._due

    def give(self) -> int:
        """Return the credit to give now."""
        credit, self.owed = self.owed, 0
        self.open += credit
        return credit


def credit_of(value: Any) -> int | None:
    """Return the credit that a header gives, or None where that is none: 1 to MAX_CREDIT."""
    if value.__class__ is int and 1 <= value <= MAX_CREDIT:
        return int(value)
    return None
