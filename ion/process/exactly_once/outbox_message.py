"""A message of a unit of work as it is kept in the outbox until the broker has it."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ion.base.errors import Damaged, NewerSchema
from ion.messaging.envelope import Envelope

VERSION = 1


class OutboxMessage(msgspec.Struct, frozen=True, array_like=True):
    """A message to be sent. Its ids are made already, so that it is the same whoever sends it.

    :ivar point: the exchange point that it is published to; "": it goes to a receiver.
    :ivar to: the topic, or the receiver.
    :ivar since: when it was made, seconds since 1970, UTC.
    """

    version: int
    point: str
    to: str
    since: float
    envelope: Envelope


class KeptAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What the inbox keeps of a message that was handled: its answer."""

    version: int
    answer: Envelope


T = TypeVar("T", OutboxMessage, KeptAnswer)


def outgoing(point: str, to: str, since: float, envelope: Envelope) -> OutboxMessage:
    """Return a message as it goes into the outbox."""
    return OutboxMessage(VERSION, point, to, since, _plain(envelope))


def packed(made: OutboxMessage) -> bytes:
    """Return its bytes, as they are kept."""
    return msgspec.msgpack.encode(made)


def unpacked(data: bytes) -> OutboxMessage:
    """Return the message that :func:`packed` made ``data`` of.

    :raises Damaged: it is none.
    :raises NewerSchema: it is one of a newer release.
    """
    return _decoded(data, OutboxMessage, "a message in the outbox")


def kept(answer: Envelope) -> bytes:
    """Return an answer as the inbox keeps it."""
    return msgspec.msgpack.encode(KeptAnswer(VERSION, _plain(answer)))


def answer_of(data: bytes) -> Envelope:
    """Return the answer that :func:`kept` made ``data`` of.

    :raises Damaged: it is none.
    :raises NewerSchema: it is one of a newer release.
    """
    return _decoded(data, KeptAnswer, "an answer in the inbox").answer


def _plain(envelope: Envelope) -> Envelope:
    return envelope.replace(headers=dict(envelope.headers), body=bytes(envelope.body))


def _decoded(data: bytes, kind: type[T], what: str) -> T:
    try:
        found = msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{what} cannot be read: {error}"
        raise Damaged(message) from error
    if found.version > VERSION:
        message = f"{what} was written by a newer release of ION: bring this one up to date"
        raise NewerSchema(message)
    return found
