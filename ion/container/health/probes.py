"""Probes of the broker, and of processes that tell their own health: what takes time to find out.

Does the broker confirm what is published, and how fast? Does it know of this container's consumers,
on every queue that it takes from? A look is over in bounded time, whoever does not answer: the
questions to the broker are asked one by one, so that others who ask it are not held up, and those
that had no turn are the first the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from ion.base import lifecycle
from ion.base.errors import IonError
from ion.base.tasks import contained, within
from ion.container.exchange import ExchangeManager
from ion.messaging.envelope import Envelope
from ion.process.endpoint.endpoint import Endpoint
from ion.process.process import Process
from ion.process.supervision.exit_reason import text_of

ANSWER_WITHIN = 2.0  # seconds, of one queue, or one process
ALL_WITHIN = 5.0  # of all queues
SECOND_LOOK = 0.2  # seconds: the broker may count a new consumer a little later
NOWHERE = "-"  # a routing key that no name can be: a message to it is confirmed, and dropped


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look has shown.

    :ivar at: when it was over, on the loop's clock; 0.0: there was none.
    :ivar confirm: seconds until the broker had confirmed a message; None: it did not.
    :ivar unconfirmed: why it did not.
    :ivar queues: what is wrong with each queue that is consumed; "" where nothing is.
    :ivar processes: the same of each process that tells its own health, by pid.
    """

    at: float = 0.0
    confirm: float | None = None
    unconfirmed: str = ""
    queues: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[str, str] = field(default_factory=dict)


class Prober:
    """Looks, when it is told to.

    :param max_confirm: seconds that the broker has to confirm a message.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        exchange: ExchangeManager,
        processes: Mapping[str, Process],
        max_confirm: float,
    ) -> None:
        self._endpoint = endpoint
        self._exchange = exchange
        self._processes = processes
        self._max_confirm = max_confirm
        self._queues: dict[str, str] = {}
        self._asked: dict[str, asyncio.Task[None]] = {}

    async def look(self) -> Sight:
        """Look at everything once; never raises but CancelledError."""
        confirmed, queues, processes = await asyncio.gather(
            self._confirm(), self._look_at_queues(), self._ask_processes()
        )
        now = self._endpoint.loop.time()
        return Sight(now, *confirmed, queues, processes)

    def forget(self) -> None:
        """Forget the queues: the connection is another one."""
        self._queues.clear()

    async def _confirm(self) -> tuple[float | None, str]:
        endpoint, now = self._endpoint, self._endpoint.loop.time
        began = now()
        try:
            await endpoint.transport.publish_confirmed(
                endpoint.namespace.xs, NOWHERE, Envelope("probe"), timeout=self._max_confirm
            )
        except IonError as error:
            return None, error.message
        return now() - began, ""

    # queues

    async def _look_at_queues(self) -> dict[str, str]:
        """Return what is wrong with each queue that is consumed."""
        deadline = self._endpoint.loop.time() + ALL_WITHIN
        wanted = dict.fromkeys(consumer.queue for consumer in self._exchange.consumers())
        known = {queue: told for queue, told in self._queues.items() if queue in wanted}
        late = [queue for queue in wanted if queue not in known]
        for queue in [*late, *known]:
            left = deadline - self._endpoint.loop.time()
            if left <= 0:
                break
            known.pop(queue, None)
            known[queue] = await self._look_at(queue, min(left, ANSWER_WITHIN))
        self._queues = known  # the ones that were not looked at for the longest time come first
        missed = dict.fromkeys(wanted, "not looked at: the broker is slow to answer")
        return {**missed, **known}

    async def _look_at(self, queue: str, timeout: float) -> str:
        """Return what is wrong with a queue; a fault counts once it was seen twice."""
        try:
            fault = await self._fault(queue, timeout)
            if fault:
                await asyncio.sleep(SECOND_LOOK)
                fault = await self._fault(queue, timeout)
        except IonError as error:
            return error.message
        return fault

    async def _fault(self, queue: str, timeout: float) -> str:
        info = await self._endpoint.transport.queue_info(queue, timeout)
        ours = [c.is_running for c in self._exchange.consumers() if c.queue == queue]
        if not ours:
            return ""  # it is not consumed any more
        if info is None:
            return "it is not there"
        if not all(ours):
            return "it is not consumed: the broker has ended the consumer, and not taken it back"
        if info.consumers < len(ours):
            return f"the broker knows of {info.consumers} of its {len(ours)} consumers"
        return ""

    # processes

    async def _ask_processes(self) -> dict[str, str]:
        told = {
            pid: self._ask(pid, process)
            for pid, process in list(self._processes.items())
            if type(process).on_health is not Process.on_health
            and process._state == lifecycle.ACTIVE
        }
        return dict(zip(told, await asyncio.gather(*told.values()), strict=True))

    async def _ask(self, pid: str, process: Process) -> str:
        """Return what a process says is wrong with it, or ""."""
        before = self._asked.get(pid)
        if before is not None and not before.done():
            return "on_health still runs, and does not heed its cancellation"
        task = asyncio.create_task(contained(process.on_health()), name=f"{pid}.on_health")
        self._asked[pid] = task
        task.add_done_callback(lambda _: self._asked.pop(pid, None))
        try:
            await within(task, ANSWER_WITHIN)
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises is what it says
            return text_of(error) or type(error).__name__
        return ""
