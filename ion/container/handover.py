"""How a singleton that keeps an order hands over: one ends before the next one begins.

A service of which one instance at a time takes requests, one by one, is told to end. Were its
consumer just cancelled, the broker would let the next instance begin while the last call is still
at work here; and what was in hand would go to the end of the queue. So the last call ends first,
and what is in hand then goes back to its old place. It comes to the next instance as delivered
before; so that it does not count as begun, all instances are told how many messages that may be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, TypeGuard

from ion.base.errors import IonError, Unroutable
from ion.messaging import codec
from ion.messaging.transport import Consumer, Delivery, TransportState
from ion.process.endpoint.endpoint import Endpoint
from ion.process.process import Process
from ion.process.service import MAX_PREFETCH, Service, prefetch_of

log = logging.getLogger(__name__)
HANDED_OVER = "ctl.handed-over"  # no op has such a name
LOOK = 0.005  # seconds between two looks whether the last call is settled
PATIENCE = 5.0  # seconds for the broker to take what is said


def keeps_order(process: Process) -> TypeGuard[Service]:
    """Return whether one at a time is at work on what a process does, in all of the system."""
    return isinstance(process, Service) and process.singleton and process.concurrency == 1


async def hand_over(
    endpoint: Endpoint, service: Service, consumers: Sequence[Consumer], timeout: float
) -> None:
    """End the last call of a service, and give back what was not begun. Never raises.

    Where no other instance waits, or the broker is away, all is left as it is.

    :param service: it does not hear what is said to all instances any more.
    :param consumers: all of its queues.
    :param timeout: seconds for calls to end; then all is left as it is, too.
    """
    if endpoint.transport.state is not TransportState.CONNECTED:
        return
    end = endpoint.loop.time() + timeout
    hands = service.concurrency
    try:
        await _tell(endpoint, service, "", 0)
        service._active += hands  # none is free: what comes waits
        service._draining = False
        try:
            await _settled(endpoint, service, end)
            for consumer in consumers:
                await _tell(endpoint, service, consumer.queue, prefetch_of(service))
                in_hand = [call.source for call in service._waiting or ()]
                service._withdraw(tuple(s for s in in_hand if s.queue == consumer.queue))
                await endpoint.best_effort.tell(consumer.give_back())
        finally:
            service._draining = True
            service._active -= hands
    except Unroutable:
        log.debug("%r: no other instance waits", service)
    except (IonError, TimeoutError) as error:
        log.info("%r does not hand over: %s", service, error)


async def _tell(endpoint: Endpoint, service: Service, queue: str, count: int) -> None:
    """Tell all other instances that messages of a queue come again, which nobody has begun.

    :raises Unroutable: there is none.
    :raises Unavailable: the broker is away.
    """
    to = endpoint.namespace.control_key(service.service_name)
    told = endpoint.one_way(service.id, HANDED_OVER, {"queue": queue, "count": count}, to=to)
    publish = endpoint.transport.publish_confirmed
    await publish(endpoint.namespace.xs, to, told, mandatory=True, timeout=PATIENCE)


async def _settled(endpoint: Endpoint, service: Service, end: float) -> None:
    """Return when what was begun is off its queue.

    :raises TimeoutError: it was not at ``end``, on the loop's clock.
    """
    waiting = set(map(id, service._waiting or ()))
    begun = [call.delivery for call in service._begun() if id(call) not in waiting]
    while not all(delivery.settled or delivery.lost for delivery in begun):
        if endpoint.loop.time() > end:
            message = "its last call has not ended in time"
            raise TimeoutError(message)
        await asyncio.sleep(LOOK)


def hear(endpoint: Endpoint, delivery: Delivery) -> None:
    """Note that messages of a queue will come again that nobody has begun. Never raises."""
    envelope = delivery.envelope
    try:
        if not endpoint.is_genuine(envelope):
            message = "it is not signed"
            raise IonError(message)
        if endpoint.inbound_answers or len(envelope.body) > endpoint.max_content:
            envelope = endpoint.incoming(envelope, screened=True)
        content: Any = codec.decode(envelope.body, envelope.content_type)
    except IonError as error:
        endpoint.counts["unheard"] += 1
        log.debug("%s was not heard: %s", HANDED_OVER, error)
        return
    if isinstance(content, dict):
        queue, count = content.get("queue"), content.get("count")
        if isinstance(queue, str) and isinstance(count, int) and 0 < count <= MAX_PREFETCH:
            endpoint.unbegun.expect(queue, count, endpoint.time())
