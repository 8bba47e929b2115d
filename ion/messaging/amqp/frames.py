"""Frames that the lean path writes itself: publish, ack, nack, get.

A method frame for one (exchange, key) is built once and kept by the channel that uses it.
"""

from __future__ import annotations

from struct import Struct

from ion.base.errors import CodecError
from ion.messaging.amqp.field_table import short_text

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = b"\xce"
END_BYTE = 0xCE
OVERHEAD = 8  # bytes of a frame around its payload
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"

BASIC = 60
CONNECTION_CLOSE = 10 << 16 | 50
CONNECTION_BLOCKED = 10 << 16 | 60
CONNECTION_UNBLOCKED = 10 << 16 | 61
CHANNEL_CLOSE = 20 << 16 | 40
CHANNEL_CLOSE_OK = 20 << 16 | 41
PUBLISH = BASIC << 16 | 40
RETURN = BASIC << 16 | 50
DELIVER = BASIC << 16 | 60
GET = BASIC << 16 | 70
GET_OK = BASIC << 16 | 71
GET_EMPTY = BASIC << 16 | 72
ACK = BASIC << 16 | 80
NACK = BASIC << 16 | 120

_PREFIX = Struct(">BHII")  # frame type, channel, payload size, class and method
_SETTLE = Struct(">BHIIQBB")  # a whole ack or nack frame
CONTENT_HEADER = Struct(">BHIHHQH")  # frame, class, weight, body size, property flags
HEADER_FIXED = 14  # payload of a content header before its property list
BODY_HEAD = Struct(">BHI")
END_THEN_BODY = Struct(">BBHI")  # the end of a header frame and the start of a body frame
_MANDATORY = 1
_REQUEUE = 2
_SETTLE_SIZE = 13


def _method(channel: int, method: int, arguments: bytes) -> bytes:
    return _PREFIX.pack(METHOD, channel, 4 + len(arguments), method) + arguments + END


def publish(channel: int, exchange: str, key: str, *, mandatory: bool) -> bytes:
    """Return the method frame of a publish.

    :raises CodecError: a name over 255 bytes.
    """
    bits = bytes((_MANDATORY if mandatory else 0,))
    arguments = b"\0\0" + short_text(exchange) + short_text(key) + bits
    return _method(channel, PUBLISH, arguments)


def ack(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """Return the frame that acknowledges ``tag``, or all open ones up to it."""
    return _SETTLE.pack(METHOD, channel, _SETTLE_SIZE, ACK, tag, multiple, END_BYTE)


def nack(channel: int, tag: int, *, requeue: bool, multiple: bool = False) -> bytes:
    """Return the frame that puts ``tag`` back, or drops it; or all open ones up to it."""
    bits = (_REQUEUE if requeue else 0) | multiple
    return _SETTLE.pack(METHOD, channel, _SETTLE_SIZE, NACK, tag, bits, END_BYTE)


def get(channel: int, queue: str, *, no_ack: bool) -> bytes:
    """Return the frame that asks for one message of ``queue``.

    :raises CodecError: a name over 255 bytes.
    """
    return _method(channel, GET, b"\0\0" + short_text(queue) + (b"\1" if no_ack else b"\0"))


def header_limit(frame_max: int) -> int:
    """Return how many bytes of properties and headers a message may have: they go in one frame."""
    return frame_max - OVERHEAD - HEADER_FIXED


def too_long(size: int, limit: int) -> CodecError:
    """Return the error for a header that does not fit: the broker ends the connection over one."""
    return CodecError(f"headers and properties are {size} bytes; one frame takes {limit}")


def body_frames(channel: int, body: bytes, limit: int) -> list[bytes | memoryview]:
    """Return the pieces of the body frames of a large body; the body itself is not copied.

    :param limit: bytes of body that one frame takes.
    """
    view = memoryview(body)
    pieces: list[bytes | memoryview] = []
    for start in range(0, len(body), limit):
        piece = view[start : start + limit]
        pieces += (BODY_HEAD.pack(BODY, channel, len(piece)), piece, END)
    return pieces
