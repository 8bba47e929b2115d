"""The socket under aiormq: its stream reader and writer, with the diverted channels taken out.

aiormq gets a reader and a writer from a transport factory, its public hook. Ours gives it a
reader that sees no message frames of diverted channels, and a writer that shares our buffer.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol, cast

from aiormq.connection import TransportFactory
from yarl import URL

from ion.messaging.amqp.failures import Waits
from ion.messaging.amqp.frames import HEARTBEAT_FRAME
from ion.messaging.amqp.inbound import Chunk, Inbound
from ion.messaging.amqp.outbound import Outbound

READ_LIMIT = 1 << 16
READ_SIZE = 1 << 20  # of what is not used, the system keeps no memory
SMALL = 1 << 15  # bytes of a read that are copied before they are taken apart
TICK = 1.0  # how often aiormq is shown that bytes arrive which it does not see
MISSED_HEARTBEATS = 2


class WireEvents(Protocol):
    """What the owner of a connection is told."""

    def on_lost(self, reason: str) -> None:
        """The connection is gone; called once."""

    def on_blocked(self, reason: str) -> None:
        """The broker takes no publishes for now."""

    def on_unblocked(self) -> None:
        """The broker takes publishes again."""


class Wire(asyncio.StreamReaderProtocol, asyncio.BufferedProtocol):
    """The asyncio protocol of one connection.

    A buffered one: asyncio otherwise makes room for 256 KB at each read, which costs more than
    all else that is done with a small message. (uvloop reads its own way.)

    :ivar close_reason: what the broker said when it closed the connection, or "".
    :ivar close_code: its code, or 0.
    :ivar waits: the calls that wait for an answer.
    :ivar tls_error: what TLS ended it with, if anything: an alert of the broker, say.
    """

    def __init__(
        self, reader: asyncio.StreamReader, outbound: Outbound, events: WireEvents
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(reader, loop=loop)
        self._ion_loop = loop
        self._ion_reader = reader
        self._events = events
        self._transport_of_wire: asyncio.Transport | None = None
        self._ticked = self._received = loop.time()
        self._watch: asyncio.TimerHandle | None = None
        self._is_lost = False
        self._read = memoryview(bytearray(READ_SIZE))
        self.outbound = outbound
        self.inbound = Inbound(reader.feed_data, self)
        self.close_reason = ""
        self.close_code = 0
        self.waits = Waits()
        self.tls_error: ssl.SSLError | None = None
        self._began = self._received

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        stream = cast("asyncio.Transport", transport)  # uvloop's is one, but no subclass
        self._transport_of_wire = stream
        self.outbound.attach(stream)

    @property
    def heard(self) -> float:
        """When something was last read, on the loop's clock."""
        return self._received

    @property
    def has_read(self) -> bool:
        """Whether anything was read, ever."""
        return self._received != self._began

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        del sizehint
        return self._read

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read: little of it as bytes, which are taken apart faster than a view."""
        data = self._read[:nbytes]
        self.data_received(bytes(data) if nbytes <= SMALL else data)

    def data_received(self, data: Chunk) -> None:
        """Parse, then send at once what the callbacks had to say."""
        now = self._ion_loop.time()
        self._received = now
        inbound = self.inbound
        outbound = self.outbound
        if now - self._ticked > TICK and inbound.channels:
            self._ticked = now
            self._ion_reader.feed_data(HEARTBEAT_FRAME)
        if outbound.held:
            inbound.feed(data)
            return
        outbound.held = True
        try:
            inbound.feed(data)
        finally:
            outbound.held = False
            if outbound.pieces or outbound.settling:
                outbound.flush()

    def pause_writing(self) -> None:
        """Keep what is to be sent."""
        super().pause_writing()
        self.outbound.pause()

    def resume_writing(self) -> None:
        """Send what was kept."""
        super().resume_writing()
        self.outbound.resume()

    def eof_received(self) -> bool | None:
        """The broker ended the stream."""
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner first (what is unsettled fails), then aiormq."""
        if self._watch is not None:
            self._watch.cancel()
        if isinstance(exc, ssl.SSLError):
            self.tls_error = exc
        self._lose(self.close_reason or (str(exc) if exc else "the broker closed the connection"))
        super().connection_lost(exc)

    # liveness

    def watch(self, heartbeat: float) -> None:
        """Break the connection after two missed heartbeats (of ``heartbeat`` seconds; 0 = off)."""
        if heartbeat > 0 and not self._is_lost:
            interval = heartbeat / 2
            due = self._ion_loop.time() + interval
            self._watch = self._ion_loop.call_at(due, self._check, due, heartbeat)

    def _check(self, due: float, heartbeat: float) -> None:
        now = self._ion_loop.time()
        # Where this loop itself was held up, bytes may wait in the socket unread.
        is_late = now - due > heartbeat / 2
        if not is_late and now - self._received > MISSED_HEARTBEATS * heartbeat:
            silence = now - self._received
            self.abort(f"no sign of life from the broker for {silence:.1f} s")
            return
        self.watch(heartbeat)

    def abort(self, reason: str) -> None:
        """Give the connection up at once."""
        if not self.close_reason:
            self.close_reason = reason
        if self._transport_of_wire is not None:
            self._transport_of_wire.abort()
        self._lose(self.close_reason)

    def _lose(self, reason: str) -> None:
        if not self._is_lost:
            self._is_lost = True
            self.outbound.close()
            self.waits.end()
            self._events.on_lost(reason)

    # frames of the connection itself

    def on_connection_close(self, code: int, text: str) -> None:
        """Remember what the broker said."""
        self.close_code, self.close_reason = code, text

    def on_blocked(self, reason: str) -> None:
        """An alarm at the broker."""
        self.outbound.set_blocked(blocked=True)
        self._events.on_blocked(reason)

    def on_unblocked(self) -> None:
        """The alarm is over."""
        self.outbound.set_blocked(blocked=False)
        self._events.on_unblocked()

    def on_garbage(self, message: str) -> None:
        """Nothing after this can be trusted."""
        self.abort(message)


class WireWriter(asyncio.StreamWriter):
    """What aiormq writes with: the same buffer as the lean path's, so order is kept."""

    def __init__(
        self, transport: asyncio.Transport, wire: Wire, reader: asyncio.StreamReader
    ) -> None:
        super().__init__(transport, wire, reader, asyncio.get_running_loop())
        self._outbound = wire.outbound

    def write(self, data: Any) -> None:
        """Append whole frames."""
        if not self._outbound.closed:
            self._outbound.collect()
            self._outbound.put((data,), len(data))

    async def drain(self) -> None:
        """Return once all is with the socket."""
        self._outbound.flush()
        await super().drain()
        while self._outbound.pieces:
            self._outbound.flush()
            await super().drain()

    def close(self) -> None:
        """Send what is left, then close."""
        self._outbound.flush()
        super().close()


class WireFactory(TransportFactory):
    """Opens the socket for aiormq, plain or TLS.

    :param context: of TLS; None: without.
    :param server_name: that the broker's certificate is for; "": the host.
    :ivar wire: the protocol of the last opened one.
    """

    def __init__(
        self,
        outbound: Outbound,
        events: WireEvents,
        context: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        self._outbound = outbound
        self._events = events
        self._context = context
        self._server_name = server_name
        self.wire: Wire | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect.

        :raises OSError: nobody there, or TLS failed.
        """
        kwargs.pop("ssl_context_provider")
        if self._context is not None:
            kwargs["server_hostname"] = self._server_name or url.host
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_LIMIT, loop=loop)
        wire = Wire(reader, self._outbound, self._events)
        transport, _ = await loop.create_connection(
            lambda: wire, host=url.host or "", port=url.port or 0, ssl=self._context, **kwargs
        )
        self.wire = wire
        return reader, WireWriter(transport, wire, reader)
