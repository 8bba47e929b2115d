"""The inbox: which messages were handled, and what they were answered, for effectively-once.

A message that comes again is answered from its inbox, and its handler does not run. How far that
holds is the inbox's affair: one in memory knows what its container has handled since it started.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from ion.messaging.envelope import Envelope


class Known(BaseException):
    """A message was handled before: its handler is to end here, and the answer is kept.

    No Exception: what a handler does about those is about this attempt, and there is to be none.
    """

    def __init__(self, answer: Envelope) -> None:
        super().__init__("the message was handled before")
        self.answer = answer


MAX_KEPT = 100_000
MAX_BYTES = 64 << 20


class Inbox(Protocol):
    """Remembers by message id what was answered; shared by the instances of one service."""

    async def find(self, key: str) -> Envelope | None:
        """Return the answer of the message ``key``, or None where it was not handled.

        The answer to a message that nobody awaits an answer to is an empty envelope.

        :raises Unavailable: it cannot be told now; the message will be tried again.
        """

    async def keep(self, key: str, answer: Envelope) -> None:
        """Remember that ``key`` was handled, and its answer.

        :raises Unavailable: it cannot be kept; the message counts as failed.
        """


class MemoryInbox:
    """An inbox in memory: the last 100,000 messages, and at most 64 MiB of their answers."""

    def __init__(self, limit: int = MAX_KEPT, max_bytes: int = MAX_BYTES) -> None:
        self._kept: OrderedDict[str, Envelope] = OrderedDict()
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0

    async def find(self, key: str) -> Envelope | None:
        """Return the answer of the message ``key``, or None where it was not handled."""
        return self._kept.get(key)

    async def keep(self, key: str, answer: Envelope) -> None:
        """Remember that ``key`` was handled; forgets the oldest where there is no room."""
        before = self._kept.pop(key, None)
        self._bytes += len(answer.body) - (len(before.body) if before is not None else 0)
        self._kept[key] = answer
        while self._kept and (len(self._kept) > self._limit or self._bytes > self._max_bytes):
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.body)
