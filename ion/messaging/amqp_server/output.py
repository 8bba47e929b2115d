"""Bytes out: gathered, and given to the socket once an iteration of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

CHUNK = 1 << 18


class Output:
    """What is to be written to one client.

    Bounded by those who write: deliveries stop while the socket is full, and the client is not
    read from while what answers it waits here.

    :ivar closed: nothing is taken any more.
    :ivar wrote: when something was last given to the socket, on the loop's clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.WriteTransport | None = None
        self._pieces: list[bytes | memoryview] = []
        self._size = 0
        self._is_due = False
        self.closed = False
        self.wrote = 0.0

    def attach(self, transport: asyncio.WriteTransport) -> None:
        """Write to ``transport`` from now on."""
        self._transport = transport

    def put(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append whole frames."""
        if self.closed:
            return
        self._pieces += pieces
        self._size += sum(map(len, pieces))
        if self._size >= CHUNK:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._on_turn)

    def flush(self) -> None:
        """Give what is here to the socket."""
        if not self._pieces or self._transport is None:
            return
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self.wrote = self._loop.time()
        self._transport.write(data)  # may call back at once: the socket is full

    def close(self) -> None:
        """Drop what is here, and take nothing more."""
        self.closed = True
        self._pieces.clear()
        self._size = 0

    def _on_turn(self) -> None:
        self._is_due = False
        self.flush()
