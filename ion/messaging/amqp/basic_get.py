"""basic.get on the lean path: one channel, whose answers come in the order of the questions."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
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


@dataclass(slots=True)
class _Question:
    """A get under way; its answer is cancelled where nobody waits for it any more."""

    queue: str
    no_ack: bool
    answer: asyncio.Future[LeanDelivery | None]


class GetChannel:
    """The channel that gets are made on, and their messages settled."""

    __slots__ = (
        "_asked",
        "_link",
        "_number",
        "_settlements",
        "channel",
    )

    def __init__(self, link: Link, channel: Channel) -> None:
        self._link = link
        self.channel = channel
        self._number = channel.number
        self._settlements = Settlements(link.outbound, channel.number, _nothing)
        self._asked: deque[_Question] = deque()
        link.wire.inbound.channels[channel.number] = self

    @property
    def is_closed(self) -> bool:
        """Whether the broker has closed the channel."""
        return not self._number

    @property
    def holds(self) -> bool:
        """Whether messages that came this way are not settled."""
        return self._settlements.unsettled

    async def get(self, queue: str, *, no_ack: bool, timeout: float) -> LeanDelivery | None:
        """Take one message, or None.

        :raises ServiceNotFound: there is no such queue.
        :raises Unavailable: no answer within ``timeout`` seconds.
        """
        if self.is_closed:
            message = f"get from {queue!r}: the channel was closed"
            raise Unavailable(message)
        answer: asyncio.Future[LeanDelivery | None] = asyncio.get_running_loop().create_future()
        # Who is cancelled leaves the question there: its answer must not be taken for the next's.
        self._asked.append(_Question(queue, no_ack, answer))
        frame = frames.get(self._number, queue, no_ack=no_ack)
        self._link.outbound.put((frame,), len(frame))
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            self.fail("no answer to a get")
            message = f"get from {queue!r}: no answer of the broker within {timeout:g} s"
            raise Unavailable(message) from None

    # Diverted

    def on_content(self, method: int, arguments: bytes, header: bytes, body: bytes) -> None:
        """Here is a message."""
        del method
        tag, redelivered = _TAG.unpack_from(arguments)
        if not self._asked:  # too late: the channel is being closed, and the message goes back
            return
        question = self._asked.popleft()
        self._settlements.last = tag
        if question.no_ack:
            self._settlements.skip(tag)
            tag = 0
        route = route_of(arguments[9:-4])  # the count of messages left is behind it
        envelope = decode_envelope(header, body)
        bits, no_ack = redelivered == 1, question.no_ack
        delivery = LeanDelivery(envelope, *route, bits, no_ack, self._settlements, tag)
        if question.answer.done():
            delivery.nack(requeue=True)
        else:
            question.answer.set_result(delivery)

    def on_get_empty(self) -> None:
        """There is none."""
        question = self._asked.popleft() if self._asked else None
        if question is not None and not question.answer.done():
            question.answer.set_result(None)

    def on_confirm(self, tag: int, *, multiple: bool, taken: bool) -> None:
        """Nothing is published on this channel."""

    def on_closed(self, code: int, text: str) -> None:
        """No such queue, or another mistake."""
        queue = self._asked[0].queue if self._asked else ""
        what = f"get from {queue!r}"
        error = ChannelNotFoundEntity(text) if code == _NOT_FOUND else None
        self._end(channel_error(what, error) if error else Unavailable(f"{what}: {code} {text}"))

    def fail(self, reason: str) -> None:
        """The connection is gone."""
        self._end(Unavailable(reason))

    def _end(self, error: IonError) -> None:
        """Tell the first who asks what is wrong, and the others to ask again."""
        self._number = 0
        self._settlements.close()
        asked, self._asked = self._asked, deque()
        for question in asked:
            if not question.answer.done():
                question.answer.set_exception(error)
            error = Unavailable("the channel for gets was closed over another get")


def _nothing() -> None:
    """Nobody waits for this channel to be drained."""
