"""A message on its way through: content frames into an envelope, and back.

An envelope has no field for some properties of AMQP that ION does not use. Foreign clients may
(kombu needs ``content_encoding``), so they travel in a subclass, which copies keep.
"""

from __future__ import annotations

from typing import Any

from ion.messaging.amqp import frames, properties
from ion.messaging.amqp.field_table import short_text
from ion.messaging.amqp_server.faults import (
    FRAME_ERROR,
    PRECONDITION_FAILED,
    SYNTAX_ERROR,
    ChannelFault,
    ConnectionFault,
)
from ion.messaging.envelope import Envelope

_APP_ID = 1 << 3
_CLUSTER_ID = 1 << 2
_CONTINUED = 1
_FOREIGN = properties.CONTENT_ENCODING | _APP_ID | _CLUSTER_ID
_SHORTS = (  # the properties behind the headers that are short strings, or have a fixed size
    (properties.DELIVERY_MODE, 1),
    (properties.PRIORITY, 1),
    (properties.CORRELATION_ID, 0),
    (properties.REPLY_TO, 0),
    (properties.EXPIRATION, 0),
    (properties.MESSAGE_ID, 0),
    (properties.TIMESTAMP, 8),
    (properties.TYPE, 0),
    (properties.USER_ID, 0),
)
_MAX_MS = 2**32 - 1
_HEADER_HEAD = 12  # bytes of a content header's payload before its flags


class ForeignEnvelope(Envelope, kw_only=True, gc=False, eq=False):
    """An envelope with the properties that ION has no use for."""

    content_encoding: str = ""
    app_id: str = ""
    cluster_id: str = ""


def body_size(header: bytes) -> int:
    """Return how many bytes of body a content header announces.

    :raises ConnectionFault: it is no content header of class basic.
    """
    if len(header) < frames.HEADER_FIXED:
        raise ConnectionFault(SYNTAX_ERROR, "a content header that is cut off")
    if int.from_bytes(header[:2], "big") != frames.BASIC:
        raise ConnectionFault(FRAME_ERROR, "a content header of another class than basic")
    return int.from_bytes(header[4:12], "big")


def envelope_of(header: bytes, body: bytes) -> Envelope:
    """Return the message of a content header and its body.

    :raises ConnectionFault: its properties cannot be read.
    :raises ChannelFault: its expiration is no time.
    """
    raw = header[_HEADER_HEAD:]
    flags = int.from_bytes(raw[:2], "big")
    envelope = properties.decode_envelope(raw, body)
    if envelope.headers is properties.UNDECODABLE or flags & _CONTINUED:
        raise ConnectionFault(SYNTAX_ERROR, "the properties of a message cannot be read")
    if flags & properties.EXPIRATION:
        expiration = envelope.expiration
        if expiration is None or not 0 <= expiration <= _MAX_MS:
            raise ChannelFault(PRECONDITION_FAILED, "invalid expiration of a message")
    if not flags & _FOREIGN:
        return envelope
    fields: dict[str, Any] = {name: getattr(envelope, name) for name in Envelope.__struct_fields__}
    try:
        fields |= _foreign_of(raw, flags)
    except (IndexError, UnicodeDecodeError) as error:
        words = "the properties of a message cannot be read"
        raise ConnectionFault(SYNTAX_ERROR, words) from error
    return ForeignEnvelope(**fields)


def _foreign_of(raw: bytes, flags: int) -> dict[str, str]:
    found: dict[str, str] = {}
    pos = 2
    if flags & properties.CONTENT_TYPE:
        pos += 1 + raw[pos]
    if flags & properties.CONTENT_ENCODING:
        found["content_encoding"], pos = _short(raw, pos)
    if flags & properties.HEADERS:
        pos += 4 + int.from_bytes(raw[pos : pos + 4], "big")
    for flag, size in _SHORTS:
        if flags & flag:
            pos += size or 1 + raw[pos]
    if flags & _APP_ID:
        found["app_id"], pos = _short(raw, pos)
    if flags & _CLUSTER_ID:
        found["cluster_id"], pos = _short(raw, pos)
    return found


def _short(raw: bytes, pos: int) -> tuple[str, int]:
    end = pos + 1 + raw[pos]
    return raw[pos + 1 : end].decode(), end


def content_frames(channel: int, envelope: Envelope, frame_max: int) -> list[bytes | memoryview]:
    """Return header and body of a message, to be written behind its method.

    :raises CodecError: a header or property that AMQP has no room or type for.
    """
    flags, raw = properties.encode_properties(envelope)
    if isinstance(envelope, ForeignEnvelope):
        flags, raw = _with_foreign(envelope, flags, raw)
    body = envelope.body
    size = frames.HEADER_FIXED + len(raw)
    head = frames.CONTENT_HEADER.pack(
        frames.HEADER, channel, size, frames.BASIC, 0, len(body), flags
    )
    pieces: list[bytes | memoryview] = [head, raw, frames.END]
    if body:
        pieces += frames.body_frames(channel, body, frame_max - frames.OVERHEAD)
    return pieces


def _with_foreign(envelope: ForeignEnvelope, flags: int, raw: bytes) -> tuple[int, bytes]:
    if envelope.content_encoding:
        place = 1 + raw[0] if flags & properties.CONTENT_TYPE else 0
        raw = raw[:place] + short_text(envelope.content_encoding) + raw[place:]
        flags |= properties.CONTENT_ENCODING
    if envelope.app_id:
        raw += short_text(envelope.app_id)
        flags |= _APP_ID
    if envelope.cluster_id:
        raw += short_text(envelope.cluster_id)
        flags |= _CLUSTER_ID
    return flags, raw
