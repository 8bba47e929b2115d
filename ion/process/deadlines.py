"""Deadlines of many calls on one timer.

A timer of the event loop for every call would cost a microsecond and stay in the loop's heap
after the call is over. Here a call is put into a bucket of 10 ms and taken out when it ends; the
loop has one timer at a time, for the earliest bucket. A deadline fires 0 to 10 ms late.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Any, Protocol

TICK = 0.010
TICKS = 100  # a second


class Expires(Protocol):
    """What can be given a deadline."""

    bucket: set[Any] | None

    def expire(self) -> None:
        """Called once at the deadline, unless taken out before; must not raise."""


class Deadlines:
    """The deadlines of one event loop's calls."""

    __slots__ = ("_buckets", "_heap", "_loop", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Expires]] = {}
        self._heap: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())

    def add(self, item: Expires, deadline: float) -> None:
        """Call ``item.expire()`` at ``deadline`` (seconds on the loop's clock) or soon after."""
        index = int(deadline * TICKS) + 1
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._new_bucket(index)
        bucket.add(item)
        item.bucket = bucket

    def discard(self, item: Expires) -> None:
        """Take an item out; no error where it is not in."""
        bucket = item.bucket
        if bucket is not None:
            bucket.discard(item)
            item.bucket = None

    def close(self) -> None:
        """Forget everything and stop the timer."""
        self._buckets.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _new_bucket(self, index: int) -> set[Expires]:
        bucket: set[Expires] = set()
        self._buckets[index] = bucket
        heapq.heappush(self._heap, index)
        if self._timer is None or index < self._timer_at:
            self._arm()
        return bucket

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._heap[0]
        self._timer = self._loop.call_at(self._timer_at * TICK, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = int(self._loop.time() / TICK)
        while self._heap and self._heap[0] <= now:
            bucket = self._buckets.pop(heapq.heappop(self._heap), set())
            for item in list(bucket):
                if item in bucket:  # not discarded by one that expired before it
                    item.expire()
        if self._heap and self._timer is None:
            self._arm()
