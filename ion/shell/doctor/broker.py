"""Checks of the broker as it was reached: version, login, limits, alarms, permissions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace

from pamqp.commands import Basic

from ion.base.errors import ConfigurationError, IonError
from ion.base.ids import new_container_id
from ion.messaging.amqp.failures import guarded, is_refused, words_of
from ion.messaging.amqp.link import Channel
from ion.messaging.amqp.queue_arguments import Version
from ion.shell.doctor import remedies
from ion.shell.doctor.context import Context, NotLooked
from ion.shell.doctor.diagnosis import Diagnosis, found
from ion.shell.doctor.reach import Reached, is_loopback

OLDEST: Version = (3, 10)
# Series of RabbitMQ, and when their community's fixes ended (endoflife.date, 2026).
ENDED: dict[Version, str] = {
    (3, 10): "September 2022",
    (3, 11): "June 2023",
    (3, 12): "February 2024",
    (3, 13): "September 2024",
    (4, 0): "April 2025",
    (4, 1): "January 2026",
}
LONG_HEARTBEAT = 60
SMALL_FRAME = 1 << 16
LARGEST_SENT = 16 << 20  # bytes; more is not sent only to see whether it is taken
SMALL = b"doctor"


async def version(context: Context) -> list[Diagnosis]:
    """It is RabbitMQ, of a series that ION works with and that is looked after."""
    broker = context.broker
    if context.is_local:
        return []
    if broker.version is None:
        return [found("broker-product", f"the broker calls itself {broker.product!r}")]
    if broker.version < OLDEST:
        return [found("broker-old", f"the broker is {broker.product}; ION needs 3.10 or later")]
    end = ENDED.get(broker.version)
    if end is not None:
        message = f"the broker is {broker.product}; its community's fixes ended in {end}"
        return [found("broker-end-of-life", message)]
    return []


async def login(context: Context) -> list[Diagnosis]:
    """The login is not everybody's, and does not travel in the clear."""
    url, vhost = context.broker.url, context.broker.vhost
    if context.is_local:
        return []
    diagnoses = []
    if context.broker.user == "guest" and (url.password or "guest") == "guest":
        message = f"guest logs in to {url.host} with the default password"
        remedy = f"{remedies.own_user(vhost)}; rabbitmqctl delete_user guest"
        diagnoses.append(found("guest-login", message, remedy))
    if url.scheme == "amqp" and not await asyncio.to_thread(is_loopback, url.host or ""):
        message = f"the way to {url.host} has no TLS: the password goes in the clear"
        diagnoses.append(found("no-tls", message))
    return diagnoses


async def agreement(context: Context) -> list[Diagnosis]:
    """Heartbeats and frames are as they should be."""
    link, diagnoses = context.broker.link, []
    if link.heartbeat == 0:
        diagnoses.append(found("heartbeat", "there are no heartbeats with the broker"))
    elif link.heartbeat >= LONG_HEARTBEAT:
        diagnoses.append(found("heartbeat", f"heartbeats are {link.heartbeat} s apart"))
    if 0 < link.frame_max < SMALL_FRAME:
        message = f"frames have {link.frame_max} bytes: larger headers cannot be sent"
        diagnoses.append(found("frame-size", message))
    return diagnoses


async def alarm(context: Context) -> list[Diagnosis]:
    """The broker takes messages."""
    async with _apart(context) as broker:
        channel = await broker.link.channel("look for alarms", broker.timeout, confirms=True)
        # To nobody: what counts is whether it is taken.
        for _ in range(2):
            if not await _taken(broker, channel, "", f"{new_container_id()}.none", SMALL):
                break
        blocked = broker.watching.blocked
    if not blocked:
        return []
    return [found("broker-alarm", f"the broker takes no messages: {blocked}")]


async def permissions(context: Context) -> list[Diagnosis]:
    """The user may do what a container does: with a queue of its own, gone in a moment."""
    names = context.namespace
    async with _apart(context) as broker:
        me = new_container_id()
        # Plain: dead letters would ask for more than the right to configure.
        queue = replace(names.container_queue(me), arguments={})
        steps = _Steps(broker)
        has_queue = await steps.may("configure", broker.asker.declare_queue(queue))
        if has_queue:
            await steps.may("read", steps.take(queue.name))
        await steps.may("write", steps.publish("", f"{me}.none"))
        for spec in (names.exchange_space(), names.dead_letter_exchange()):
            if not await broker.asker.has_exchange(spec.name):
                continue
            # As it is, or refused for being otherwise, which another check tells.
            await steps.may("configure", broker.asker.declare_exchange(spec))
            await steps.may("write", steps.publish(spec.name, f"{me}.none"))
            if has_queue:
                bound = broker.asker.bind(queue.name, spec.name, f"{me}.*")
                await steps.may("write", bound, exchange="read")
        return steps.diagnoses


class _Steps:
    """Tries one thing after the other, and keeps what was refused."""

    def __init__(self, broker: Reached) -> None:
        self.diagnoses: list[Diagnosis] = []
        self._broker = broker

    async def may(self, permission: str, doing: Awaitable[object], exchange: str = "") -> bool:
        """Do one thing; return whether it was permitted.

        :param permission: what it takes.
        :param exchange: what it takes of the exchange, where it is about a queue and an exchange.
        :raises IonError: it failed for another reason.
        """
        try:
            await doing
        except ConfigurationError:
            return True
        except IonError as error:
            if not is_refused(error):
                raise
            self._refused(permission, exchange, error)
            return False
        return True

    def _refused(self, permission: str, exchange: str, error: IonError) -> None:
        if exchange and "access to exchange" in words_of(error):
            permission = exchange
        user, vhost = self._broker.user, self._broker.vhost
        message = f"user {user!r} has no permission to {permission}: {words_of(error)}"
        remedy = remedies.permit(vhost, user)
        self.diagnoses.append(found("permission", message, remedy))

    async def publish(self, exchange: str, key: str) -> None:
        channel = await self._broker.link.channel("publish", self._broker.timeout, confirms=True)
        if not await _taken(self._broker, channel, exchange, key, SMALL):
            message = "the broker takes no messages"
            raise NotLooked(message)

    async def take(self, queue: str) -> None:
        channel = await self._broker.link.channel("take", self._broker.timeout)
        call = channel.raw.basic_get(queue, no_ack=True)
        await guarded("take", call, self._broker.timeout, channel.waits)


async def message_size(context: Context) -> list[Diagnosis]:
    """The broker takes messages as large as the settings let through."""
    size = context.settings.messaging.max_content
    if size > LARGEST_SENT:
        message = f"messaging.max_content is {size}: messages over 16 MiB are not sent for a test"
        raise NotLooked(message)
    async with _apart(context) as broker:
        channel = await broker.link.channel("send a large one", broker.timeout, confirms=True)
        queue = f"{new_container_id()}.none"
        try:
            if not await _taken(broker, channel, "", queue, bytes(size)):
                message = "the broker takes no messages"
                raise NotLooked(message)
        except ConfigurationError as error:
            message = (
                f"messages of messaging.max_content ({size} bytes) are refused: {error.message}"
            )
            return [found("message-size", message)]
    return []


@asynccontextmanager
async def _apart(context: Context) -> AsyncIterator[Reached]:
    """Give a connection that a test may spoil.

    :raises NotLooked: no broker was reached.
    """
    broker = await context.broker.again()
    try:
        yield broker
    finally:
        await broker.close()


async def _taken(broker: Reached, channel: Channel, exchange: str, key: str, body: bytes) -> bool:
    """Publish; return whether the broker took it, rather than an alarm hold it up.

    :raises ConfigurationError: it is too large.
    :raises Unavailable: it was refused; or there was no answer.
    """
    call = channel.raw.basic_publish(
        body,
        exchange=exchange,
        routing_key=key,
        properties=Basic.Properties(message_type="ping", delivery_mode=1),
    )
    publishing = asyncio.ensure_future(guarded("publish", call, broker.timeout, channel.waits))
    stopped = asyncio.ensure_future(broker.watching.stopped.wait())
    try:
        await asyncio.wait({publishing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return False
        await publishing
        return True
    finally:
        publishing.cancel()
        stopped.cancel()
