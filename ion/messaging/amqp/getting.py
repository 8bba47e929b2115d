"""basic.get on the lean path: one channel, one question at a time."""

from __future__ import annotations

import asyncio
from struct import Struct

from aiormq.exceptions import ChannelNotFoundEntity

from ion.base.errors import IonError, Unavailable
from ion.messaging.amqp import frames
from ion.messaging.amqp.failures import channel_error
from ion.messaging.amqp.link import Channel, Link
from ion.messaging.amqp.properties import decode_envelope
from ion.messaging.amqp.settling import LeanDelivery, Settlements, route_of

_TAG = Struct(">QB")
_NOT_FOUND = 404


class GetChannel:
    """The channel that gets are made on, and their messages settled."""

    __slots__ = (
        "_answer",
        "_link",
        "_lock",
        "_no_ack",
        "_number",
        "_queue",
        "_settlements",
        "channel",
    )

    def __init__(self, link: Link, channel: Channel) -> None:
        self._link = link
        self.channel = channel
        self._number = channel.number
        self._settlements = Settlements(link.outbound, channel.number, _nothing)
        self._answer: asyncio.Future[LeanDelivery | None] | None = None
        self._lock = asyncio.Lock()
        self._no_ack = False
        self._queue = ""
        link.wire.inbound.channels[channel.number] = self

    @property
    def is_closed(self) -> bool:
        """Whether the broker has closed the channel."""
        return not self._number

    async def get(self, queue: str, *, no_ack: bool, timeout: float) -> LeanDelivery | None:
        """Take one message, or None.

        :raises ServiceNotFound: there is no such queue.
        :raises Unavailable: no answer within ``timeout`` seconds.
        """
        async with self._lock:
            if self.is_closed:
                message = f"get from {queue!r}: the channel was closed"
                raise Unavailable(message)
            self._answer = asyncio.get_running_loop().create_future()
            self._no_ack, self._queue = no_ack, queue
            frame = frames.get(self._number, queue, no_ack=no_ack)
            self._link.outbound.put((frame,), len(frame))
            try:
                async with asyncio.timeout(timeout):
                    return await self._answer
            except TimeoutError:
                # The answer may still come: the channel cannot be asked again.
                self.fail("no answer to a get")
                message = f"get from {queue!r}: no answer of the broker within {timeout:g} s"
                raise Unavailable(message) from None
            finally:
                self._answer = None

    def _settle(self, result: LeanDelivery | IonError | None) -> None:
        answer = self._answer
        if answer is None or answer.done():
            if isinstance(result, LeanDelivery):
                result.nack(requeue=True)
        elif isinstance(result, IonError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    # Diverted

    def on_content(self, method: int, arguments: bytes, header: bytes, body: bytes) -> None:
        """Here is a message."""
        del method
        tag, redelivered = _TAG.unpack_from(arguments)
        self._settlements.last = tag
        route = route_of(arguments[9:-4])  # the count of messages left is behind it
        envelope = decode_envelope(header, body)
        bits, no_ack = redelivered == 1, self._no_ack
        tag = 0 if no_ack else tag
        self._settle(LeanDelivery(envelope, route, bits, no_ack, self._settlements, tag))

    def on_get_empty(self) -> None:
        """There is none."""
        self._settle(None)

    def on_confirm(self, tag: int, *, multiple: bool, taken: bool) -> None:
        """Nothing is published on this channel."""

    def on_closed(self, code: int, text: str) -> None:
        """No such queue, or another mistake."""
        what = f"get from {self._queue!r}"
        error = ChannelNotFoundEntity(text) if code == _NOT_FOUND else None
        self._end(channel_error(what, error) if error else Unavailable(f"{what}: {code} {text}"))

    def fail(self, reason: str) -> None:
        """The connection is gone."""
        self._end(Unavailable(reason))

    def _end(self, error: IonError) -> None:
        self._number = 0
        self._settlements.close()
        self._settle(error)


def _nothing() -> None:
    """Nobody waits for this channel to be drained."""
