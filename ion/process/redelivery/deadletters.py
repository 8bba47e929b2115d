"""Dead letters: look at them where they lie, send them back to where they died, or drop them.

A message that nobody could handle lies in the queue ``<system>.<key>.dlq``. ``key`` is a service,
``name.v<major>``, ``sub.<point>.<name>`` of a durable subscription, or ``processes``; the queue's
full name is accepted for it, too. What is looked at stays there, in its order. What is replayed is
taken off only when the broker has it at its old place, so that nothing is lost: who is killed in
between leaves at most that one message at both places, with the same ``message_id``.

The broker hides what somebody holds from all others, so a search hides what it has passed until it
is over; if it is killed, the broker puts everything back by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from ion.base.errors import (
    BadRequest,
    CodecError,
    IonError,
    ServiceNotFound,
    Unavailable,
    Unroutable,
)
from ion.messaging.address import PROCESSES, Namespace
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery, QueueInfo
from ion.process.endpoint.endpoint import SEND_TIMEOUT, Endpoint
from ion.process.redelivery.dead_letter import (
    REPLAYED,
    DeadLetter,
    origin_of,
    read,
    receiver_of,
    replays_of,
    stray_of,
    text,
)
from ion.process.redelivery.retrying import ATTEMPT, BROKERS_OWN, CAUSES
from ion.process.redelivery.search import Search

MAX_PEEK = 1000
_SUFFIX = ".dlq"
_SUSPECTS = ".suspect"
_MAX_NAME = 255  # bytes, of a queue
# What was true of the call that is over: its time, who waited for it, its stream's credit.
_GONE = frozenset({*CAUSES, ATTEMPT, "timeout", "deadline", "call-stack", "credit"})


class DeadLetterQueue(msgspec.Struct, frozen=True):
    """A queue of dead letters: its key, its name, how many wait in it."""

    key: str
    queue: str
    messages: int


async def list_dead_letters(endpoint: Endpoint, keys: Iterable[str]) -> list[DeadLetterQueue]:
    """Return a row for each key that has a queue of dead letters; the others are left out.

    :raises Unavailable: the broker is away.
    """
    rows = []
    for key in dict.fromkeys(key_of(endpoint.namespace, key) for key in keys):
        info = await _look(endpoint, key)
        if info is not None:
            rows.append(DeadLetterQueue(key, info.name, info.messages))
    return rows


async def peek(
    endpoint: Endpoint, key: str, limit: int = 20, *, ids: Collection[str] | None = None
) -> list[DeadLetter]:
    """Return the oldest dead letters of ``key``; all stay where they are.

    :param limit: how many at most, 1 to 1000.
    :param ids: only the messages of these ids; the whole queue is searched for them.
    :raises ServiceNotFound: there is no such queue.
    :raises BadRequest: ``limit`` is out of range.
    :raises ContentTooLarge: the search would hold over 256 MiB.
    :raises Unavailable: the broker is away, or the connection was lost on the way.
    """
    if not 1 <= limit <= MAX_PEEK:
        message = f"limit must be from 1 to {MAX_PEEK}, not {limit!r}"
        raise BadRequest(message)
    found: list[DeadLetter] = []
    async with await _search(endpoint, key, ids) as search:
        while len(found) < limit and (delivery := await search.next()) is not None:
            found.append(
                read(key_of(endpoint.namespace, key), delivery.envelope, endpoint.max_content)
            )
    return found


async def replay(
    endpoint: Endpoint,
    key: str,
    *,
    ids: Collection[str] | None = None,
    limit: int | None = None,
    timeout: float = SEND_TIMEOUT,
) -> int:
    """Send dead letters of ``key`` back to the queues they died in, oldest first; return how many.

    Only what was there at the beginning is replayed, so it ends even where all fail once more. A
    message for a process goes to that process. It keeps its content, ``message_id`` and
    ``correlation_id``; what told of its death is taken away, its attempts begin anew, it has no
    deadline and is answered to nobody, and the header ``replayed`` counts how often that was done.

    :param ids: only the messages of these ids; the whole queue is searched for them.
    :param limit: how many at most.
    :param timeout: for the broker to take one message, seconds.
    :raises ServiceNotFound: there is no such queue, or none that a message can go back to; such
        messages stay, the others were replayed. ``details["replayed"]`` tells how many, in all
        errors.
    :raises CodecError: a message has properties that can be read but not written; it stays.
    :raises ContentTooLarge: the search would hold over 256 MiB.
    :raises Unavailable: the broker is away or did not take a message, which stays.
    """
    done = 0
    stuck: dict[tuple[str, str], IonError] = {}
    try:
        async with await _search(endpoint, key, ids) as search:
            while (limit is None or done < limit) and (delivery := await search.next()):
                done += await _replay_one(
                    endpoint, key_of(endpoint.namespace, key), delivery, timeout, stuck
                )
        for error in stuck.values():
            raise error
    except IonError as error:
        error.details[REPLAYED] = done
        raise
    return done


async def purge(endpoint: Endpoint, key: str, *, ids: Collection[str] | None = None) -> int:
    """Drop dead letters of ``key`` for good; return how many.

    :param ids: only the messages of these ids; the whole queue is searched for them.
    :raises ServiceNotFound: there is no such queue.
    :raises ContentTooLarge: the search would hold over 256 MiB.
    :raises Unavailable: the broker is away, or the connection was lost on the way.
    """
    if ids is None:
        info = await _existing(endpoint, key_of(endpoint.namespace, key))
        return await endpoint.transport.purge_queue(info.name)
    done = 0
    async with await _search(endpoint, key, ids) as search:
        while (delivery := await search.next()) is not None:
            delivery.ack()
            done += 1
    return done


def key_of(namespace: Namespace, key: str) -> str:
    """Return the key that ``key`` stands for: itself, or that of a queue's full name."""
    prefix = f"{namespace.sysname}."
    if key.startswith(prefix) and key.endswith(_SUFFIX):
        return key[len(prefix) : -len(_SUFFIX)] or key
    return key


# the way back


async def _replay_one(
    endpoint: Endpoint,
    key: str,
    delivery: Delivery,
    timeout: float,
    stuck: dict[tuple[str, str], IonError],
) -> bool:
    """Replay one message; return whether it could be. One that could not stays held.

    :param stuck: the ways that are known to lead nowhere, with the reason.
    """
    envelope = delivery.envelope
    exchange, target = way = _way_back(endpoint.namespace, key, envelope.headers)
    if way in stuck:
        return False
    try:
        await endpoint.transport.publish_confirmed(
            exchange, target, _revived(envelope), mandatory=True, timeout=timeout
        )
    except Unroutable:
        stuck[way] = _nowhere(endpoint.namespace, exchange, target)
        return False
    except CodecError as error:
        stuck[text(envelope.message_id), ""] = error
        return False
    if delivery.lost:
        message = (
            f"the connection was lost when message {text(envelope.message_id)!r} had been sent "
            "back and not yet taken off the dead letters: it may be at both places"
        )
        raise Unavailable(message)
    delivery.ack()
    return True


def _way_back(namespace: Namespace, key: str, headers: Mapping[str, Any]) -> tuple[str, str]:
    """Return the exchange and routing key that bring a message back to where it died."""
    if key == PROCESSES and not stray_of(headers):
        # Their queues are private: a process is reached by its id.
        return namespace.xs, receiver_of(headers)
    origin = origin_of(headers).removesuffix(_SUSPECTS)
    if origin.startswith(f"{namespace.sysname}.") and not origin.endswith(_SUFFIX):
        return "", origin
    return "", f"{namespace.sysname}.{key}"  # nothing, or nothing to be believed, is known


def _revived(envelope: Envelope) -> Envelope:
    """Return the message as it is sent again: a first attempt, one way, without its death."""
    headers = {
        name: value
        for name, value in envelope.headers.items()
        if name not in _GONE and not name.startswith(BROKERS_OWN)
    }
    headers[REPLAYED] = replays_of(headers) + 1
    if receiver := receiver_of(envelope.headers):
        headers["receiver"] = receiver
    if envelope.reply_to and "protocol" in headers:
        headers["protocol"] = "none"
    return envelope.replace(
        reply_to="",
        expiration=None,
        user_id="",  # the broker takes it only from the user himself
        # What was a call is one way now, and must outlive the broker like all that are.
        persistent=envelope.persistent or bool(envelope.reply_to),
        headers=headers,
    )


def _nowhere(namespace: Namespace, exchange: str, target: str) -> IonError:
    if exchange:
        message = f"process {target!r} is not there (any more): its dead letters stay"
        return ServiceNotFound(message, details={"to": target})
    message = (
        f"there is no queue {target!r} to send dead letters back to: they stay; "
        f"start {target.removeprefix(namespace.sysname + '.')!r} first"
    )
    return ServiceNotFound(message, details={"queue": target})


# looking through a queue


async def _look(endpoint: Endpoint, key: str) -> QueueInfo | None:
    name = f"{endpoint.namespace.sysname}.{key}{_SUFFIX}"
    if not key or len(name.encode("utf-8", "replace")) > _MAX_NAME:
        return None
    return await endpoint.transport.queue_info(name)


async def _existing(endpoint: Endpoint, key: str) -> QueueInfo:
    info = await _look(endpoint, key)
    if info is not None:
        return info
    name = f"{endpoint.namespace.sysname}.{key}{_SUFFIX}"
    message = f"there is no queue {name!r} of dead letters: nothing of the name {key!r} ever ran"
    raise ServiceNotFound(message, details={"queue": name})


async def _search(endpoint: Endpoint, key: str, ids: Collection[str] | None) -> Search:
    """Begin at the oldest dead letter of ``key``, or the oldest of ``ids``.

    :raises ServiceNotFound: there is no such queue.
    """
    info = await _existing(endpoint, key_of(endpoint.namespace, key))
    if ids is None:
        return Search(endpoint.transport, info)
    sought = frozenset(ids)
    return Search(
        endpoint.transport,
        info if sought else replace(info, messages=0),
        lambda envelope: text(envelope.message_id) in sought,
    )
