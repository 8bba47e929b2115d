"""The way to Redis: commands out, answers in, on redis-py's connections.

One task at a time uses a link, and waits for all answers: whoever gives up waiting for one of them
does so elsewhere (:mod:`.lane`), so that no answer is ever taken for another's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from redis import exceptions as errors
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ion.base.errors import ConfigurationError

Command = Sequence[bytes]
Reply = Any  # bytes, int, None, a list of these, or the error that it was answered with
_PROTOCOL = 2
_CONNECT = 10.0  # seconds


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
    """A connection to one server, made when it is needed."""

    def __init__(self, url: str) -> None:
        self._connection = connection_of(url)

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """See :meth:`Link.exchange`."""
        connection = self._connection
        try:
            if connection.is_connected and await connection.can_read():
                await connection.disconnect(nowait=True)  # it was closed, or says what nobody asked
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_packed_command(packed(commands), check_health=False)
            return [await self._answer() for _ in commands]
        except BaseException:
            # also where it is cancelled: answers may still come, and belong to nobody
            await connection.disconnect(nowait=True)
            raise

    async def _answer(self) -> Reply:
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except errors.ResponseError as error:
            return error

    async def close(self) -> None:
        """See :meth:`Link.close`."""
        await self._connection.disconnect(nowait=True)


class ClusterLink:
    """The nodes of a cluster, by redis-py's client; it may be used by many."""

    def __init__(self, url: str) -> None:
        self._cluster = RedisCluster.from_url(
            url, protocol=_PROTOCOL, retry=Retry(NoBackoff(), 0), socket_connect_timeout=_CONNECT
        )

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """See :meth:`Link.exchange`."""
        return await asyncio.gather(
            *(self._cluster.execute_command(*_worded(command)) for command in commands),
            return_exceptions=True,  # one node may be down, and the others not
        )

    async def close(self) -> None:
        """See :meth:`Link.close`."""
        await self._cluster.aclose()


def packed(commands: Sequence[Command]) -> bytes:
    """Return commands as they travel: redis-py copies what is in them several times."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for word in command:
            parts += (b"$%d\r\n" % len(word), word, b"\r\n")
    return b"".join(parts)


def connection_of(url: str) -> AbstractConnection:
    """Return a connection, not made yet.

    :raises ConfigurationError: the URL says what none has.
    """
    try:
        given = dict(parse_url(url))
        kind: Any = given.pop("connection_class", Connection)
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


def _worded(command: Command) -> list[Any]:
    # redis-py finds the node by the command's word
    return [command[0].decode(), *command[1:]]
