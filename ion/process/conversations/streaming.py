"""The participant's side of a stream: an op's items, sent as far as there is credit for them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from ion.base.errors import DeadlineExceeded
from ion.conversation import conversation as c
from ion.conversation.flow import MAX_CREDIT, Order, Place, credit_of
from ion.messaging.envelope import Envelope
from ion.observe.context import current_call
from ion.process.conversations.send_buffer import SendBuffer
from ion.process.serving import incoming
from ion.process.serving.incoming import IncomingCall

BURST = 32  # items after which others have their turn
UNLIMITED = float("inf")
Items = AsyncGenerator[Any, None]


def served(generate: Callable[..., Items]) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return a handler that sends what an async generator function yields."""

    @functools.wraps(generate)
    async def handler(*args: Any, **kwargs: Any) -> None:
        call = current_call.get()
        assert isinstance(call, IncomingCall)
        await serve(call, generate(*args, **kwargs))

    return handler


async def serve(call: IncomingCall, items: Items) -> None:
    """Send the items of an op. The end is the caller's to say; the generator is closed.

    :raises Exception: what the generator raises.
    :raises IonError: an item cannot be sent.
    """
    outflow = Outflow(call)
    call.ear = outflow.hear
    try:
        async for item in items:
            await outflow.put(item)
            if not outflow.credit:
                await outflow.more()
        await outflow.finish()
    except asyncio.CancelledError:
        if call.cause == incoming.DEADLINE:
            call.fail(outflow.overdue())
        raise
    finally:
        call.ear = None
        outflow.close()
        await items.aclose()


class Outflow:
    """The items of one stream on their way out.

    :ivar credit: how many the initiator has room for; without a word of it, any number.
    """

    __slots__ = ("_burst", "_call", "_order", "_silence", "_unsent", "_waiter", "credit")

    def __init__(self, call: IncomingCall) -> None:
        self._call = call
        self.credit: float = credit_of(call.envelope.headers.get("credit")) or UNLIMITED
        self._silence = call.silence
        self._burst = 0
        self._order = Order()
        self._unsent = SendBuffer(call.endpoint.loop, call.send, self._wake, patient=False)
        self._waiter: asyncio.Future[None] | None = None

    async def put(self, item: Any) -> None:
        """Send an item.

        :raises CodecError: it cannot be encoded.
        :raises Unavailable: the broker takes nothing, or nobody is left to send it to.
        """
        call = self._call
        call.phase = incoming.ANSWERING  # what goes wrong now is the item's fault
        endpoint = call.endpoint
        while self._unsent.interrupted or not endpoint.transport.writable:
            if self._unsent.interrupted:
                await self._change()
            else:
                await endpoint.transport.wait_writable(self._left())
        self._check()
        envelope = call.informs(item)
        self._unsent.send(call.seq, envelope)
        call.phase = incoming.RUNNING
        self.credit -= 1
        call.renew()
        self._burst += 1
        if self._burst >= BURST:
            self._burst = 0
            await asyncio.sleep(0)

    async def more(self) -> None:
        """Wait for credit; the call's deadline ends it.

        :raises Unavailable: nobody is left to send to.
        """
        while not self.credit:
            await self._change()

    async def finish(self) -> None:
        """Wait until the broker has all of it; the call's deadline ends it.

        :raises Unavailable: nobody is left to send to.
        """
        while self._unsent:
            await self._change()

    def close(self) -> None:
        """Send nothing any more."""
        self._unsent.close()

    def hear(self, envelope: Envelope) -> None:
        """Take what the initiator says: credit."""
        call = self._call
        headers = envelope.headers
        performative = headers.get("performative")
        credit = credit_of(headers.get("credit"))
        if performative != c.CREDIT or credit is None or call.replied:
            call.endpoint.counts["disallowed"] += 1
            return
        if self._order.place(headers.get("conv-seq"), "") is Place.DOUBLE:
            call.endpoint.counts["doubled"] += 1
            return
        self.credit = min(self.credit + credit, max(MAX_CREDIT, self.credit))
        call.renew()
        self._wake()

    def overdue(self) -> DeadlineExceeded:
        """Return the error for when the limit of silence, or the deadline, has come."""
        call = self._call
        message = f"op {call.op!r} was given no credit for {self._silence:g} seconds"
        if self.credit:
            message = f"op {call.op!r} gave no item for {self._silence:g} seconds"
        return DeadlineExceeded(message, details={"op": call.op, "phase": "silence"})

    def _left(self) -> float:
        return max(self._call.deadline - self._call.endpoint.time(), 0.0)

    async def _change(self) -> None:
        self._check()
        self._waiter = self._call.endpoint.loop.create_future()
        await self._waiter
        self._check()

    def _check(self) -> None:
        if self._unsent.lost is not None:
            self._call.phase = incoming.ANSWERING
            raise self._unsent.lost

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
