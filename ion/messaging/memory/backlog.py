"""The ready messages of a queue, in the order in which they leave it."""

from __future__ import annotations

from collections import deque
from operator import attrgetter

from ion.messaging.memory.delivery import Delivery

_number = attrgetter("number")


class Backlog:
    """First in, first out; a message that is put back takes its old place."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: deque[Delivery] = deque()

    def append(self, delivery: Delivery) -> None:
        """Put a new message behind all others."""
        self._items.append(delivery)

    def popleft(self) -> Delivery:
        """Remove and return the message that leaves next; there must be one."""
        return self._items.popleft()

    def put_back(self, deliveries: list[Delivery]) -> None:
        """Take messages in again, each at its old place."""
        back = sorted(deliveries, key=_number)
        items = self._items
        if back and (not items or back[-1].number < items[0].number):
            items.extendleft(reversed(back))
        else:
            self._items = deque(sorted([*back, *items], key=_number))

    def pop_expired(self, now: float) -> list[Delivery]:
        """Remove and return what has expired, up to the first message that has not."""
        expired = []
        items = self._items
        while items and items[0].expires is not None and items[0].expires <= now:
            expired.append(items.popleft())
        return expired

    def next_expiry(self) -> float | None:
        """Return when there may be something expired to pop, or None."""
        return self._items[0].expires if self._items else None

    def stored(self) -> int:
        """Return the bytes of all bodies."""
        return sum(len(delivery.envelope.body) for delivery in self._items)

    def clear(self) -> None:
        """Drop all."""
        self._items.clear()

    def __bool__(self) -> bool:
        return bool(self._items)


class PriorityBacklog(Backlog):
    """One first-in-first-out line for each priority from 0 to ``top``; higher ones leave first.

    :param top: the highest priority; messages above it count as it.
    """

    __slots__ = ("_lines",)

    def __init__(self, top: int) -> None:
        super().__init__()
        self._lines = [Backlog() for _ in range(top + 1)]  # the lowest priority first

    def _line(self, delivery: Delivery) -> Backlog:
        return self._lines[min(delivery.envelope.priority, len(self._lines) - 1)]

    def append(self, delivery: Delivery) -> None:
        """Put a new message behind all others of its priority."""
        self._line(delivery).append(delivery)

    def popleft(self) -> Delivery:
        """Remove and return the message that leaves next; there must be one."""
        return next(line for line in reversed(self._lines) if line).popleft()

    def put_back(self, deliveries: list[Delivery]) -> None:
        """Take messages in again, each at its old place."""
        for line in self._lines:
            line.put_back([d for d in deliveries if self._line(d) is line])

    def pop_expired(self, now: float) -> list[Delivery]:
        """Remove and return what has expired, up to the first message that has not."""
        expired: list[Delivery] = []
        for line in reversed(self._lines):
            expired += line.pop_expired(now)
            if line:
                break
        return expired

    def next_expiry(self) -> float | None:
        """Return when there may be something expired to pop, or None."""
        head = next((line for line in reversed(self._lines) if line), None)
        return None if head is None else head.next_expiry()

    def stored(self) -> int:
        """Return the bytes of all bodies."""
        return sum(line.stored() for line in self._lines)

    def clear(self) -> None:
        """Drop all."""
        for line in self._lines:
            line.clear()
