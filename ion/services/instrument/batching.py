"""Samples on their way from a driver to its agent: some at a time, in order, each once.

A batch that the agent has not confirmed is sent again, under the same number, by which the agent
knows it. While it is away, samples wait here, up to a bound; beyond, the oldest are dropped.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping

import msgspec

MOST = 10_000  # samples that wait


class Batch(msgspec.Struct, frozen=True):
    """Some samples, by column.

    :ivar number: of the batches of one driver, from 1 on.
    :ivar columns: field -> its values: 64-bit floats, little-endian.
    """

    number: int
    count: int
    columns: dict[str, bytes]


class Batcher:
    """Gathers samples.

    :param fields: of each sample.
    :param count: a batch is due when there are so many, or
    :param seconds: so long after its first one.
    :ivar dropped: samples that did not fit.
    """

    def __init__(self, fields: tuple[str, ...], count: int, seconds: float) -> None:
        self._fields = fields
        self._count = count
        self._seconds = seconds
        self._samples: deque[Mapping[str, float]] = deque()
        self._since = 0.0
        self._number = 0
        self._unconfirmed: Batch | None = None
        self.dropped = 0

    def add(self, sample: Mapping[str, float], now: float) -> None:
        """Take a sample."""
        if not self._samples:
            self._since = now
        if len(self._samples) >= MOST:
            self._samples.popleft()
            self.dropped += 1
        self._samples.append(sample)

    def due(self, now: float) -> float | None:
        """Return in how many seconds a batch is to be sent: 0 for now, None while there is none."""
        if self._unconfirmed is not None or len(self._samples) >= self._count:
            return 0.0
        return max(self._since + self._seconds - now, 0.0) if self._samples else None

    def take(self) -> Batch | None:
        """Return the next batch, the same one until it is confirmed; None where there is none."""
        if self._unconfirmed is None and self._samples:
            size = min(len(self._samples), self._count)
            taken = [self._samples.popleft() for _ in range(size)]
            self._number += 1
            columns = {name: _column(taken, name) for name in self._fields}
            self._unconfirmed = Batch(self._number, size, columns)
        return self._unconfirmed

    def confirm(self) -> None:
        """Forget the batch that was taken: the agent has it."""
        self._unconfirmed = None

    def clear(self) -> None:
        """Forget what was not sent."""
        self._samples.clear()
        self._unconfirmed = None


def _column(samples: list[Mapping[str, float]], name: str) -> bytes:
    return array("d", [sample[name] for sample in samples]).tobytes()
