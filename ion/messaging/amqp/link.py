"""One live connection: opened on one of the URLs, lost once.

aio-pika connects (plain, not robust: recovery is ours); its aiormq connection stands on our
:class:`~ion.messaging.amqp.wire.Wire`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import aio_pika
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.channel import Channel as RawChannel
from yarl import URL

from ion.base.errors import ConfigurationError, IonError, Unavailable
from ion.base.masking import mask_urls
from ion.base.settings import BrokerTlsSettings
from ion.base.tasks import Tasks
from ion.messaging.amqp import outbound as out
from ion.messaging.amqp.failures import (
    Waits,
    begun,
    cannot_connect,
    guarded,
    is_ended,
    is_ours,
    no_answer,
    quieten,
)
from ion.messaging.amqp.queue_arguments import Version, version_of
from ion.messaging.amqp.tls import NO_TLS, SCHEME, EndedAtOnce, tls_of
from ion.messaging.amqp.wire import Wire, WireEvents, WireFactory

T = TypeVar("T")

CLOSE_TIMEOUT = 5.0
MAX_CHANNEL = 65_535


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How to connect.

    :ivar connect_timeout: seconds for TCP, TLS and login together, one URL.
    :ivar heartbeat: seconds; the broker is taken for dead after two missed ones.
    :ivar high_mark: unsent bytes from which on the link is not writable.
    :ivar limit: unsent bytes over which a publish is refused.
    :ivar name: what the broker shows for this connection.
    :ivar tls: for ``amqps://``; what the URL says goes before.
    """

    connect_timeout: float = 10.0
    heartbeat: int = 10
    high_mark: int = out.HIGH_MARK
    limit: int = out.LIMIT
    name: str = "ion"
    tls: BrokerTlsSettings = NO_TLS


class _Connection(aio_pika.Connection):
    """Plain aio-pika, on our transport (its constructor drops arguments it does not know)."""

    def __init__(self, url: URL, factory: WireFactory) -> None:
        super().__init__(url)
        self.kwargs["transport_factory"] = factory

    def __del__(self) -> None:
        """Nothing: the wire is closed by its owner (the library would start a task here)."""


class Link:
    """A live connection.

    :ivar broker: the URL that it leads to, password masked.
    :ivar outbound: the buffer of unsent bytes.
    :ivar wire: the socket's protocol.
    """

    def __init__(self, connection: _Connection, wire: Wire, broker: str) -> None:
        self.broker = broker
        self._connection = connection
        self.wire = wire
        self.outbound = wire.outbound
        self._tasks = Tasks(f"connection to {broker}")

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone."""
        return self.outbound.closed

    @property
    def frame_max(self) -> int:
        """The negotiated largest frame, in bytes."""
        assert self._connection.transport is not None
        return int(self._connection.transport.connection.connection_tune.frame_max)

    @property
    def heartbeat(self) -> int:
        """Seconds between two signs of life, as agreed on with the broker; 0: there are none."""
        assert self._connection.transport is not None
        return int(self._connection.transport.connection.connection_tune.heartbeat)

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the broker told of itself: product, version, capabilities, ..."""
        assert self._connection.transport is not None
        properties = self._connection.transport.connection.server_properties
        return cast("Mapping[str, Any]", properties)

    @property
    def version(self) -> Version | None:
        """The broker's version; None where it is no RabbitMQ."""
        return version_of(self.properties)

    @property
    def bus(self) -> str:
        """The cluster's name and the virtual host; "" where the broker has no such name."""
        cluster = self.properties.get("cluster_name")
        name = cluster.decode("utf-8", "replace") if isinstance(cluster, bytes) else cluster
        return f"{name}/{URL(self.broker).path[1:] or '/'}" if name else ""

    async def channel(self, what: str, timeout: float, *, confirms: bool = False) -> Channel:
        """Open a channel.

        :raises Unavailable: the connection was lost, or is blocked for longer than ``timeout``.
        """
        if self.is_lost:
            message = f"{what}: the connection was lost"
            raise Unavailable(message)
        assert self._connection.transport is not None
        # By aiormq: aio-pika's channel leaves three futures and a task at the connection for each
        # one that was opened and closed (aiormq 7.2 gives it a new observer to unregister from).
        connection = self._connection.transport.connection
        token = is_ours.set(True)  # the channel's tasks log as ours
        try:
            raw = _open_channel(connection, confirms, timeout)
            opening = begun(guarded(what, raw, timeout, self.wire.waits))
        finally:
            is_ours.reset(token)
        try:
            await asyncio.wait({opening})
        except asyncio.CancelledError:
            opening.add_done_callback(self._untaken)
            raise
        return self._opened(opening)

    def _untaken(self, opening: asyncio.Task[Any]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self.close_later(self._opened(opening))

    def _opened(self, opening: asyncio.Task[Any]) -> Channel:
        raw = opening.result()
        assert isinstance(raw, RawChannel)
        return Channel(raw, self.wire.waits)

    def close_later(self, channel: Channel) -> None:
        """Close a channel that nobody uses any more: there is a limit to those that are open."""
        if not self.is_lost and not channel.is_closed:
            self._tasks.start(channel.close(CLOSE_TIMEOUT), f"close channel {channel.number}")

    async def close(self) -> None:
        """Say goodbye to the broker; where it does not answer, just go."""
        try:
            await guarded("close", self._connection.close(), CLOSE_TIMEOUT)
        except Unavailable:
            pass
        finally:
            self.wire.abort("closed")
            await self._tasks.stop()


@dataclass(frozen=True, slots=True)
class Channel:
    """An open channel of aiormq.

    What is begun on it is awaited to its end, though whoever began it be cancelled, or wait no
    longer: aiormq, when cancelled or out of time, would send a channel.close of its own, and where
    the channel is closed already (the broker did not like the question, or we have asked it to) the
    broker ends the connection.

    :ivar waits: the calls that wait for an answer on its connection.
    :ivar asking: those on this channel.
    """

    raw: RawChannel
    waits: Waits
    asking: set[asyncio.Task[Any]] = field(default_factory=set, compare=False)

    @property
    def number(self) -> int:
        """Its number on the wire."""
        return self.raw.number

    @property
    def is_closed(self) -> bool:
        """Whether it is of no more use."""
        return self.raw.is_closed

    async def ask(self, what: str, call: Awaitable[T], timeout: float) -> T:
        """Await a call of aiormq on this channel; where that is given up, the call goes on.

        :param call: without a limit of its own.
        :raises IonError: as :func:`~ion.messaging.amqp.failures.guarded` says.
        """
        asking = begun(guarded(what, call, None, self.waits))
        self.asking.add(asking)
        asking.add_done_callback(self.asking.discard)
        done, _ = await asyncio.wait({asking}, timeout=timeout)
        if not done:
            raise no_answer(what, timeout)
        return asking.result()

    async def close(self, timeout: float) -> None:
        """Close it, once what was asked is answered; never raises.

        Where that takes longer than ``timeout`` seconds, it is closed later.
        """
        await asyncio.wait({begun(self._close(timeout))}, timeout=timeout)

    async def _close(self, timeout: float) -> None:
        if self.asking:
            await asyncio.wait(self.asking)
        try:
            await guarded("close a channel", self.raw.close(), timeout, self.waits)
        except IonError:
            return


async def _open_channel(
    connection: AbstractConnection, confirms: bool, timeout: float
) -> AbstractChannel:
    """Open a channel of the lowest free number.

    aiormq takes the one above the highest: where channels are opened before others are closed, that
    goes up and up, and beyond the highest one agreed on the broker ends the connection.
    """
    taken = connection.channels
    number = next(number for number in itertools.count(1) if number not in taken)
    if number > (connection.connection_tune.channel_max or MAX_CHANNEL):
        message = f"all {number - 1} channels of the connection are open"
        raise Unavailable(message)
    return await connection.channel(
        number, publisher_confirms=confirms, on_return_raises=False, timeout=timeout
    )


def checked_urls(urls: Sequence[str]) -> list[URL]:
    """Return the URLs, parsed.

    :raises ConfigurationError: there is none, or one is no AMQP URL.
    """
    parsed: list[URL] = []
    for text in urls:
        try:
            url = URL(text)
            is_good = url.scheme in ("amqp", "amqps") and bool(url.host)
            _ = url.port
        except ValueError:
            is_good = False
        if not is_good:
            # Not shown: it may hold a password anywhere.
            message = "a broker URL is not of the form amqp[s]://user:password@host:port/vhost"
            raise ConfigurationError(message)
        parsed.append(url)
    if not parsed:
        message = "no broker URL given"
        raise ConfigurationError(message)
    return parsed


def shown(url: URL) -> str:
    """Return a URL as people may see it."""
    return mask_urls(str(url.with_query(None)))


def _completed(url: URL, settings: LinkSettings) -> URL:
    added = {}
    if "heartbeat" not in url.query:
        added["heartbeat"] = str(settings.heartbeat)
    if "name" not in url.query:
        added["name"] = settings.name
    return url.update_query(added)


async def open_link(
    urls: Sequence[URL],
    settings: LinkSettings,
    events: Callable[[], WireEvents],
) -> Link:
    """Connect to one of the brokers, tried in random order.

    :param events: makes what is told of a connection; one for each attempt.
    :raises Unavailable: none could be reached; the message is of the last one tried.
    """
    quieten()
    failure = Unavailable("no broker URL given")
    for url in random.sample(list(urls), len(urls)):
        try:
            return await _open(_completed(url, settings), settings, events())
        except Unavailable as error:
            failure = error
    raise failure


async def _open(url: URL, settings: LinkSettings, events: WireEvents) -> Link:
    loop = asyncio.get_running_loop()
    outbound = out.Outbound(loop, settings.high_mark, settings.limit)
    tls = tls_of(url, settings.tls) if url.scheme == SCHEME else None
    context = await asyncio.to_thread(tls.context) if tls is not None else None
    factory = WireFactory(outbound, events, context, tls.name if tls is not None else "")
    connection = _Connection(url, factory)
    token = is_ours.set(True)
    try:
        await connection.connect(timeout=settings.connect_timeout)
    except Exception as error:
        wire = factory.wire
        code, text = (wire.close_code, wire.close_reason) if wire else (0, "")
        if wire is not None:
            wire.abort("could not connect")
            error = wire.tls_error or error
            if context is not None and not wire.has_read and is_ended(error):
                error = EndedAtOnce()
        raise cannot_connect(url, error, code, text) from error
    finally:
        is_ours.reset(token)
    wire = factory.wire
    if wire is None:
        message = "aiormq did not use the transport factory"
        raise Unavailable(message)
    wire.watch(float(url.query["heartbeat"]))
    return Link(connection, wire, shown(url))
