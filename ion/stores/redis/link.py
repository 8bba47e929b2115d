"""The way to Redis: commands out, answers in, on redis-py's connections.

One task at a time uses a link, and waits for all answers: whoever gives up waiting for one of them
does so elsewhere (:mod:`.pipeline`), so that no answer is ever taken for another's.

What was sent may be done after its connection was cut: it is in buffers, here and there. So before
anything else is sent to that server, by whatever link, it is to forget that connection.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from redis import exceptions as errors
from redis.asyncio.connection import AbstractConnection, Connection, parse_url

from ion.base.errors import ConfigurationError
from ion.stores.redis.failures import is_busy

log = logging.getLogger(__name__)
Command = Sequence[bytes]
Reply = Any  # bytes, int, None, a list of these, or the error that it was answered with
_PROTOCOL = 2
_CONNECT = 10.0  # seconds
_WHO = ((b"CLIENT", b"ID"), (b"INFO", b"server"))
_KILL = (b"CLIENT", b"KILL", b"ID")
_PING = (b"PING",)
_END = 2.0  # seconds at the end of all, for what was cut off
_RUN = re.compile(rb"^run_id:(\w+)", re.MULTILINE)


class Session(NamedTuple):
    """A connection as the server knows it.

    :ivar run: of the server: another one, after it was restarted, numbers anew.
    """

    run: bytes
    number: int


class Place(NamedTuple):
    """Where a server is."""

    host: str
    port: int


class Link(Protocol):
    """Sends commands, and returns their answers in order."""

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands and wait for all answers; what Redis refuses is its ResponseError there.

        :raises Exception: the connection is lost, or could not be made; nothing says what was
            done. The next call makes another one.
        """

    async def close(self) -> None:
        """Disconnect. Never raises."""


class SingleLink:
    """A connection to one server, made when it is needed.

    :param given_up: connections that were cut while the server may have been at work for them; all
        links to that server share it.
    :param place: of a node of a cluster, instead of the URL's.
    """

    def __init__(
        self, url: str, given_up: set[Session] | None = None, place: Place | None = None
    ) -> None:
        self._connection = connection_of(url, place)
        self._given_up = set() if given_up is None else given_up
        self._writer: asyncio.StreamWriter | None = None  # of the last exchange
        self._session: Session | None = None  # None: it does not tell us

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """See :meth:`Link.exchange`."""
        connection = self._connection
        try:
            if connection.is_connected and await connection.can_read():
                await connection.disconnect(nowait=True)  # it was closed, or says what nobody asked
            if not connection.is_connected:
                self._session = None
                await connection.connect()  # type: ignore[no-untyped-call]
                self._session = await self._introduced()
            self._writer = connection._writer
            if self._given_up:
                await self._forget(list(self._given_up))
            await connection.send_packed_command(packed(commands), check_health=False)
            return [await self._answer() for _ in commands]
        except BaseException:
            # also where it is cancelled: answers may still come, and belong to nobody
            await self._cut()
            raise

    async def _introduced(self) -> Session | None:
        """Return what the server calls this connection, where it says so."""
        number, info = await self._told(_WHO)
        run = _RUN.search(info) if isinstance(info, bytes) else None
        return Session(run[1], number) if run and isinstance(number, int) else None

    async def _forget(self, given_up: list[Session]) -> None:
        """Have the server forget these connections; what they have sent is done by then, or never.

        Those of a server that was restarted are forgotten.
        """
        own = self._session
        known = [session for session in given_up if own is not None and session.run == own.run]
        for reply in await self._told([(*_KILL, b"%d" % session.number) for session in known]):
            if isinstance(reply, Exception):
                log.warning("a write that was given up may be done later: %s", reply)
        self._given_up.difference_update(given_up)

    async def _told(self, commands: Sequence[Command]) -> list[Reply]:
        """Return the answers; a server that is busy for a while will give others."""
        await self._connection.send_packed_command(packed(commands), check_health=False)
        replies = [await self._answer() for _ in commands]
        for reply in replies:
            if isinstance(reply, Exception) and is_busy(reply):
                raise reply
        return replies

    async def _cut(self) -> None:
        """Disconnect, in the middle of something."""
        if self._session is not None:
            self._given_up.add(self._session)
            self._session = None
        # Closed alone, as the connection itself may have done, they would send all there is yet.
        for writer in (self._writer, self._connection._writer):
            if writer is not None:
                writer.transport.abort()
        self._writer = None
        await self._connection.disconnect(nowait=True)

    async def _answer(self) -> Reply:
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except errors.ResponseError as error:
            return error

    async def close(self) -> None:
        """See :meth:`Link.close`."""
        await self._connection.disconnect(nowait=True)


async def forget(links: Sequence[SingleLink], where: str) -> None:
    """Have servers forget what was cut, at the end of all; close the links. Never raises."""
    told = asyncio.gather(*(link.exchange([_PING]) for link in links), return_exceptions=True)
    failures: list[Any] = ["no answer"]
    try:
        async with asyncio.timeout(_END):
            failures = [done for done in await told if isinstance(done, BaseException)]
    except TimeoutError:
        pass
    finally:
        for link in links:
            await link.close()
    if failures:
        log.warning("Redis at %s: a write that was cut off may be done later: %s", where, *failures)


def packed(commands: Sequence[Command]) -> bytes:
    """Return commands as they travel: redis-py copies what is in them several times."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for word in command:
            parts += (b"$%d\r\n" % len(word), word, b"\r\n")
    return b"".join(parts)


def connection_of(url: str, place: Place | None = None) -> AbstractConnection:
    """Return a connection, not made yet.

    :param place: where to, instead of what the URL says: there is one database then.
    :raises ConfigurationError: the URL says what none has.
    """
    try:
        given = dict(parse_url(url))
        kind: Any = given.pop("connection_class", Connection)
        if place is not None:
            given |= {"host": place.host, "port": place.port, "db": 0}
        wanted = {"socket_connect_timeout": _CONNECT, "socket_keepalive": True, **given}
        connection: AbstractConnection = kind(
            **{**wanted, "protocol": _PROTOCOL, "socket_timeout": None}
        )
    except (TypeError, ValueError) as error:
        message = f"{masked(url)!r} is no URL of Redis ({error}): write redis://host:port/db"
        raise ConfigurationError(message) from None
    return connection


def masked(url: str) -> str:
    """Return a URL without its password, and without its query, where one may be, too."""
    try:
        parts = urlsplit(url)
        login, at, place = parts.netloc.rpartition("@")
        user, colon, _ = login.partition(":")
        netloc = f"{user}{':***' if colon else ''}{at}{place}"
        return parts._replace(netloc=netloc, query="", fragment="").geturl()
    except ValueError:
        return "redis://..."


def place_of(url: str) -> str:
    """Return host and port of a URL, for people."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
