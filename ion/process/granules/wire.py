"""A granule as a message: a msgpack map that any client can read, without numpy.

::

    {"stream": "ctd", "publisher": "...", "definition": "ctd", "version": 1, "sparse": false,
     "number": 7, "time": 1763742000.5, "fields": {"temp": ["<f8", [3], 5, <bin>], ...}}

A field is the type of its elements with their byte order, as numpy writes it; its shape; the bytes
to skip; and these, then the array's bytes in C order:
``numpy.frombuffer(data, dtype, offset=skip).reshape(shape)``. The bytes to skip let the array begin
at a multiple of 8 in the message, so that whoever reads it works on it where it is.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from ion.base.errors import CodecError, InvalidRequest

ALIGNMENT = 8
MAX_PUBLISHER = 240  # characters
MAX_NAME = 235  # bytes of its UTF-8: with a number behind it, it is an id of a message
MAX_NUMBER = (1 << 63) - 1
_BIN = b"\xc6"  # bytes, with a length of four bytes
_AHEAD = 1 + 1 + 4  # bytes between the shape and what is skipped
_MAP16, _FIXMAP, _MAX_FIXMAP = b"\xde", 0x80, 15
_FIXARRAY_4 = b"\x94"
_MAX_KNOWN = 1000
KEPT = 8 << 20  # bytes
_encode = msgspec.msgpack.Encoder().encode


class Part(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One field as it travels; ``data`` is a view of the message."""

    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    skip: int
    data: memoryview


class Record(msgspec.Struct, frozen=True):
    """A granule as it travels; see :class:`~ion.process.granules.granule.Granule`."""

    stream: str
    publisher: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PUBLISHER)]
    number: Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
    time: float
    fields: dict[str, Part]
    definition: str = ""
    version: int = 0
    sparse: bool = False


_record = msgspec.msgpack.Decoder(Record).decode


def record_of(body: bytes | memoryview) -> Record:
    """Return the granule that a message holds; its fields are views of ``body``.

    :raises CodecError: it is none.
    """
    try:
        record = _record(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"that is no granule: {error}"
        raise CodecError(message, code=400, type="CodecError") from None
    if not math.isfinite(record.time):
        message = f"that is no granule: its time is {record.time}"
        raise CodecError(message, code=400, type="CodecError")
    return record


@functools.cache
def keep_freed() -> None:
    """Have the C library keep what is freed (16 MiB at most) for what is needed next.

    A window of granules is freed when the broker confirms it, and as much is needed a moment later.
    glibc gives that back to the system, which finds and clears it anew: that takes longer than to
    fill it. It keeps twice the size of the largest block that it once gave back; here is one, which
    nobody ever touches. Other libraries take no note.
    """
    bytes(KEPT)


class Writer:
    """Writes the granules of one publisher: what is always the same is made once.

    The bytes of an array are copied once, into the message.
    """

    __slots__ = ("_known", "_prefix")

    def __init__(
        self, stream: str, publisher: str, definition: str, version: int, *, sparse: bool
    ) -> None:
        words = {
            "stream": stream,
            "publisher": publisher,
            "definition": definition,
            "version": version,
            "sparse": sparse,
        }
        pairs = b"".join(_encode(key) + _encode(value) for key, value in words.items())
        self._prefix = bytes([_FIXMAP + len(words) + 3]) + pairs + _encode("number")
        self._known: dict[Any, tuple[int, bytes, dict[int, bytes]]] = {}
        keep_freed()

    def write(
        self, number: int, time: float, fields: Sequence[tuple[str, str, tuple[int, ...], Any, int]]
    ) -> bytes:
        """Return a granule as a message.

        :param fields: of each name, type, shape, a buffer without gaps, and its bytes.
        """
        head = b"".join(
            (self._prefix, _encode(number), _TIME, _encode(time), _FIELDS, _map(len(fields)))
        )
        chunks = [head]
        at = len(head)
        for name, dtype, shape, data, nbytes in fields:
            key = (name, dtype, shape)
            ahead, begin, begins = self._known.get(key) or self._begin(key)
            at += ahead
            skip = -at % ALIGNMENT
            at += skip + nbytes
            before = begins.get(skip)
            if before is None:
                size = (skip + nbytes).to_bytes(4, "big")
                before = b"".join((begin, bytes((skip,)), _BIN, size, bytes(skip)))
                begins[skip] = before
            chunks += (before, data)
        return b"".join(chunks)

    def _begin(self, key: tuple[str, str, tuple[int, ...]]) -> tuple[int, bytes, dict[int, bytes]]:
        """Return how a field begins: bytes before what is skipped, the first, and all by skip."""
        name, dtype, shape = key
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        begin = _text(name) + _FIXARRAY_4 + _encode(dtype) + _encode(shape)
        known = self._known[key] = len(begin) + _AHEAD, begin, {}
        return known


def _text(name: str) -> bytes:
    """Return the name of a field.

    :raises InvalidRequest: it has no UTF-8.
    """
    try:
        return _encode(name)
    except UnicodeEncodeError:
        message = f"a field's name is a text, not {name!a:.80}"
        raise InvalidRequest(message) from None


_TIME, _FIELDS = _encode("time"), _encode("fields")


@functools.cache
def _map(size: int) -> bytes:
    if size <= _MAX_FIXMAP:
        return bytes((_FIXMAP | size,))
    return _MAP16 + size.to_bytes(2, "big")
