"""A memory bus that listens, for tests: started and stopped with a fixture."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ion.messaging.listening.login import Account
from ion.messaging.listening.server import Server
from ion.messaging.memory.broker import Broker

ACCOUNT = Account("ion", "secret")


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Server]:
    """Give a server over an empty broker."""
    broker = Broker(asyncio.get_running_loop())
    server = Server(broker, ACCOUNT, sysname="test", **options)
    await server.start()
    try:
        yield server
    finally:
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


def free_socket() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken
