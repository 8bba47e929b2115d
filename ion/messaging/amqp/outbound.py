"""Bytes out: one bounded buffer a connection, flushed once per iteration of the event loop.

The frames of aiormq go through it too, so what is written to a channel reaches the broker in the
order in which it was written. While the socket is full, the pieces stay here, uncopied.

Small pieces are joined, and written by asyncio. Large ones go from where they are to the socket,
many with one call of the system, where no TLS is between: to join them costs more than to send.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from ion.base.errors import Unavailable

CHUNK = 1 << 18
LARGE = 4096  # bytes of a piece, on average, from which on none is joined
AT_ONCE = 1000  # pieces that one call of the system takes (IOV_MAX is 1024)
HIGH_MARK = 4 << 20
LIMIT = 64 << 20


class Settling(Protocol):
    """A channel that has acknowledgements to write with the next flush."""

    def write_settled(self) -> None:
        """Append their frames to the buffer."""


class Outbound:
    """The buffer of one connection.

    :param high_mark: bytes from which on it is not ``writable``.
    :param limit: bytes over which nothing more is taken.
    :ivar pieces: frames, or parts of them, not given to the socket yet.
    :ivar unsent: their bytes.
    :ivar settling: channels to ask for acknowledgements before the next flush.
    """

    __slots__ = (
        "_file",
        "_loop",
        "_transport",
        "_waiters",
        "blocked",
        "closed",
        "held",
        "high_mark",
        "limit",
        "paused",
        "pieces",
        "settling",
        "unsent",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, high_mark: int, limit: int) -> None:
        self._loop = loop
        self.high_mark = high_mark
        self._transport: asyncio.Transport | None = None
        self._file = -1  # of the socket, where it may be written to beside asyncio
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.limit = limit
        self.pieces: list[bytes | memoryview] = []
        self.unsent = 0
        self.settling: list[Settling] = []
        self.held = False  # a flush is due anyway
        self.paused = False
        self.blocked = False
        self.closed = False

    def attach(self, transport: asyncio.Transport) -> None:
        """Write to ``transport`` from now on."""
        self._transport = transport
        self._file = _file_of(transport)
        if self._file >= 0:
            transport.set_write_buffer_limits(0)  # what is left of a piece goes before the next

    def put(self, pieces: Sequence[bytes | memoryview], size: int) -> None:
        """Append ``pieces`` of together ``size`` bytes; they must end a frame."""
        self.pieces += pieces
        self.unsent += size
        if not self.held:
            self.schedule()

    def schedule(self) -> None:
        """Flush in the next iteration of the loop."""
        self.held = True
        self._loop.call_soon(self.flush)

    def settle_later(self, channel: Settling) -> None:
        """Ask ``channel`` for its acknowledgements before the next flush."""
        self.settling.append(channel)
        if not self.held:
            self.schedule()

    def collect(self) -> None:
        """Ask for the acknowledgements now."""
        settling, self.settling = self.settling, []
        for channel in settling:
            channel.write_settled()

    def flush(self) -> None:
        """Give to the socket what it takes."""
        self.held = True  # what is put while we are here goes out now
        if self.settling:
            self.collect()
        self.held = False
        if self._transport is None or self.paused or not self.pieces:
            return
        if self._file >= 0 and self.unsent > LARGE * len(self.pieces):
            self._write_pieces(self._transport)
        elif self.unsent <= CHUNK:
            data = b"".join(self.pieces)
            self.pieces.clear()
            self._write(self._transport, data)
        else:
            self._flush_chunks(self._transport)
        if not self.pieces:
            self.unsent = 0
        if self._waiters:
            self._wake()

    def _flush_chunks(self, transport: asyncio.Transport) -> None:
        pieces = self.pieces
        done = 0
        while done < len(pieces) and not self.paused:
            start, size = done, 0
            while done < len(pieces) and size < CHUNK:
                size += len(pieces[done])
                done += 1
            self.unsent -= size
            self._write(transport, b"".join(pieces[start:done]))
        del pieces[:done]

    def _write_pieces(self, transport: asyncio.Transport) -> None:
        """Write the pieces to the socket itself, as long as it takes all of them."""
        pieces = self.pieces
        done = 0
        while done < len(pieces) and not self.paused:
            if transport.get_write_buffer_size() or transport.is_closing():
                del pieces[:done]
                self._flush_chunks(transport)
                return
            some = pieces[done : done + AT_ONCE]
            try:
                left = os.writev(self._file, some)
            except OSError:  # it is full, or gone: asyncio finds out which
                left = 0
            self.unsent -= left
            for piece in some:
                size = len(piece)
                done += 1
                if left < size:
                    self.unsent -= size - left
                    self._write(transport, memoryview(piece)[left:])
                    break
                left -= size
        del pieces[:done]

    @staticmethod
    def _write(transport: asyncio.Transport, data: bytes | memoryview) -> None:
        """Write, also in the moment between the broker's goodbye and the end of the connection.

        The library has ended its half by then; what is unsettled fails when the loss is told.
        """
        try:  # noqa: SIM105 - cheaper than a context manager, at each flush
            transport.write(data)
        except RuntimeError:
            pass

    def pause(self) -> None:
        """The socket is full."""
        self.paused = True

    def resume(self) -> None:
        """The socket takes more."""
        self.paused = False
        self.flush()

    def set_blocked(self, *, blocked: bool) -> None:
        """The broker takes no publishes (or takes them again)."""
        self.blocked = blocked
        self._wake()

    @property
    def writable(self) -> bool:
        """Whether more would be sent without much delay."""
        return self.unsent < self.high_mark and not self.blocked and not self.closed

    async def wait_writable(self) -> None:
        """Return once writable.

        :raises Unavailable: the connection was lost meanwhile.
        """
        while not self.writable:
            if self.closed:
                message = "the connection to the broker was lost"
                raise Unavailable(message)
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def _wake(self) -> None:
        if self.writable or self.closed:
            while self._waiters:
                waiter = self._waiters.popleft()
                if not waiter.done():
                    waiter.set_result(None)

    def close(self) -> None:
        """Drop what is unsent: the connection is gone."""
        self.closed = True
        self._transport = None
        self.pieces.clear()
        self.settling.clear()
        self.unsent = 0
        self._wake()


def _file_of(transport: asyncio.Transport) -> int:
    """Return the file descriptor of a socket that takes bytes as they are; -1: it does not."""
    socket = transport.get_extra_info("socket")
    has_tls = transport.get_extra_info("sslcontext") is not None
    if socket is None or has_tls or not hasattr(os, "writev"):
        return -1
    return int(socket.fileno())
