"""The envelope as an AMQP content header, both ways.

Property flags and lists are those of class ``basic``; properties that the envelope has no field
for (content-encoding, app-id, cluster-id) are passed over. The wire's timestamp is in seconds.
"""

from __future__ import annotations

from struct import Struct

from ion.base.errors import CodecError
from ion.messaging.amqp.field_table import MAX_CACHED, decode_table, encode_table, short_text
from ion.messaging.envelope import NO_HEADERS, Envelope, Headers

CONTENT_TYPE = 1 << 15
CONTENT_ENCODING = 1 << 14
HEADERS = 1 << 13
DELIVERY_MODE = 1 << 12
PRIORITY = 1 << 11
CORRELATION_ID = 1 << 10
REPLY_TO = 1 << 9
EXPIRATION = 1 << 8
MESSAGE_ID = 1 << 7
TIMESTAMP = 1 << 6
TYPE = 1 << 5
USER_ID = 1 << 4

PERSISTENT = 2
MAX_PRIORITY = 255
UNDECODABLE: Headers = {"x-undecodable": True}

_TIME = Struct(">Q")
_LENGTH = [bytes((n,)) for n in range(256)]
_shorts: dict[str, bytes] = {"": b"\x00"}


def encode_properties(envelope: Envelope) -> tuple[int, bytes]:
    """Return the property flags and the property list of ``envelope``.

    :raises CodecError: a text over 255 bytes, or a header that AMQP has no type for.
    """
    flags = DELIVERY_MODE
    parts: list[bytes] = []
    if envelope.content_type:
        flags |= CONTENT_TYPE
        parts.append(_shorts.get(envelope.content_type) or _short(envelope.content_type))
    if envelope.headers:
        flags |= HEADERS
        parts.append(encode_table(envelope.headers))
    parts.append(b"\x02" if envelope.persistent else b"\x01")
    if envelope.priority:
        flags |= PRIORITY
        parts.append(_LENGTH[min(max(envelope.priority, 0), MAX_PRIORITY)])
    if envelope.correlation_id:
        flags |= CORRELATION_ID
        parts.append(short_text(envelope.correlation_id))
    if envelope.reply_to:
        flags |= REPLY_TO
        parts.append(_shorts.get(envelope.reply_to) or _short(envelope.reply_to))
    if envelope.expiration is not None:
        flags |= EXPIRATION
        parts.append(short_text(str(int(envelope.expiration))))
    if envelope.message_id:
        flags |= MESSAGE_ID
        parts.append(short_text(envelope.message_id))
    if envelope.timestamp:
        flags |= TIMESTAMP
        parts.append(_TIME.pack(int(envelope.timestamp)))
    if envelope.op:
        flags |= TYPE
        parts.append(_shorts.get(envelope.op) or _short(envelope.op))
    if envelope.user_id:
        flags |= USER_ID
        parts.append(_shorts.get(envelope.user_id) or _short(envelope.user_id))
    return flags, b"".join(parts)


def _short(text: str) -> bytes:
    raw = short_text(text)
    if len(_shorts) >= MAX_CACHED:
        _shorts.clear()
    _shorts[text] = raw
    return raw


def decode_envelope(raw: bytes, body: bytes) -> Envelope:
    """Return the envelope of a content header and its body; never raises.

    :param raw: the header from its property flags on.
    """
    envelope = Envelope("", body, content_type="")
    try:
        _decode(raw, envelope)
    except (IndexError, ValueError, ArithmeticError, CodecError):
        # A foreign sender's broken property. What is before it is true; the rest is unknown.
        _complete(raw, envelope)
    return envelope


def _decode(raw: bytes, envelope: Envelope) -> None:
    """Fill the envelope in one pass: the common shape of a message, straight through."""
    flags = raw[0] << 8 | raw[1]
    pos = 2
    if flags & CONTENT_TYPE:
        end = pos + 1 + raw[pos]
        envelope.content_type = raw[pos + 1 : end].decode()
        pos = end
    if flags & CONTENT_ENCODING:
        pos += 1 + raw[pos]
    if flags & HEADERS:
        end = pos + 4 + int.from_bytes(raw[pos : pos + 4], "big")
        envelope.headers = decode_table(raw[pos + 4 : end])
        pos = end
    if flags & DELIVERY_MODE:
        envelope.persistent = raw[pos] == PERSISTENT
        pos += 1
    if flags & PRIORITY:
        envelope.priority = raw[pos]
        pos += 1
    if flags & CORRELATION_ID:
        end = pos + 1 + raw[pos]
        envelope.correlation_id = raw[pos + 1 : end].decode()
        pos = end
    if flags & REPLY_TO:
        end = pos + 1 + raw[pos]
        envelope.reply_to = raw[pos + 1 : end].decode()
        pos = end
    _decode_rest(raw, pos, flags, envelope)


def _decode_rest(raw: bytes, pos: int, flags: int, envelope: Envelope) -> None:
    if flags & EXPIRATION:
        end = pos + 1 + raw[pos]
        envelope.expiration = int(raw[pos + 1 : end])
        pos = end
    if flags & MESSAGE_ID:
        end = pos + 1 + raw[pos]
        envelope.message_id = raw[pos + 1 : end].decode()
        pos = end
    if flags & TIMESTAMP:
        envelope.timestamp = int.from_bytes(raw[pos : pos + 8], "big")
        pos += 8
    if flags & TYPE:
        end = pos + 1 + raw[pos]
        envelope.op = raw[pos + 1 : end].decode()
        pos = end
    if flags & USER_ID:
        envelope.user_id = raw[pos + 1 : pos + 1 + raw[pos]].decode()


class _Tolerant:
    """Reads a property list of which something is wrong: bad text is replaced, bad sizes end it.

    Ids keep their exact bytes (as surrogates), so that an answer finds its foreign asker.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._pos = 2
        self._flags = int.from_bytes(raw[:2], "big")

    def _take(self, size: int) -> bytes:
        start, self._pos = self._pos, min(self._pos + size, len(self._raw))
        return self._raw[start : self._pos]

    def text(self, flag: int, errors: str = "replace") -> str:
        if not self._flags & flag:
            return ""
        return self._take(int.from_bytes(self._take(1), "big")).decode("utf-8", errors)

    def exact(self, flag: int) -> str:
        return self.text(flag, "surrogateescape")

    def number(self, flag: int, size: int) -> int:
        return int.from_bytes(self._take(size), "big") if self._flags & flag else 0

    def headers(self) -> Headers:
        if not self._flags & HEADERS:
            return NO_HEADERS
        try:
            return decode_table(self._take(int.from_bytes(self._take(4), "big")))
        except CodecError:
            return UNDECODABLE


def _complete(raw: bytes, envelope: Envelope) -> None:
    read = _Tolerant(raw)
    envelope.content_type = read.text(CONTENT_TYPE)
    read.text(CONTENT_ENCODING)
    envelope.headers = read.headers()
    envelope.persistent = read.number(DELIVERY_MODE, 1) == PERSISTENT
    envelope.priority = read.number(PRIORITY, 1)
    envelope.correlation_id = read.exact(CORRELATION_ID)
    envelope.reply_to = read.exact(REPLY_TO)
    expiration = read.text(EXPIRATION)
    envelope.expiration = int(expiration) if expiration.isdecimal() else None
    envelope.message_id = read.exact(MESSAGE_ID)
    envelope.timestamp = read.number(TIMESTAMP, 8)
    envelope.op = read.text(TYPE)
    envelope.user_id = read.text(USER_ID)
