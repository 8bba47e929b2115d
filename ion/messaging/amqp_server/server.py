"""The server: a socket on loopback, and who is connected to it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging

from ion.base.errors import ConfigurationError, StartError
from ion.messaging.amqp_server.alarm import Alarm
from ion.messaging.amqp_server.client_protocol import ClientProtocol
from ion.messaging.amqp_server.connection import Connection
from ion.messaging.amqp_server.handshake import Account, Terms
from ion.messaging.memory.broker import Broker

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 4_000
MAX_MESSAGE = 128 << 20
MAX_STORED = 1 << 30
_BACKLOG = 512
_MAX_PORT = 65_535
_CLOSE_TIMEOUT = 2.5


def checked_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``HOST`` or ``PORT``; port 0: any free one.

    :raises ConfigurationError: it is no such text, or the host is not this machine alone.
    """
    whole = text.strip()
    host, colon, port = whole.rpartition(":")
    if _is_loopback(whole.strip("[]")) or not (colon or whole.isdigit()):
        host, port = whole, "0"
    host = host.strip("[]") or "127.0.0.1"
    if not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        message = f"broker.listen {text!r}: the port is a number from 0 to {_MAX_PORT}"
        raise ConfigurationError(message)
    if not _is_loopback(host):
        message = (
            f"broker.listen {text!r}: the memory bus listens on loopback only (127.0.0.1, ::1): "
            "it has no TLS; where other machines are to reach it, use RabbitMQ"
        )
        raise ConfigurationError(message)
    return host, int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Server:
    """An AMQP 0-9-1 server over a broker in memory.

    :param account: the one user that may log in.
    :param sysname: what clients see as the cluster's name.
    :param max_message: bytes of the largest body.
    :param max_stored: bytes in all queues from which on publishers are told to wait.
    :ivar host: where it listens.
    :ivar port: where it listens, once it does.
    """

    def __init__(
        self,
        broker: Broker,
        account: Account,
        *,
        sysname: str,
        host: str = "127.0.0.1",
        port: int = 0,
        terms: Terms | None = None,
        max_message: int = MAX_MESSAGE,
        max_stored: int = MAX_STORED,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.broker = broker
        self.account = account
        self.sysname = sysname
        self.host = host
        self.port = port
        self.terms = terms or Terms()
        self.max_message = max_message
        self.alarm = Alarm(broker, max_stored, self._on_alarm)
        self._max_connections = max_connections
        self._connections: set[ClientProtocol] = set()
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self) -> None:
        """Listen.

        :raises StartError: the port is taken, or the address is not of this machine.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self), self.host, self.port, backlog=_BACKLOG
            )
        except OSError as error:
            message = f"cannot listen on {self.host}:{self.port}: {error.strerror or error}"
            raise StartError(message) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and say goodbye to all; may be called twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self.alarm.close()
        for connection in list(self._connections):
            connection.shut("the container of this bus stops")
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._empty.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.cut()

    def _on_alarm(self) -> None:
        words = "%s: clients that publish are told to wait" if self.alarm.level else "%s no more"
        log.warning(words, self.alarm.reason)
        for connection in list(self._connections):
            connection.heed_alarm()

    # what connections see

    def came(self, line: ClientProtocol) -> bool:
        """Tell whether there is room for one more, which then counts."""
        if self._server is None or len(self._connections) >= self._max_connections:
            return False
        self._connections.add(line)
        self._empty.clear()
        return True

    def left(self, line: ClientProtocol) -> None:
        """It is gone."""
        self._connections.discard(line)
        if not self._connections:
            self._empty.set()
