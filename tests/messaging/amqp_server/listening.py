"""A memory bus that listens, for tests: started and stopped with a fixture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pamqp.body
import pamqp.frame
import pamqp.header
import pamqp.heartbeat
from pamqp import commands

from ion.messaging.amqp_server.frames import GREETING
from ion.messaging.amqp_server.handshake import Account
from ion.messaging.amqp_server.server import Server
from ion.messaging.memory.broker import Broker

CAPABILITIES = ("authentication_failure_close", "consumer_cancel_notify", "connection.blocked")
ACCOUNT = Account("ion", "secret")
_raws: list[Raw] = []


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Server]:
    """Give a server over an empty broker."""
    broker = Broker(asyncio.get_running_loop())
    server = Server(broker, ACCOUNT, sysname="test", **options)
    await server.start()
    try:
        yield server
    finally:
        for raw in [raw for raw in _raws if raw.server is server]:
            raw.abort()
            _raws.remove(raw)
        await server.close()
        broker.close()


def url_of(server: Server, password: str = "secret") -> str:
    return f"amqp://ion:{password}@{server.host}:{server.port}/"


async def until(ask: Any, what: str, seconds: float = 10.0) -> None:
    """Return once ``ask()`` is true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not ask():
        assert loop.time() < deadline, f"did not happen: {what}"
        await asyncio.sleep(0.005)


class Raw:
    """A client that writes bytes by hand."""

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        _raws.append(self)

    @classmethod
    async def open(cls, server: Server) -> Raw:
        return cls(server, *await asyncio.open_connection(server.host, server.port))

    @classmethod
    async def logged_in(
        cls, server: Server, *, heartbeat: int = 0, channel: bool = True, frame_max: int = 0
    ) -> Raw:
        """Go through the whole greeting, by hand."""
        raw = await cls.open(server)
        raw.write(GREETING)
        await raw.until(commands.Connection.Start)
        capabilities = dict.fromkeys(CAPABILITIES, True)
        raw.send(
            0,
            commands.Connection.StartOk(
                {"capabilities": capabilities}, "PLAIN", "\0ion\0secret", "en_US"
            ),
        )
        await raw.until(commands.Connection.Tune)
        raw.send(0, commands.Connection.TuneOk(0, frame_max, heartbeat))
        raw.send(0, commands.Connection.Open("/"))
        await raw.until(commands.Connection.OpenOk)
        if channel:
            raw.send(1, commands.Channel.Open())
            await raw.until(commands.Channel.OpenOk)
        return raw

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, channel: int, frame: Any) -> None:
        self.write(pamqp.frame.marshal(frame, channel))

    def publish(self, key: str, body: bytes, channel: int = 1) -> None:
        self.send(channel, commands.Basic.Publish(exchange="", routing_key=key))
        properties = commands.Basic.Properties()
        self.send(channel, pamqp.header.ContentHeader(0, len(body), properties))
        if body:
            self.send(channel, pamqp.body.ContentBody(body))

    async def next(self) -> Any:
        """Return the next frame, or None at the end of the stream."""
        try:
            head = await asyncio.wait_for(self.reader.readexactly(7), 10)
            size = int.from_bytes(head[3:], "big")
            rest = await asyncio.wait_for(self.reader.readexactly(size + 1), 10)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return pamqp.frame.unmarshal(head + rest)[2]

    async def until(self, wanted: type) -> Any:
        """Return the next frame of a kind, passing over heartbeats."""
        while True:
            frame = await self.next()
            if isinstance(frame, wanted):
                return frame
            assert isinstance(frame, pamqp.heartbeat.Heartbeat), frame

    async def ended(self) -> bool:
        """Wait for the end of the stream."""
        while await self.next() is not None:
            pass
        return True

    def abort(self) -> None:
        self.writer.transport.abort()


async def is_alive(server: Server) -> None:
    """Show that the server serves others."""
    raw = await Raw.logged_in(server)
    raw.send(1, commands.Queue.Declare(queue="alive", exclusive=True))
    await raw.until(commands.Queue.DeclareOk)
    raw.abort()
