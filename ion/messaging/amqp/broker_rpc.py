"""Questions and orders to the broker that have an answer: declare, bind, delete, look.

Names are sent as they are: pamqp's idea of a legal queue name is narrower than RabbitMQ's.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from pamqp import commands as spec
from pamqp.base import Frame

from ion.base.errors import ConfigurationError, Conflict, ServiceNotFound, Unavailable
from ion.messaging.amqp.failures import guarded
from ion.messaging.amqp.link import Channel, Link
from ion.messaging.amqp.queue_arguments import compile_queue
from ion.messaging.transport import ExchangeSpec, QueueInfo, QueueSpec, check_name

KINDS = ("topic", "direct", "fanout", "headers")


class _AnyName:
    """Put before a frame class: leaves the judgement of names to the broker."""

    def validate(self) -> None:
        return


class _ExchangeDeclare(_AnyName, spec.Exchange.Declare):
    pass


class _ExchangeDelete(_AnyName, spec.Exchange.Delete):
    pass


class _QueueDeclare(_AnyName, spec.Queue.Declare):
    pass


class _QueueDelete(_AnyName, spec.Queue.Delete):
    pass


class _QueuePurge(_AnyName, spec.Queue.Purge):
    pass


class _QueueBind(_AnyName, spec.Queue.Bind):
    pass


class _QueueUnbind(_AnyName, spec.Queue.Unbind):
    pass


class _Consume(_AnyName, spec.Basic.Consume):
    pass


class Consumption(Protocol):
    """What a basic.consume says."""

    queue: str
    no_ack: bool
    exclusive: bool
    priority: int


def consume_frame(wanted: Consumption, tag: str) -> Frame:
    """Return the basic.consume for ``wanted``."""
    return _Consume(
        queue=wanted.queue,
        consumer_tag=tag,
        no_ack=wanted.no_ack,
        exclusive=wanted.exclusive,
        arguments={"x-priority": wanted.priority} if wanted.priority else {},
    )


class BrokerRpc:
    """A channel for questions, opened when needed: a wrong question makes the broker close it.

    :param timeout: seconds for one answer.
    """

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._channel: Channel | None = None

    async def _ask(self, what: str, frame: Frame, timeout: float | None = None) -> Any:
        seconds = self._timeout if timeout is None else timeout
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        await guarded(what, self._lock.acquire(), seconds)
        try:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._link.channel(what, max(deadline - loop.time(), 0.001))
            # The close that answers a wrong question reaches the channel object a little later.
            channel, self._channel = self._channel, None
            left = max(deadline - loop.time(), 0.001)
            call = channel.raw.rpc(frame)
            try:
                answer = await channel.ask(what, call, left)
            except (asyncio.CancelledError, Unavailable):
                # The answer may still come: the channel cannot be asked again.
                self._link.close_later(channel)
                raise
            self._channel = channel
            return answer
        finally:
            self._lock.release()

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone."""
        return self._link.is_lost

    async def close(self) -> None:
        """Close the channel, where there is one. Never raises."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(self._timeout)

    async def declare_exchange(self, spec_: ExchangeSpec) -> None:
        """Make the exchange. Raises ConfigurationError where it exists otherwise."""
        check_name(spec_.name, "exchange")
        if spec_.kind not in KINDS:  # the broker would close the whole connection over it
            message = f"exchange {spec_.name!r}: there is no kind {spec_.kind!r}"
            raise ConfigurationError(message)
        frame = _ExchangeDeclare(
            exchange=spec_.name,
            exchange_type=spec_.kind,
            durable=spec_.durable,
            auto_delete=spec_.auto_delete,
            arguments=dict(spec_.arguments),
        )
        await self._ask(f"declare exchange {spec_.name!r}", frame)

    async def has_exchange(self, name: str) -> bool:
        """Look whether there is an exchange of that name, of whatever kind."""
        try:
            await self._ask(
                f"look at exchange {name!r}", _ExchangeDeclare(exchange=name, passive=True)
            )
        except ServiceNotFound:
            return False
        return True

    async def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete the exchange, if there is one. Raises Conflict where it is used (if_unused)."""
        frame = _ExchangeDelete(exchange=name, if_unused=if_unused)
        try:
            await self._ask(f"delete exchange {name!r}", frame)
        except ConfigurationError as error:  # 406 means nothing else here
            if not if_unused:
                raise
            message = f"exchange {name!r} is used: queues are bound to it"
            raise Conflict(message) from error

    async def declare_queue(self, spec_: QueueSpec, timeout: float | None = None) -> str:
        """Make the queue; return its name. Raises ConfigurationError or Unavailable."""
        check_name(spec_.name, "queue")
        spec_ = compile_queue(spec_, self._link.version)
        frame = _QueueDeclare(
            queue=spec_.name,
            durable=spec_.durable,
            exclusive=spec_.exclusive,
            auto_delete=spec_.auto_delete,
            arguments=dict(spec_.arguments),
        )
        answer = await self._ask(f"declare queue {spec_.name!r}", frame, timeout)
        return str(answer.queue)

    async def delete_queue(self, name: str) -> int:
        """Delete the queue; return how many messages it held."""
        answer = await self._ask(f"delete queue {name!r}", _QueueDelete(queue=name))
        return int(answer.message_count)

    async def purge_queue(self, name: str) -> int:
        """Drop what is ready; return how many."""
        answer = await self._ask(f"purge queue {name!r}", _QueuePurge(queue=name))
        return int(answer.message_count)

    async def queue_info(self, name: str, timeout: float) -> QueueInfo | None:
        """Look at the queue; None where there is none."""
        frame = _QueueDeclare(queue=name, passive=True)
        try:
            answer = await self._ask(f"look at queue {name!r}", frame, timeout)
        except ServiceNotFound:
            return None
        return QueueInfo(name, int(answer.message_count), int(answer.consumer_count))

    async def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind. Raises ServiceNotFound where queue or exchange is missing."""
        check_name(key, "binding key")
        frame = _QueueBind(queue=queue, exchange=exchange, routing_key=key)
        await self._ask(f"bind queue {queue!r} to exchange {exchange!r}", frame)

    async def unbind(self, queue: str, exchange: str, key: str) -> None:
        """Unbind; no error where there is nothing to unbind."""
        frame = _QueueUnbind(queue=queue, exchange=exchange, routing_key=key)
        try:
            await self._ask(f"unbind queue {queue!r} from exchange {exchange!r}", frame)
        except ServiceNotFound:
            return
