"""Bytes in: takes the message frames of diverted channels in one pass, hands on all the rest.

Frames may be cut anywhere between two chunks. A message that lies whole in one chunk is taken
at once, its body copied once; a larger one is gathered piece by piece, and joined when it is
complete. A chunk that is a view of a buffer is done with when :meth:`Inbound.feed` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Protocol

from ion.messaging.amqp import frames
from ion.messaging.amqp.sanitizing import sanitized

_HEAD = Struct(">BHI")
_METHOD_ID = Struct(">I")
_TAG = Struct(">QB")
_CODE = Struct(">H")
_KINDS = frozenset((frames.METHOD, frames.HEADER, frames.BODY, frames.HEARTBEAT))
_CONTENT = frozenset((frames.DELIVER, frames.RETURN, frames.GET_OK))
_CLOSES = frozenset((frames.CHANNEL_CLOSE, frames.CHANNEL_CLOSE_OK))
_MIN_HEADER = 22
_NONE = (0,)
_WAIT_FOR = 4096  # a cut message up to this size is parsed again when the rest is there
_PROTOCOL_HEADER = ord("A")

Chunk = bytes | memoryview


class Diverted(Protocol):
    """What takes the frames of one diverted channel. Its methods must not raise."""

    def on_content(self, method: int, arguments: bytes, header: bytes, body: bytes) -> None:
        """Take a message: a deliver, a return or a get-ok; ``header`` from its flags on."""

    def on_confirm(self, tag: int, *, multiple: bool, taken: bool) -> None:
        """Take the broker's ack or nack of a publish."""

    def on_get_empty(self) -> None:
        """Take the answer that there is no message to get."""

    def on_closed(self, code: int, text: str) -> None:
        """The channel is closed, by the broker (its code) or as we asked (0)."""


class ConnectionEvents(Protocol):
    """What wants to know of the connection's own frames (aiormq gets them too)."""

    def on_connection_close(self, code: int, text: str) -> None:
        """The broker closes the connection."""

    def on_blocked(self, reason: str) -> None:
        """The broker takes no publishes for now."""

    def on_unblocked(self) -> None:
        """The broker takes publishes again."""

    def on_garbage(self, message: str) -> None:
        """The bytes are not AMQP; the connection is of no more use."""


class _Content:
    """A message of which not all frames are here yet."""

    __slots__ = ("arguments", "header", "method", "missing", "parts")

    def __init__(self, method: int, arguments: bytes) -> None:
        self.method = method
        self.arguments = arguments
        self.header = b""
        self.missing = 0
        self.parts: list[memoryview | bytes] = []


class Inbound:
    """The parser of one connection.

    :param hand_on: takes the bytes of whole frames that are not for a diverted channel.
    :ivar channels: the diverted channels by number.
    """

    __slots__ = ("_contents", "_cut", "_cut_bytes", "_events", "_hand_on", "_tail", "channels")

    def __init__(self, hand_on: Callable[[bytes], None], events: ConnectionEvents) -> None:
        self.channels: dict[int, Diverted] = {}
        self._hand_on = hand_on
        self._events = events
        self._contents: dict[int, _Content] = {}
        self._tail = b""
        self._cut = 0  # channel of the body frame that the last chunk ended in, 0 = none
        self._cut_bytes = 0  # bytes of that frame still to come, its end byte among them

    def feed(self, data: Chunk) -> None:
        """Take a chunk as it came from the socket; of a view, nothing is kept."""
        pos = 0
        if self._cut:
            pos = self._continue_cut(data)
        elif self._tail:
            data = self._tail + data
            self._tail = b""
        pos = self._parse(data, pos)
        if pos < len(data):
            self._tail = bytes(data[pos:])

    def _parse(self, data: Chunk, pos: int) -> int:
        """Take the frames from ``pos`` on; return where the first incomplete one begins."""
        end = len(data)
        channels = self.channels
        while end - pos >= frames.OVERHEAD:
            kind, number, size = _HEAD.unpack_from(data, pos)
            after = pos + frames.OVERHEAD + size
            channel = channels.get(number)
            if after > end:
                return self._cut_frame(data, pos, kind, number, after)
            if data[after - 1] != frames.END_BYTE or kind not in _KINDS:
                return self._garbage(data, pos)
            (method,) = _METHOD_ID.unpack_from(data, pos + 7) if kind == frames.METHOD else _NONE
            if channel is None:
                self._other(data, pos, kind, number, after)
            elif method in _CONTENT:
                after = self._message(data, pos, number, after, method, channel)
                if not after:
                    return pos
            elif kind == frames.METHOD:
                self._method(data, pos, number, after, method, channel)
            elif kind == frames.BODY:
                self._body(number, _kept(data, pos + 7, after - 1))
            else:
                self._header(number, bytes(data[pos + 7 : after - 1]))
            pos = after
        return pos

    def _message(
        self, data: Chunk, pos: int, number: int, after: int, method: int, channel: Diverted
    ) -> int:
        """Take a whole message, or begin to gather it; return where to go on, 0 = wait."""
        available = len(data)
        if available - after < _MIN_HEADER:
            return 0
        body_end: int
        kind, its, size, _, _, body_size, _ = frames.CONTENT_HEADER.unpack_from(data, after)
        header_end = after + frames.OVERHEAD + size
        body_end = header_end
        adjacent = kind == frames.HEADER and its == number
        if adjacent and body_size:
            body_end += frames.OVERHEAD + body_size
        if body_end > available and body_size <= _WAIT_FOR and adjacent:
            return 0
        if adjacent and body_size and body_end <= available:
            kind, its, size = _HEAD.unpack_from(data, header_end)
            adjacent = kind == frames.BODY and its == number and size == body_size
        if not adjacent or body_end > available or data[body_end - 1] != frames.END_BYTE:
            self._contents[number] = _Content(method, bytes(data[pos + 11 : after - 1]))
            return after
        # Of bytes, these are the slices themselves.
        channel.on_content(
            method,
            bytes(data[pos + 11 : after - 1]),
            bytes(data[after + 19 : header_end - 1]),
            bytes(data[header_end + 7 : body_end - 1]) if body_size else b"",
        )
        return body_end

    def _header(self, number: int, payload: bytes) -> None:
        content = self._contents.get(number)
        if content is None:
            self._events.on_garbage(f"a content header on channel {number} without a method")
            return
        content.header = payload[12:]
        content.missing = int.from_bytes(payload[4:12], "big")
        if not content.missing:
            self._complete(number, content)

    def _body(self, number: int, piece: memoryview | bytes) -> None:
        content = self._contents.get(number)
        if content is None:
            self._events.on_garbage(f"a body on channel {number} without a header")
            return
        content.parts.append(piece)
        content.missing -= len(piece)
        if content.missing <= 0:
            self._complete(number, content)

    def _complete(self, number: int, content: _Content) -> None:
        del self._contents[number]
        channel = self.channels.get(number)
        if channel is not None:
            body = b"".join(content.parts)
            channel.on_content(content.method, content.arguments, content.header, body)

    def _cut_frame(self, data: Chunk, pos: int, kind: int, number: int, after: int) -> int:
        """Take what is here of a body frame of a message that is being gathered."""
        if kind not in _KINDS:
            return self._garbage(data, pos)
        content = self._contents.get(number)
        if kind != frames.BODY or content is None:
            return pos
        self._cut, self._cut_bytes = number, after - len(data)
        piece = _kept(data, pos + 7, after - 1)
        content.parts.append(piece)
        content.missing -= len(piece)
        return len(data)

    def _continue_cut(self, data: Chunk) -> int:
        """Take the rest of the cut body frame; return where it ends."""
        content = self._contents.get(self._cut)
        taken = min(self._cut_bytes, len(data))
        is_whole = taken == self._cut_bytes
        if content is not None:
            piece = _kept(data, 0, taken - is_whole)
            content.parts.append(piece)
            content.missing -= len(piece)
        self._cut_bytes -= taken
        if is_whole:
            if data[taken - 1] != frames.END_BYTE:
                self._events.on_garbage("a body frame without its end")
            elif content is not None and content.missing <= 0:
                self._complete(self._cut, content)
            self._cut = 0
        return taken

    def _method(
        self, data: Chunk, pos: int, number: int, after: int, method: int, channel: Diverted
    ) -> None:
        if method in (frames.ACK, frames.NACK):
            tag, bits = _TAG.unpack_from(data, pos + 11)
            channel.on_confirm(tag, multiple=bool(bits & 1), taken=method == frames.ACK)
        elif method == frames.GET_EMPTY:
            channel.on_get_empty()
        else:
            if method in _CLOSES:
                # From here on the number belongs to nobody, or to another channel.
                del self.channels[number]
                self._contents.pop(number, None)
                is_ours = method == frames.CHANNEL_CLOSE_OK
                channel.on_closed(*((0, "") if is_ours else _reason(data, pos + 11)))
            self._hand_on(bytes(data[pos:after]))

    def _other(self, data: Chunk, pos: int, kind: int, number: int, after: int) -> None:
        if kind == frames.HEADER:
            self._hand_on(sanitized(bytes(data[pos:after])))
            return
        if number == 0 and kind == frames.METHOD:
            method = _METHOD_ID.unpack_from(data, pos + 7)[0]
            if method == frames.CONNECTION_CLOSE:
                self._events.on_connection_close(*_reason(data, pos + 11))
            elif method == frames.CONNECTION_BLOCKED:
                self._events.on_blocked(_short(data, pos + 11))
            elif method == frames.CONNECTION_UNBLOCKED:
                self._events.on_unblocked()
        self._hand_on(bytes(data[pos:after]))

    def _garbage(self, data: Chunk, pos: int) -> int:
        if data[pos] == _PROTOCOL_HEADER:  # another version's greeting: aiormq says so
            self._hand_on(bytes(data[pos:]))
        else:
            start = bytes(data[pos : pos + 16])
            self._events.on_garbage(f"bytes that are no AMQP frame: {start!r}")
        return len(data)


def _kept(data: Chunk, start: int, end: int) -> memoryview | bytes:
    """Return a part of a chunk for later: of bytes a view, of a view its bytes."""
    if isinstance(data, bytes):
        return memoryview(data)[start:end]
    return bytes(data[start:end])


def _short(data: Chunk, pos: int) -> str:
    return bytes(data[pos + 1 : pos + 1 + data[pos]]).decode("utf-8", "replace")


def _reason(data: Chunk, pos: int) -> tuple[int, str]:
    return _CODE.unpack_from(data, pos)[0], _short(data, pos + 2)
