"""What is registered, made at the broker and taken from there. Every step may be done again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from ion.base.errors import ConfigurationError, InvalidRequest, IonError, ReceivedError
from ion.messaging import codec
from ion.messaging.address import SUSPECT, Namespace
from ion.messaging.envelope import MSGPACK
from ion.messaging.transport import QueueInfo, QueueSpec, Transport
from ion.process.discovery import AGENTS, gather_info, survey
from ion.process.endpoint.endpoint import Endpoint
from ion.process.pubsub.subscription import release
from ion.services.pubsub.model import SYSTEM, Record, space_of

log = logging.getLogger(__name__)
AT_ONCE = 500
SHOWN = 200  # characters
PATIENCE = 5.0  # seconds for the containers of the system to let go


class Broker:
    """Exchanges, queues and bindings of what is registered.

    All calls raise :class:`~ion.base.errors.Unavailable` where the broker is away.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: Transport = endpoint.transport
        self._names: Namespace = endpoint.namespace

    def exchange_of(self, record: Record) -> str:
        """Return the exchange of a space or point."""
        if record.kind == "space":
            space = "" if record.name == SYSTEM else record.name
            return self._names.exchange_space(space).name
        return self._names.exchange_point(record.name).name

    def queue_of(self, record: Record) -> str:
        """Return the queue of a subscription."""
        return self._spec(record).name

    def _spec(self, record: Record) -> QueueSpec:
        quorum = record.queue == "quorum"
        expires = record.expires or None
        return self._names.subscription_queue(
            record.point, record.name, quorum=quorum, expires=expires
        )

    async def declare(self, record: Record, patterns: Sequence[str] = ()) -> None:
        """Make what a record stands for, where it is not there yet; a topic is nothing there.

        :param patterns: all that a subscription is to be bound with.
        :raises InvalidRequest: there is another kind of exchange or queue of that name.
        """
        try:
            if record.kind == "space":
                space = "" if record.name == SYSTEM else record.name
                await self._transport.declare_exchange(self._names.exchange_space(space))
            elif record.kind == "point":
                await self._transport.declare_exchange(self._names.exchange_point(record.name))
            elif record.kind == "subscription":
                await self._subscription(record, patterns)
        except ConfigurationError as error:
            message = f"{record.kind} {record.name!r} is at the broker otherwise: {error.message}"
            raise InvalidRequest(message) from error

    async def _subscription(self, record: Record, patterns: Sequence[str]) -> None:
        """Make the queue with its dead letters; ladder and suspects are of who consumes it."""
        transport, names = self._transport, self._names
        point = names.exchange_point(record.point)
        await transport.declare_exchange(point)
        await transport.declare_exchange(names.dead_letter_exchange())
        key = names.subscription_key(record.point, record.name)
        dead = names.dead_letter_queue(key)
        await transport.declare_queue(dead)
        await transport.bind(dead.name, names.dlx, key)
        queue = await transport.declare_queue(self._spec(record))
        for pattern in patterns:
            await transport.bind(queue, point.name, pattern)
        for pattern in set(record.stale) - set(patterns):
            await transport.unbind(queue, point.name, pattern)

    async def info(self, record: Record) -> QueueInfo | None:
        """Return how the queue of a subscription stands; None where there is none."""
        return await self._transport.queue_info(self.queue_of(record))

    async def opened(self, points: Sequence[str]) -> list[Record]:
        """Return the durable subscriptions to some points that containers have open now.

        Processes make them by themselves, too, and these are in no registry.
        """
        found: dict[str, Record] = {}
        try:
            infos = await gather_info(self._endpoint, PATIENCE) if points else []
        except ReceivedError as error:
            log.warning("what containers have open is not known: %s", error)
            return []
        queues = {str(name.get("queue")) for info in infos for name in info.get("names", [])}
        for point in points:
            before = self._names.subscription_queue(point, "x").name.removesuffix("x")
            for queue in sorted(queues):
                name = queue.removeprefix(before)
                if name != queue and "." not in name:
                    found[queue] = Record("subscription", name, space_of(point), point)
        return list(found.values())

    async def delete_exchange(self, record: Record, *, if_unused: bool) -> None:
        """Delete the exchange of a space or point.

        :raises Conflict: a queue is bound to it, and ``if_unused``.
        """
        await self._transport.delete_exchange(self.exchange_of(record), if_unused=if_unused)

    async def delete_queue(self, record: Record, patterns: Sequence[str]) -> int:
        """Delete the queue of a subscription; return how many messages were in it.

        That of its dead letters goes, too, where it is empty.

        :param patterns: all that it is bound with.
        """
        queue = self.queue_of(record)
        if record.queue == "quorum":
            exchange = self._names.exchange_point(record.point).name
            await release(self._transport, queue, exchange, [*patterns, *record.stale])
        dropped = await self._transport.delete_queue(queue)
        dropped += await self._transport.delete_queue(f"{queue}{SUSPECT}")
        key = self._names.subscription_key(record.point, record.name)
        dead = self._names.dead_letter_queue(key).name
        left = await self._transport.queue_info(dead)
        if left is not None and not left.messages:
            await self._transport.delete_queue(dead)
        return dropped

    async def tell(self, points: Sequence[str] = (), queues: Sequence[str] = ()) -> None:
        """Have all containers let go of what was undeclared: else they would declare it again.

        One that does not answer may do so, when it comes back.
        """
        for start in range(0, max(len(points), len(queues)), AT_ONCE):
            end = start + AT_ONCE
            await self._tell({"points": points[start:end], "queues": queues[start:end]})

    async def _tell(self, content: dict[str, Sequence[str]]) -> None:
        body = codec.encode(content, MSGPACK)[0]
        permission = self._endpoint.permission
        try:
            headers = {}
            if permission is not None:
                await permission.look()
                headers = permission.sign(AGENTS, "undeclared", body)
            raw = msgspec.Raw(body)
            await survey(self._endpoint, AGENTS, "undeclared", raw, PATIENCE, extra=headers)
        except IonError as error:
            names = ", ".join(name for names in content.values() for name in names)
            log.warning("others may declare %s again: %s", names[:SHOWN], error)
