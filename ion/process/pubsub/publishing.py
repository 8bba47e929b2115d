"""Publishing: one message to all who want it, by topic or by being an instance of a service."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ion.base.errors import IonError, Unavailable, Unroutable
from ion.messaging.envelope import MSGPACK, Envelope
from ion.process.discovery import survey
from ion.process.endpoint.calls import not_found
from ion.process.endpoint.endpoint import Endpoint
from ion.process.pubsub.topics import addressed, checked_topic

EVENT = "event"  # the `type` of an event that says nothing else
MAX_ASKED = 256  # instances that are asked at a time


class Answer(msgspec.Struct, frozen=True):
    """What one instance answered: a result, or the error that a call of it alone would raise.

    :ivar pid: of the instance.
    """

    pid: str
    result: Any = None
    error: IonError | None = None


async def publish(
    endpoint: Endpoint,
    sender: str,
    point: str,
    topic: str,
    content: Any = None,
    *,
    op: str = EVENT,
    timeout: float | None = None,
    confirm: bool = True,
    persistent: bool = True,
    content_type: str = MSGPACK,
    message_id: str = "",
) -> None:
    """Publish an event; that nobody wants it is no error.

    :param point: the exchange point; made where there is none yet.
    :param topic: words with dots between, as ``station.4.temperature``.
    :param timeout: seconds for the broker to take it.
    :param confirm: wait until the broker has it; without, it is handed over and forgotten.
    :param persistent: durable subscriptions keep it over a restart of the broker.
    :param message_id: as in :meth:`Endpoint.send`.
    :raises BadRequest: ``topic`` is none.
    :raises ConfigurationError: ``point`` is not a name.
    :raises Unavailable: the broker did not take it in time.
    """
    checked_topic(topic)
    left = await endpoint.writable(timeout)
    end = endpoint.time() + left
    exchange = endpoint.points.known(point) or await endpoint.points.declare(point, left)
    to = addressed(point, topic) if endpoint.outbound else ""
    envelope = endpoint.one_way(sender, op, content, content_type, message_id, to)
    if not persistent:
        envelope = envelope.replace(persistent=False)
    try:
        await _publish(endpoint, exchange, topic, envelope, end if confirm else None)
    except Unavailable as error:
        if not is_undeclared(error, exchange):
            raise
        # Somebody has taken the exchange away; that no queue was bound to: nobody had this.
        await endpoint.points.declare(point, max(end - endpoint.time(), 0.001))
        await _publish(endpoint, exchange, topic, envelope, end)


def is_undeclared(error: Unavailable, exchange: str) -> bool:
    """Tell whether a message was not taken since there is no such exchange."""
    return f"no exchange {exchange!r}" in error.message


async def broadcast(
    endpoint: Endpoint,
    sender: str,
    service: str,
    op: str,
    content: Any = None,
    *,
    timeout: float | None = None,
    confirm: bool = True,
    content_type: str = MSGPACK,
) -> None:
    """Send a message one way to every instance of a service that runs now.

    Each handles it on its own, once at most: one that fails logs it, and nobody tries again.

    :param timeout: seconds for the broker to take it.
    :param confirm: wait until the broker has it.
    :raises ServiceNotFound: no instance runs (only with ``confirm``).
    :raises Unavailable: the broker did not take it in time.
    """
    end = endpoint.time() + await endpoint.writable(timeout)
    key = endpoint.namespace.control_key(service)
    envelope = endpoint.one_way(sender, op, content, content_type, to=key).replace(persistent=False)
    try:
        await _publish(endpoint, endpoint.namespace.xs, key, envelope, end if confirm else None)
    except Unroutable:
        raise not_found(service) from None


async def _publish(
    endpoint: Endpoint, exchange: str, key: str, envelope: Envelope, end: float | None
) -> None:
    """Publish until ``end``, on the loop's clock; without one, it is handed over and forgotten."""
    transport = endpoint.transport
    await endpoint.sent()
    if end is None:
        transport.publish(exchange, key, envelope)
        return
    left = max(end - endpoint.time(), 0.001)
    mandatory = exchange == endpoint.namespace.xs
    await transport.publish_confirmed(exchange, key, envelope, mandatory=mandatory, timeout=left)


async def ask_all(
    endpoint: Endpoint,
    sender: str,
    service: str,
    op: str,
    content: Any = None,
    *,
    timeout: float | None = None,
) -> list[Answer]:
    """Call an op of every instance of a service that runs now, and return what each answered.

    It pings first, to know them: that takes 150 ms beyond the last pong. One that fails, or does
    not answer in time, has an error in its place. No instance, no answers.

    :param timeout: seconds for all of it.
    :raises Unavailable: the broker is away.
    """
    left = await endpoint.writable(timeout)
    end = endpoint.time() + left
    key = endpoint.namespace.control_key(service)
    pongs = await survey(endpoint, key, "ping", None, left / 2)
    pids = sorted({str(pong["pid"]) for pong in pongs if isinstance(pong, dict) and "pid" in pong})
    gate = asyncio.Semaphore(MAX_ASKED)

    async def ask(pid: str) -> Answer:
        async with gate:
            left = max(end - endpoint.time(), 0.001)
            try:
                return Answer(pid, await endpoint.rpc(sender, pid, op, content, left))
            except IonError as error:
                return Answer(pid, error=error)

    return list(await asyncio.gather(*(ask(pid) for pid in pids)))
