"""Looking at a queue for calls that had no answer: one look for all that ask at a time, in time.

When a broker freezes or a service hangs, thousands of calls reach their deadline together. Each
asking for itself would wait behind all others, far beyond its deadline.
"""

from __future__ import annotations

import asyncio
from functools import partial

from ion.base.errors import DeadlineExceeded, IonError, Unavailable
from ion.messaging.transport import QueueInfo, Transport

SLICES = 4  # turns of the loop, at least, that an answer has time for
LOOK_TIMEOUT = 1.0  # seconds


class Probes:
    """The looks at queues that are under way.

    :param budget: seconds for the broker's answer. Where thousands of calls end together the loop
        itself is late: the budget is spent in slices, between which what has arrived is read.
    """

    def __init__(self, transport: Transport, budget: float) -> None:
        self._transport = transport
        self._budget = budget
        self._open: dict[str, asyncio.Task[QueueInfo | None]] = {}

    async def look(self, queue: str) -> QueueInfo | None:
        """Return what is known of a queue; None where there is none, or it cannot be told in time.

        :raises Unavailable: the broker is away: it has not said anything since it was asked.
        """
        look = self._open.get(queue)
        if look is None:
            look = asyncio.create_task(self._look(queue), name=f"look at {queue}")
            self._open[queue] = look
            look.add_done_callback(partial(self._over, queue))
        try:  # shielded: a look that many wait for is not to be cancelled for one of them
            return await asyncio.shield(look)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling() or not look.cancelled():
                raise
            message = f"no answer about queue {queue!r}: the container is stopping"
            raise Unavailable(message) from None

    async def overdue(self, to: str, op: str, queue: str) -> IonError:
        """Return the error of a call at its deadline, by whether anybody consumes its queue.

        :param queue: "" where it went to a process.
        """
        if queue:
            try:
                info = await self.look(queue)
            except IonError:
                message = f"no answer of {to!r}: the broker does not answer either"
                return Unavailable(message, details={"to": to})
            if info is not None and info.consumers == 0:
                message = f"nobody consumes queue {queue!r}: no instance of {to!r} is running"
                return Unavailable(message, details={"to": to, "waiting": info.messages})
        message = f"no answer of {to!r} to {op!r} within its deadline"
        return DeadlineExceeded(message, details={"to": to, "op": op})

    async def _look(self, queue: str) -> QueueInfo | None:
        began = asyncio.get_running_loop().time()
        asking = asyncio.ensure_future(self._transport.queue_info(queue, timeout=LOOK_TIMEOUT))
        try:
            for _ in range(SLICES):
                await asyncio.wait({asking}, timeout=self._budget / SLICES)
                if asking.done():
                    return asking.result()
        finally:
            asking.cancel()
        if self._transport.heard > began:
            return None
        message = f"no answer about queue {queue!r} within {self._budget:g} s"
        raise Unavailable(message)

    def close(self) -> None:
        """Give up the looks that are under way."""
        for probe in self._open.values():
            probe.cancel()

    def _over(self, queue: str, probe: asyncio.Task[QueueInfo | None]) -> None:
        self._open.pop(queue, None)
        if not probe.cancelled():
            probe.exception()  # seen: those who asked may be gone
