"""How a party on the bus sends what nobody answers."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from ion.base.errors import CodecError, ConfigurationError, Unroutable
from ion.conversation import conversation as c
from ion.messaging import codec
from ion.messaging.envelope import MSGPACK, Envelope
from ion.messaging.transport import Transport
from ion.observe.context import CallContext, current_call
from ion.process.endpoint.calls import not_found
from ion.process.endpoint.callstack import add_to
from ion.process.endpoint.interception import Interception, check_call, checked_message_id

# On a broker in memory nothing that is sent has to wait, and who sends without end would stop all
# others: after so many messages the event loop gets its turn.
TURN = 128


class OneWay(Interception):
    """Sends one way, for the endpoint that it is a part of."""

    transport: Transport
    _until_turn: int = TURN
    time: Callable[[], float]
    _xs: str

    @abstractmethod
    async def writable(self, timeout: float | None) -> float:
        """Return once the transport takes messages, with what is left of ``timeout``."""

    @abstractmethod
    def next_id(self) -> str:
        """Return an id for a message."""

    @abstractmethod
    def _deadline(self, timeout: float | None, context: CallContext | None) -> float:
        """Return when what begins now must be over."""

    async def sent(self) -> None:
        """Count one message; the event loop gets its turn after :data:`TURN` of them."""
        self._until_turn -= 1
        if not self._until_turn:
            await self.turn()

    async def turn(self) -> None:
        """Give the event loop its turn."""
        self._until_turn = TURN
        await asyncio.sleep(0)

    async def send(
        self,
        sender: str,
        to: str,
        op: str,
        content: Any = None,
        *,
        timeout: float | None = None,
        content_type: str = MSGPACK,
        confirm: bool = True,
        message_id: str = "",
    ) -> None:
        """Send a message that nobody answers, persistent.

        :param message_id: what it is known by for ever: whoever sends it once more, not knowing
            whether it arrived, gives the same, and an effectively-once service handles it once.
        :param confirm: wait until the broker has it; without, it is handed over and forgotten.
        :raises ServiceNotFound: no queue of that name exists (only with ``confirm``).
        :raises BadRequest: a name is longer than the 255 bytes that any bus takes.
        :raises Unavailable: the broker did not take it in time.
        """
        transport = self.transport
        if not transport.writable:
            timeout = await self.writable(timeout)
        self._until_turn -= 1
        if not self._until_turn:
            await self.turn()
        deadline = self._deadline(timeout, current_call.get())
        envelope = self.one_way(sender, op, content, content_type, message_id, to)
        if not confirm:
            transport.publish(self._xs, to, envelope)
            return
        left = max(deadline - self.time(), 0.001)
        try:
            await transport.publish_confirmed(self._xs, to, envelope, mandatory=True, timeout=left)
        except Unroutable:
            raise not_found(to) from None
        except (CodecError, ConfigurationError):
            check_call(to, op)  # a name that no bus takes is told alike on all
            raise

    def one_way(
        self,
        sender: str,
        op: str,
        content: Any,
        content_type: str = MSGPACK,
        message_id: str = "",
        to: str = "",
    ) -> Envelope:
        """Return a message that nobody answers, persistent, as it goes out.

        :param to: the routing key or topic that it is sent with.
        :raises BadRequest: ``message_id`` is no text of at most 255 bytes.
        :raises ContentTooLarge: the content is over the limit.
        """
        codec_ = codec.msgpack_codec if content_type == MSGPACK else codec.codec_for(content_type)
        body, content_type = codec_.encode(content, content_type)
        return self.one_way_of(sender, op, body, content_type, message_id, to)

    def one_way_of(
        self,
        sender: str,
        op: str,
        body: bytes,
        content_type: str,
        message_id: str = "",
        to: str = "",
    ) -> Envelope:
        """Return a message as :meth:`one_way`, of content that is encoded already."""
        headers = {"performative": c.REQUEST, "protocol": "none", "sender": sender}
        context = current_call.get()
        if context is not None or self.token:
            add_to(headers, context, None, self.token, waits=False)
        envelope = Envelope(
            op,
            body,
            content_type=content_type,
            message_id=checked_message_id(message_id) or self.next_id(),
            timestamp=int(time.time()),
            persistent=True,
            headers=headers,
        )
        return self.outgoing(envelope, to)
