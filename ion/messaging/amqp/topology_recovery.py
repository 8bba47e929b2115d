"""Puts topology and consumers back on a new connection, as far as the broker lets us."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container

from ion.base.errors import ConfigurationError, ServiceNotFound, Unavailable
from ion.messaging.amqp.broker_rpc import BrokerRpc
from ion.messaging.amqp.failures import is_locked
from ion.messaging.amqp.topology import Binding, Topology
from ion.messaging.transport import QueueSpec

log = logging.getLogger(__name__)

LOCKED_TRIES = 60
LOCKED_PAUSE = 0.25
PATIENCE = 1.0  # seconds for a queue of which the rest need not wait


async def restore(topology: Topology, asker: BrokerRpc, consumed: Container[str] = ()) -> None:
    """Declare everything again.

    What the broker refuses for good (declared otherwise meanwhile) is logged and passed over.

    :param consumed: queues that their consumers declare again, where they do not answer here.
    :raises Unavailable: the connection was lost again.
    """
    for exchange in list(topology.exchanges.values()):
        try:
            await asker.declare_exchange(exchange)
        except ConfigurationError as error:
            log.warning("not restored: %s", error)
    for queue in list(topology.queues.values()):
        if queue.name in consumed:
            await _queue_if_it_answers(queue, asker)
        else:
            await _queue(queue, asker)
    await _bindings(list(topology.bindings), asker)


async def restore_queue(name: str, topology: Topology, asker: BrokerRpc) -> None:
    """Declare one queue and its bindings again, where it was declared here.

    :raises Unavailable: the connection was lost.
    """
    queue = topology.queues.get(name)
    if queue is not None:
        bindings = topology.bindings_of(name)
        for bound in dict.fromkeys(exchange for _, exchange, _ in bindings):
            await _exchange(bound, topology, asker)
        await _queue(queue, asker)
        await _bindings(bindings, asker)


async def reassert(topology: Topology, asker: BrokerRpc) -> None:
    """Declare exchanges and bindings again while all is well; no error where they are there.

    Not the queues: that would be a use of one that is to expire. Nor exchanges that nothing of ours
    is bound to: who only publishes makes them again when it does, if somebody has taken them away.
    What is forgotten meanwhile is passed over: ``asker`` puts questions in the order in which they
    were asked.

    :raises Unavailable: the connection was lost.
    """
    for name in dict.fromkeys(exchange for _, exchange, _ in topology.bindings):
        await _exchange(name, topology, asker)
    for binding in list(topology.bindings):
        if binding in topology.bindings:
            try:
                await asker.bind(*binding)
            except ServiceNotFound as error:
                log.debug("not bound again: %s", error)


async def _exchange(name: str, topology: Topology, asker: BrokerRpc) -> None:
    exchange = topology.exchanges.get(name)
    if exchange is not None and not exchange.auto_delete:
        try:
            await asker.declare_exchange(exchange)
        except ConfigurationError as error:
            log.warning("not restored: %s", error)


async def _queue_if_it_answers(queue: QueueSpec, asker: BrokerRpc) -> None:
    try:
        await _queue(queue, asker, PATIENCE)
    except Unavailable as error:
        if asker.is_lost or is_locked(error):
            raise
        log.warning("not restored yet: %s", error)


async def _queue(queue: QueueSpec, asker: BrokerRpc, timeout: float | None = None) -> None:
    """Declare; an exclusive queue is locked until the broker has reaped our old connection."""
    for _ in range(LOCKED_TRIES):
        try:
            await asker.declare_queue(queue, timeout)
        except ConfigurationError as error:
            log.warning("not restored: %s", error)
            return
        except Unavailable as error:
            if not is_locked(error):
                raise
            await asyncio.sleep(LOCKED_PAUSE)
        else:
            return
    message = f"queue {queue.name!r} stays locked by another connection"
    raise Unavailable(message, details={"locked": True})


async def _bindings(bindings: list[Binding], asker: BrokerRpc) -> None:
    for queue, exchange, key in bindings:
        try:
            await asker.bind(queue, exchange, key)
        except ServiceNotFound as error:
            log.warning("not restored: %s", error)
