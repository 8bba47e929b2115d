"""AMQP field tables, both ways: every legal type in, the Python types they stand for out.

Encoding caches the items that are text, decoding the tables whose bytes it has seen: most
messages of a system carry the same few. Decoded tables are shared, so nobody may change one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from struct import Struct
from typing import Any

from ion.base.errors import CodecError

MAX_DEPTH = 32
MAX_CACHED = 2048
MAX_CACHED_BYTES = 1024
MAX_NAME = 255

_U32 = Struct(">I")
_u32 = _U32.unpack_from
_INT32 = Struct(">ci")
_INT64 = Struct(">cq")
_DOUBLE = Struct(">cd")
_DECIMAL = Struct(">cBi")
_TIME = Struct(">cQ")
_LENGTH = [bytes((n,)) for n in range(MAX_NAME + 1)]
_INT32_MAX = 2**31
_INT64_MAX = 2**63
_MAX_SCALE = 255

_names: dict[str, bytes] = {}
_items: dict[tuple[str, str], bytes] = {}
_tables: dict[bytes, dict[str, Any]] = {}
_keys: dict[bytes, str] = {}


def encode_table(table: Mapping[str, Any]) -> bytes:
    """Return the table as it stands on the wire, its length in front.

    :raises CodecError: a name over 255 bytes, or a value that AMQP has no type for.
    """
    parts: list[bytes] = []
    for key, value in table.items():
        if value.__class__ is str:
            item = _items.get((key, value))
            if item is None:
                item = _text_item(key, value)
        else:
            name = _names.get(key)
            if name is None:
                name = _name(key)
            item = name + _encode_value(value, 0)
        parts.append(item)
    body = b"".join(parts)
    return _U32.pack(len(body)) + body


def short_text(text: str) -> bytes:
    """Return a short string: its length in one byte, then UTF-8.

    :raises CodecError: over 255 bytes, or no text in UTF-8.
    """
    raw = _utf8(text)
    if len(raw) > MAX_NAME:
        message = f"{text[:40]!r}... is {len(raw)} bytes; AMQP takes at most {MAX_NAME}"
        raise CodecError(message)
    return _LENGTH[len(raw)] + raw


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        message = f"{text[:40]!r} is no text in UTF-8: {error.reason}"
        raise CodecError(message) from None


def _name(key: str) -> bytes:
    name = short_text(str(key))
    if len(_names) < MAX_CACHED:
        _names[key] = name
    return name


def _text_item(key: str, value: str) -> bytes:
    item = _name(key) + _encode_text(value)
    if len(item) <= MAX_CACHED_BYTES:
        if len(_items) >= MAX_CACHED:
            _items.clear()
        _items[key, value] = item
    return item


def _encode_text(value: str) -> bytes:
    raw = _utf8(value)
    return b"S" + _U32.pack(len(raw)) + raw


def _encode_int(value: int) -> bytes:
    if -_INT32_MAX <= value < _INT32_MAX:
        return _INT32.pack(b"I", value)
    if -_INT64_MAX <= value < _INT64_MAX:
        return _INT64.pack(b"l", value)
    message = f"{value} does not fit a header: AMQP has 64 bits"
    raise CodecError(message)


def _encode_float(value: float) -> bytes:
    if not math.isfinite(value):  # RabbitMQ ends the connection over one
        message = f"{value} does not fit a header: RabbitMQ takes only numbers there"
        raise CodecError(message)
    return _DOUBLE.pack(b"d", value)


def _encode_decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if isinstance(exponent, int) and exponent >= -_MAX_SCALE:
        number = int("".join(map(str, digits)) or "0") * (-1 if sign else 1)
        scale = max(0, -exponent)
        number *= 10 ** max(0, exponent)
        if -_INT32_MAX <= number < _INT32_MAX:
            return _DECIMAL.pack(b"D", scale, number)
    message = f"decimal {value} does not fit a header: AMQP has 32 bits and a scale"
    raise CodecError(message)


def _encode_time(value: datetime) -> bytes:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return _TIME.pack(b"T", max(0, int(aware.timestamp())))


def _encode_value(value: Any, depth: int) -> bytes:
    """Encode one value with its type letter; text inside nested values is not cached."""
    encode = _SCALARS.get(value.__class__)
    if encode is not None:
        return encode(value)
    if depth > MAX_DEPTH:
        message = f"headers are nested deeper than {MAX_DEPTH}"
        raise CodecError(message)
    if isinstance(value, Mapping):
        pairs = ((_name(k) + _encode_value(v, depth + 1)) for k, v in value.items())
        body = b"".join(pairs)
        return b"F" + _U32.pack(len(body)) + body
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        body = b"".join(_encode_value(v, depth + 1) for v in value)
        return b"A" + _U32.pack(len(body)) + body
    for kind, encode in _SCALARS.items():
        if isinstance(value, kind):
            return encode(value)
    message = f"AMQP headers cannot hold a {type(value).__name__}"
    raise CodecError(message)


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    bool: lambda v: b"t\x01" if v else b"t\x00",
    str: _encode_text,
    int: _encode_int,
    float: _encode_float,
    bytes: lambda v: b"x" + _U32.pack(len(v)) + v,
    bytearray: lambda v: b"x" + _U32.pack(len(v)) + bytes(v),
    type(None): lambda _: b"V",
    Decimal: _encode_decimal,
    datetime: _encode_time,
}


def decode_table(raw: bytes) -> dict[str, Any]:
    """Return the table in ``raw`` (without its length). Shared: not to be changed.

    :raises CodecError: the bytes are no table.
    """
    table = _tables.get(raw)
    if table is not None:
        return table
    try:
        table = _decode_items(raw, 0)
    except (IndexError, struct.error, ValueError, OverflowError) as error:
        message = f"undecodable field table: {error}"
        raise CodecError(message) from error
    if len(raw) <= MAX_CACHED_BYTES:
        if len(_tables) >= MAX_CACHED:
            _tables.clear()
        _tables[raw] = table
    return table


def _decode_items(raw: bytes, depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    pos, end = 0, len(raw)
    while pos < end:
        key_end = pos + 1 + raw[pos]
        name = raw[pos + 1 : key_end]
        key = _keys.get(name)
        if key is None:
            key = _key(name)
        pos = key_end + 1
        kind = raw[key_end]
        if kind == 0x53:  # noqa: PLR2004  S, by far the most frequent
            start = pos + 4
            pos = start + _u32(raw, pos)[0]
            text = raw[start:pos]
            table[key] = text.decode() if text.isascii() else _text(text)
        else:
            table[key], pos = _decode_value(kind, raw, pos, depth)
    if pos != end:
        message = "its last item is cut off"
        raise ValueError(message)
    return table


def _key(name: bytes) -> str:
    key = name.decode("utf-8", "replace")
    if len(_keys) < MAX_CACHED:
        _keys[name] = key
    return key


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _decode_value(kind: int, raw: bytes, pos: int, depth: int) -> tuple[Any, int]:
    """Return the value of type letter ``kind`` at ``pos``, and where it ends."""
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return fixed.unpack_from(raw, pos)[0], pos + fixed.size
    if kind in _SIZED:
        start = pos + 4
        end = start + _U32.unpack_from(raw, pos)[0]
        if end > len(raw) or depth > MAX_DEPTH:
            message = "a value reaches over its end, or is nested too deep"
            raise ValueError(message)
        return _SIZED[kind](raw[start:end], depth + 1), end
    if kind == ord("T"):
        return _decode_time(_U64.unpack_from(raw, pos)[0]), pos + 8
    if kind == ord("D"):
        scale, number = _SCALED.unpack_from(raw, pos)
        return Decimal(number).scaleb(-scale), pos + 5
    if kind == ord("V"):
        return None, pos
    message = f"there is no field type {chr(kind)!r}"
    raise ValueError(message)


def _decode_time(seconds: int) -> datetime | int:
    """Return a time; a number of seconds that no calendar has stays a number."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return seconds


def _decode_array(raw: bytes, depth: int) -> list[Any]:
    values: list[Any] = []
    pos = 0
    while pos < len(raw):
        value, pos = _decode_value(raw[pos], raw, pos + 1, depth)
        values.append(value)
    return values


_U64 = Struct(">Q")
_SCALED = Struct(">Bi")
_FIXED: dict[int, Struct] = {
    ord(letter): Struct(">" + code)
    for letter, code in {
        "t": "?", "b": "b", "B": "B", "s": "h", "u": "H", "I": "i", "i": "I",
        "l": "q", "L": "q", "f": "f", "d": "d",
    }.items()
}  # fmt: skip
_SIZED: dict[int, Callable[[bytes, int], Any]] = {
    ord("S"): lambda raw, _: _text(raw),
    ord("x"): lambda raw, _: raw,
    ord("F"): _decode_items,
    ord("A"): _decode_array,
}
