"""Looking at a queue for calls that had no answer: one look for all that ask at a time, in time.

When a broker freezes or a service hangs, thousands of calls reach their deadline together. Each
asking for itself would wait behind all others, far beyond its deadline.
"""

from __future__ import annotations

import asyncio
from functools import partial

from ion.base.errors import Unavailable
from ion.messaging.transport import QueueInfo, Transport


class Probes:
    """The looks at queues that are under way.

    :param budget: seconds within which whoever asks has an answer or an error.
    """

    def __init__(self, transport: Transport, budget: float) -> None:
        self._transport = transport
        self._budget = budget
        self._open: dict[str, asyncio.Task[QueueInfo | None]] = {}

    async def look(self, queue: str) -> QueueInfo | None:
        """Return what is known of a queue; None where there is none.

        :raises Unavailable: the broker is away, or did not answer in time.
        """
        probe = self._open.get(queue)
        if probe is None:
            look = self._transport.queue_info(queue, timeout=self._budget)
            probe = asyncio.create_task(look, name=f"look at {queue}")
            self._open[queue] = probe
            probe.add_done_callback(partial(self._over, queue))
        # Not asyncio.timeout: a look that many wait for is not to be cancelled for one of them.
        await asyncio.wait({probe}, timeout=self._budget)
        if not probe.done() or probe.cancelled():
            message = f"no answer about queue {queue!r} within {self._budget:g} s"
            raise Unavailable(message)
        return probe.result()

    def close(self) -> None:
        """Give up the looks that are under way."""
        for probe in self._open.values():
            probe.cancel()

    def _over(self, queue: str, probe: asyncio.Task[QueueInfo | None]) -> None:
        self._open.pop(queue, None)
        if not probe.cancelled():
            probe.exception()  # seen: those who asked may be gone
