"""Messages as aiormq takes and gives them, for the fallback data path."""

from __future__ import annotations

from datetime import datetime

from aiormq.abc import DeliveredMessage
from pamqp import commands as spec

from ion.messaging.amqp.frames import too_long
from ion.messaging.amqp.properties import encode_properties
from ion.messaging.amqp.sanitizing import envelope_of, known_id
from ion.messaging.envelope import Envelope

_PAMQP_NAME = 127
_AN_ID = 64  # bytes that aiormq's own id takes, and more


class Properties(spec.Basic.Properties):
    """aiormq's properties of a message, on the wire as the lean path writes them.

    pamqp has no bytes in tables and packs floats into 32 bits. aiormq finds a returned message by
    its id, so a mandatory one without an id keeps the one that aiormq gives it.

    :param limit: bytes that they may take.
    :raises CodecError: what cannot be encoded, or is too long.
    """

    def __init__(self, envelope: Envelope, *, mandatory: bool, limit: int) -> None:
        _, encoded = encode_properties(envelope)  # what cannot be is told to the publisher
        super().__init__(message_id=known_id(envelope.message_id) or None)
        self._envelope = envelope
        self._mandatory = mandatory
        if len(encoded) + _AN_ID > limit:
            raise too_long(len(encoded), limit)

    def marshal(self) -> bytes:
        """Return the bytes for the content header."""
        envelope = self._envelope
        if self._mandatory and not envelope.message_id:
            envelope = envelope.replace(message_id=self.message_id or "")
        flags, properties = encode_properties(envelope)
        return flags.to_bytes(2, "big") + properties


class Name(str):
    """A name of an exchange, for which RabbitMQ takes 255 bytes and pamqp 127."""

    __slots__ = ()

    def __len__(self) -> int:
        return min(super().__len__(), _PAMQP_NAME)


def _plain(value: object) -> object:
    """Return pamqp's reading of a header as ours: bytes are bytes."""
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def from_message(message: DeliveredMessage) -> Envelope:
    """Return the envelope of what aiormq delivered."""
    unreadable = envelope_of(message)
    if unreadable is not None:
        return unreadable
    properties = message.header.properties
    expiration = properties.expiration
    stamp = properties.timestamp
    return Envelope(
        properties.message_type or "",
        bytes(message.body),
        content_type=properties.content_type or "",
        reply_to=properties.reply_to or "",
        correlation_id=properties.correlation_id or "",
        message_id=properties.message_id or "",
        timestamp=int(stamp.timestamp()) if isinstance(stamp, datetime) else 0,
        persistent=properties.delivery_mode == 2,  # noqa: PLR2004
        expiration=int(expiration) if expiration and expiration.isdecimal() else None,
        priority=properties.priority or 0,
        user_id=properties.user_id or "",
        headers={k: _plain(v) for k, v in (properties.headers or {}).items()},
    )
