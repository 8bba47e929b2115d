"""Workers that share a queue, and the process that collects what they find out.

All instances of a service take from one queue, so more workers are just more instances, in this
container or in others. With ``concurrency=1`` and ``prefetch=1`` each takes a new job when it is
done with the last, and the rest stays in the queue for whoever is free.
"""

from __future__ import annotations

from collections import deque

from ion.process.process import Process
from ion.process.service import Service

KEPT = 1000


class Worker(Service, name="workqueue", version="0.1.0", concurrency=1, prefetch=1):
    """Squares numbers."""

    async def op_square(self, number: int, collector: str) -> None:
        """Send the square of ``number`` to the process ``collector``.

        The job counts as done when this returns: where a worker's container is killed before, the
        broker gives the job to another one.
        """
        await self.send(collector, "collect", {"number": number, "square": number * number})


class Collector(Process):
    """Keeps the last 1,000 results."""

    def __init__(self) -> None:
        self.found: deque[tuple[int, int]] = deque(maxlen=KEPT)

    async def op_collect(self, number: int, square: int) -> None:
        """Keep a result."""
        self.found.append((number, square))

    async def op_results(self) -> list[tuple[int, int]]:
        """Return the results: pairs of a number and its square, as they came in."""
        return list(self.found)
