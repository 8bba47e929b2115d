"""Makes sure, now and then, that the broker knows of our consumers: none is alive but deaf.

The broker tells when it ends a consumer. Where that word is lost (a fail-over, a fault of its or of
ours), only looking helps: at the queue of each subscription, after a reconnect and then every
``every`` seconds. A queue shows how many consume it, not who: one of ours that is missing among
others is not found. In every fourth round exchanges and bindings are declared again, which heals
what was taken away from others' side; a binding that is gone is not looked for otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from typing import Protocol

from ion.base.errors import IonError
from ion.messaging.amqp.broker_rpc import BrokerRpc
from ion.messaging.amqp.subscription import Subscription
from ion.messaging.amqp.topology import Topology
from ion.messaging.amqp.topology_recovery import reassert

log = logging.getLogger(__name__)

EVERY = 15.0
SECOND_LOOK = 0.2  # the broker may count a new consumer a little later
LOOK_TIMEOUT = 5.0
ROUNDS = 4
JITTER = 0.25


class Verified(Protocol):
    """The transport, as far as it is verified."""

    @property
    def asks(self) -> tuple[BrokerRpc, BrokerRpc] | None:
        """What looks at queues and what declares, or None where no answer is to be had now."""

    @property
    def subscriptions(self) -> Iterable[Subscription]:
        """Those that are to run."""

    @property
    def topology(self) -> Topology:
        """What was declared here."""

    def ended(self, subscription: Subscription, reason: str) -> None:
        """The subscription does not run: begin again."""


class ConsumerCheck:
    """The task that looks.

    :param every: seconds between two rounds, give or take a quarter; 0 = only when asked to.
    """

    def __init__(self, transport: Verified, every: float) -> None:
        self._transport = transport
        self._every = every
        self._soon = asyncio.Event()
        self._rounds = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; nothing where it runs."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End, at once. Never raises."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def soon(self) -> None:
        """Look now: the connection is a new one."""
        self._soon.set()

    async def _run(self) -> None:
        while True:
            await self._pause()
            self._soon.clear()
            try:
                await self.verify()
            except IonError as error:
                log.debug("consumers not verified: %s", error)
            except Exception:
                # This task is all that stands between a deaf consumer and silence.
                log.exception("verifying the consumers failed")

    async def _pause(self) -> None:
        seconds = self._every * random.uniform(1 - JITTER, 1 + JITTER) if self._every else None
        try:
            async with asyncio.timeout(seconds):
                await self._soon.wait()
        except TimeoutError:
            return

    async def verify(self) -> None:
        """Look at all subscriptions once.

        :raises Unavailable: the broker did not answer: nothing is known then.
        """
        asks = self._transport.asks
        if asks is None:
            return
        prober, asker = asks
        for subscription in list(self._transport.subscriptions):
            await self._look(subscription, prober)
        self._rounds += 1
        if self._rounds % ROUNDS == 0:
            await reassert(self._transport.topology, asker)

    async def _look(self, subscription: Subscription, prober: BrokerRpc) -> None:
        running = subscription.running
        if subscription.cancelled or subscription.resuming is not None:
            return
        if running is None:
            self._transport.ended(subscription, "it does not run")
            return
        fault = await _fault(subscription.queue, prober)
        if not fault:
            return
        await asyncio.sleep(SECOND_LOOK)
        fault = await _fault(subscription.queue, prober)
        if fault and subscription.running is running:
            subscription.running = None
            self._transport.ended(subscription, fault)
            running.drain()


async def _fault(queue: str, prober: BrokerRpc) -> str:
    info = await prober.queue_info(queue, LOOK_TIMEOUT)
    if info is None:
        return "its queue is not there"
    return "" if info.consumers else "the broker knows of no consumer"
