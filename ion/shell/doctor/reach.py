"""A way to one broker, to look around: it consumes nothing and leaves nothing behind."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from ion.base.settings import BrokerTlsSettings
from ion.messaging.amqp.broker_rpc import BrokerRpc
from ion.messaging.amqp.link import Link, LinkSettings, checked_urls, open_link
from ion.messaging.amqp.queue_arguments import Version
from ion.messaging.amqp.tls import NO_TLS

CONNECT_WITHIN = 5.0
ANSWER_WITHIN = 5.0
NAME = "ioncc doctor"


@dataclass
class Watching:
    """Hears what the broker tells of the connection itself.

    :ivar blocked: why the broker takes no messages, or "".
    """

    blocked: str = ""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def on_lost(self, reason: str) -> None:
        """The connection is gone."""

    def on_blocked(self, reason: str) -> None:
        """The broker takes no messages."""
        self.blocked = reason or "it does not say why"
        self.stopped.set()

    def on_unblocked(self) -> None:
        """The broker takes messages again."""
        self.blocked = ""
        self.stopped.clear()


@dataclass
class Reached:
    """A live connection.

    :ivar url: that leads to it, with its password; never to be shown.
    :ivar product: what the broker calls itself, with its version.
    :ivar asker: for questions.
    :ivar timeout: seconds for one answer.
    """

    url: URL
    link: Link
    watching: Watching
    asker: BrokerRpc
    product: str
    timeout: float = ANSWER_WITHIN
    tls: BrokerTlsSettings = NO_TLS

    @property
    def version(self) -> Version | None:
        """The version; None where it is no RabbitMQ."""
        return self.link.version

    @property
    def user(self) -> str:
        """The login."""
        return self.url.user or "guest"

    @property
    def vhost(self) -> str:
        """The virtual host."""
        return self.url.path[1:] or "/"

    async def again(self) -> Reached:
        """Return a second connection, for what may end one.

        :raises Unavailable: there is no more way.
        """
        return await reach(self.url, self.tls)

    async def close(self) -> None:
        """Say goodbye; where an alarm lets the broker hear nothing, just go. Never raises."""
        if self.watching.blocked:
            self.link.wire.abort("closed")
        else:
            await self.link.close()


async def reach(url: URL, tls: BrokerTlsSettings = NO_TLS) -> Reached:
    """Connect.

    :raises Unavailable: as :func:`~ion.messaging.amqp.failures.cannot_connect` says.
    :raises ConfigurationError: a file that TLS needs is none.
    """
    watching = Watching()
    settings = LinkSettings(connect_timeout=CONNECT_WITHIN, name=NAME, tls=tls)
    link = await open_link([url], settings, lambda: watching)
    told = (_text(link.properties.get(key)) for key in ("product", "version"))
    return Reached(
        url, link, watching, BrokerRpc(link, ANSWER_WITHIN), " ".join(told).strip(), tls=tls
    )


def parsed(url: str, heartbeat: int) -> URL:
    """Return a URL as containers use it.

    :raises ConfigurationError: it is none.
    """
    (result,) = checked_urls([url])
    return result if "heartbeat" in result.query else result.update_query(heartbeat=str(heartbeat))


def is_loopback(host: str) -> bool:
    """Tell whether a host has loopback addresses only. May block for a while."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(_address(entry[4])).is_loopback for entry in found)


def _address(where: Any) -> str:
    return str(where[0]).partition("%")[0]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
