"""Content headers as aiormq can read them: one that pamqp cannot ends its connection otherwise.

Such a header is replaced by one that holds its bytes, for :func:`envelope_of` to read as the lean
path does. By its weight, which is 0 in all that a broker sends, it is told from what a foreign
sender could make.
"""

from __future__ import annotations

import hashlib
import struct

from aiormq.abc import DeliveredMessage
from pamqp.header import ContentHeader

from ion.messaging.amqp import frames
from ion.messaging.amqp.properties import decode_envelope, encode_properties
from ion.messaging.envelope import Envelope

_WEIGHT = 1
_RAW = "raw"
_PAYLOAD = 7
_FLAGS = _PAYLOAD + 12
_UNREADABLE = (
    ValueError,
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
    RecursionError,
    OSError,
    struct.error,
)


def sanitized(frame: bytes) -> bytes:
    """Return the frame of a content header, or one that stands for it where pamqp cannot read it.

    Its id is in it as :func:`known_id` says.
    """
    try:
        ContentHeader().unmarshal(frame[_PAYLOAD:-1])
    except _UNREADABLE:
        return _stand_in(frame)
    return frame


def _stand_in(frame: bytes) -> bytes:
    kind, channel, _, class_id, _, body_size, _ = frames.CONTENT_HEADER.unpack_from(frame)
    raw = frame[_FLAGS:-1]
    stand_in = Envelope(
        message_id=known_id(decode_envelope(raw, b"").message_id),
        headers={_RAW: raw},
    )
    flags, properties = encode_properties(stand_in)
    size = frames.HEADER_FIXED + len(properties)
    head = frames.CONTENT_HEADER.pack(kind, channel, size, class_id, _WEIGHT, body_size, flags)
    return head + properties + frames.END


def known_id(id: str) -> str:
    """Return the text that aiormq knows a message by: its id, or a digest of one that is no text.

    :raises UnicodeEncodeError: it is no id that could be sent.
    """
    raw = id.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return hashlib.blake2s(raw).hexdigest()


def envelope_of(message: DeliveredMessage) -> Envelope | None:
    """Return the envelope of a message whose header was replaced, or None where it was not."""
    header = message.header
    if header.weight != _WEIGHT:
        return None
    raw = (header.properties.headers or {})[_RAW]
    assert isinstance(raw, bytearray)
    return decode_envelope(bytes(raw), bytes(message.body))
