"""Bytes into frames, and methods both ways, by the codec of pamqp."""

from __future__ import annotations

import struct

import pamqp.frame
from pamqp import commands
from pamqp.base import Frame
from pamqp.exceptions import PAMQPException

from ion.messaging.amqp.frames import END_BYTE, METHOD, OVERHEAD
from ion.messaging.amqp_server.faults import (
    COMMAND_INVALID,
    FRAME_ERROR,
    SYNTAX_ERROR,
    ConnectionFault,
)

GREETING = b"AMQP\x00\x00\x09\x01"
_HEAD = struct.Struct(">BHI")
_IDS = struct.Struct(">HH")
# What a codec may raise on bytes that are none of its own.
_UNDECODABLE = (
    PAMQPException,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    OSError,
    RecursionError,
    struct.error,
)


class DeclareOk(commands.Queue.DeclareOk):
    """Queue.DeclareOk for any name: pamqp's idea of a legal one is narrower than RabbitMQ's."""

    def validate(self) -> None:
        """Leave the judgement of names to the broker."""


class FrameReader:
    """Cuts what comes from a socket into frames.

    :ivar limit: bytes that a frame may have in all.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._data = b""
        self._pos = 0
        self._is_lost = False

    def feed(self, data: bytes) -> None:
        """Take what was read; nothing after a fault: where the next frame begins is not known."""
        if self._is_lost:
            return
        self._data = self._data[self._pos :] + data
        self._pos = 0

    def take(self, size: int) -> bytes | None:
        """Return the next ``size`` bytes, or None where they are not here yet."""
        piece = self._data[self._pos : self._pos + size]
        if len(piece) < size:
            return None
        self._pos += size
        return piece

    def next(self) -> tuple[int, int, bytes] | None:
        """Return the next frame: its kind, channel and payload; None where it is not whole yet.

        :raises ConnectionFault: it is too large, or does not end as a frame.
        """
        data, pos = self._data, self._pos
        if len(data) - pos < _HEAD.size:
            return None
        kind, channel, size = _HEAD.unpack_from(data, pos)
        if size > self.limit - OVERHEAD:
            words = f"a frame of {size + OVERHEAD} bytes; {self.limit} were agreed on"
            raise self._fault(words)
        end = pos + OVERHEAD + size
        if end > len(data):
            return None
        if data[end - 1] != END_BYTE:
            words = "a frame without its end"
            raise self._fault(words)
        self._pos = end
        return kind, channel, data[pos + 7 : end - 1]

    def _fault(self, words: str) -> ConnectionFault:
        self._is_lost = True
        self._data, self._pos = b"", 0
        return ConnectionFault(FRAME_ERROR, words)


def ids_of(payload: bytes) -> tuple[int, int]:
    """Return the class and the method of a method's payload.

    :raises ConnectionFault: it is too short to have them.
    """
    if len(payload) < _IDS.size:
        raise ConnectionFault(SYNTAX_ERROR, "a method frame without a method")
    class_id, method_id = _IDS.unpack_from(payload)
    return class_id, method_id


def decode(payload: bytes) -> Frame:
    """Return the method of a method frame.

    :raises ConnectionFault: there is no such method, or its arguments cannot be read.
    """
    class_id, method_id = ids_of(payload)
    found = commands.INDEX_MAPPING.get(class_id << 16 | method_id)
    if found is None:
        raise ConnectionFault(COMMAND_INVALID, f"there is no method {class_id}.{method_id}")
    method: Frame = found()
    try:
        method.unmarshal(payload[_IDS.size :])
    except _UNDECODABLE as error:
        words = f"the arguments of {method.name} cannot be read"
        raise ConnectionFault(SYNTAX_ERROR, words) from error
    return method


def encode(channel: int, method: Frame) -> bytes:
    """Return the frame of a method."""
    return pamqp.frame.marshal(method, channel)


def raw_method(channel: int, index: int, arguments: bytes) -> bytes:
    """Return the frame of a method whose arguments are encoded already."""
    head = _HEAD.pack(METHOD, channel, 4 + len(arguments))
    return b"%b%b%b\xce" % (head, index.to_bytes(4, "big"), arguments)
