"""Generic conversations: both sides say anything, at any time, until one of them ends it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from ion.base.errors import (
    Cancelled,
    ConversationError,
    DeadlineExceeded,
    IonError,
)
from ion.conversation import conversation as c
from ion.conversation.flow import Order
from ion.conversation.generic import GENERIC
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Settled
from ion.process.conversations.long_lived import ENDS, LongLivedCall, content_of, is_next
from ion.process.conversations.send_buffer import SendBuffer
from ion.process.endpoint.calls import failure_of
from ion.process.endpoint.endpoint import Endpoint
from ion.process.serving.incoming import IncomingCall

MAX_UNHEARD = 1000
MAX_UNSENT = 100
MAX_UNANSWERED = 1000  # said by the participant before it looks whether anybody takes it
MAX_UNTAKEN = 10_000  # in the initiator's queue: with more it does not keep up, or is frozen
UNTAKEN_PAUSE = 0.5  # seconds between two looks at that queue


class DialogueCall(LongLivedCall, eq=False):
    """A generic conversation that this side began.

    :ivar opened: whether the other side has agreed.
    """

    opened: bool = False

    def _heard(self, performative: str, state: str, envelope: Envelope) -> None:
        self.opened = True
        if len(self.unread) >= MAX_UNHEARD:
            self.breaks(full(self.id))
        else:
            super()._heard(performative, state, envelope)

    def breaks(self, error: IonError) -> None:
        """End it on both sides with the same error."""
        if not self.future.done():
            self.fail(error)
            self.endpoint.tell(self, c.FAILURE, error.as_content(), status="ERROR", code=error.code)


class Dialogue:
    """A generic conversation, as its initiator has it.

    ::

        async with await process.converse("desk", "ask", {"topic": "x"}) as talk:
            await talk.say("what is it?")
            print(await talk.hear())

    Leaving the block ends it, as :meth:`close` does; with an exception, or dropped, it is
    cancelled. Up to 1,000 messages may wait to be heard; beyond, it fails on both sides.
    """

    __slots__ = ("_call", "_endpoint")

    def __init__(self, endpoint: Endpoint, call: DialogueCall) -> None:
        self._endpoint = endpoint
        self._call = call

    @property
    def state(self) -> str:
        """The state of its machine, as in docs/reference/conversations.md."""
        return self._call.state

    @property
    def id(self) -> str:
        """Its conversation id."""
        return self._call.id

    @property
    def result(self) -> Any:
        """What the other side has ended it with; None before, and where this side has ended it."""
        reply = self._call.future.result() if self._ended() else None
        return None if reply is None else self._endpoint.content_of(reply)

    async def say(self, content: Any) -> None:
        """Say something.

        :raises ConversationError: it is over.
        :raises IonError: the error that the other side has ended it with.
        :raises CodecError: that cannot be encoded.
        """
        await self._speak(c.INFORM, content)

    async def hear(self, timeout: float | None = None) -> Any:
        """Return what the other side says next.

        :param timeout: seconds; that they pass does not end the conversation.
        :raises DeadlineExceeded: nothing was said within ``timeout``, or the limit of silence.
        :raises ConversationError: it is over; what was said before is heard.
        :raises IonError: the error that the other side has ended it with.
        """
        call = self._call
        try:
            async with asyncio.timeout(timeout):
                while not call.unread and not call.future.done():
                    await call.changed()
        except TimeoutError:
            raise unsaid(call.id, timeout) from None
        if not call.unread:
            raise self._end()
        call.renew()
        return content_of(self._endpoint, call.unread.popleft())

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate what the other side says, until it ends the conversation with a result."""
        while self._call.unread or not self._ended():
            try:
                content = await self.hear()
            except ConversationError:
                if self._ended():
                    return
                raise
            yield content

    async def close(self, content: Any = None) -> None:
        """End it, where it is not over: the other side hears no more after this."""
        call = self._call
        if call.future.done():
            return
        await self._speak(c.INFORM_RESULT, content)
        if not call.future.done():
            call.step(c.INFORM_RESULT)
            self._endpoint.conversations.close(call, answered=False)
            call.future.set_result(None)

    def cancel(self) -> None:
        """Give it up: the other side is told, and its handler cancelled."""
        self._call.abandon()

    async def __aenter__(self) -> Dialogue:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it, or cancel it where an exception leaves the block."""
        if error is None:
            await self.close()
        else:
            self.cancel()

    async def _speak(self, performative: str, content: Any) -> None:
        call = self._call
        while len(call.unsent) >= MAX_UNSENT and not call.future.done():
            await call.changed()
        if call.future.done():
            raise self._end()
        call.say(performative, content)

    def _ended(self) -> bool:
        """Whether it is over, by a result."""
        return self._call.state == c.DONE

    def _end(self) -> Exception:
        """Return the error for who speaks or listens when it is over."""
        call = self._call
        self._endpoint.end(call)
        error = call.future.exception()
        if error is not None:
            return error if isinstance(error, Exception) else ConversationError(str(error))
        if call.state == c.DONE:
            return ended(call.id)
        if call.state == c.CANCELLED and call.future.result() is None:
            message = f"conversation {call.id} was cancelled"
            return Cancelled(message)
        reply = call.future.result()
        if reply is None:
            return call.silent()
        return failure_of(reply, content_of(self._endpoint, reply))

    def __del__(self) -> None:
        call = self._call
        if not call.future.done():
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._endpoint.loop.call_soon_threadsafe(call.abandon)


async def converse(
    endpoint: Endpoint, sender: str, to: str, op: str, content: Any, timeout: float | None
) -> Dialogue:
    """Begin a generic conversation, and return it once the other side has agreed.

    :raises IonError: as :meth:`Endpoint.rpc`.
    """
    silence = endpoint.rpc_timeout if timeout is None else timeout
    left = await endpoint.writable(timeout)
    kind = functools.partial(DialogueCall, endpoint=endpoint, silence=silence)
    call = endpoint.begin(GENERIC, sender, to, op, content, left, kind=kind)
    assert isinstance(call, DialogueCall)
    dialogue = Dialogue(endpoint, call)
    try:
        while not call.opened and not call.future.done():
            await call.changed()
    except BaseException:
        call.abandon()
        raise
    if not call.opened and call.state != c.DONE:
        if call.future.exception() is None and call.future.result() is None:
            raise await endpoint.overdue(call)
        raise dialogue._end()
    return dialogue


class ParticipantDialogue:
    """A generic conversation as its participant has it: what ``dialogue_context.Talk`` says."""

    __slots__ = (
        "_call",
        "_error",
        "_order",
        "_unanswered",
        "_unheard",
        "_unsent",
        "_waiter",
        "closing",
    )

    def __init__(self, call: IncomingCall) -> None:
        self._call = call
        self._order = Order()
        self._unheard: deque[Envelope] = deque()
        self._unanswered = 0  # how much was said since something was heard, or somebody seen
        self._waiter: asyncio.Future[None] | None = None
        self._unsent = SendBuffer(call.endpoint.loop, self._publish, self._wake, patient=False)
        self._error: IonError | None = None
        self.closing: Any = None

    async def say(self, content: Any) -> None:
        """Say something; see :meth:`DialogueContext.say`."""
        call, endpoint = self._call, self._call.endpoint
        self._check()
        while self._unsent.interrupted or not endpoint.transport.writable:
            if self._unsent.interrupted:
                await self._change()
            else:
                left = max(call.deadline - endpoint.time(), 0.0)
                await endpoint.transport.wait_writable(left)
            self._check()
        if self._unanswered >= MAX_UNANSWERED:
            await self._taken()
        envelope = call.informs(content)
        self._unsent.send(call.seq, envelope)
        self._unanswered += 1
        call.renew()

    async def _taken(self) -> None:
        """Return once somebody takes what is said: a queue outlives who was killed by minutes."""
        while self._unanswered >= MAX_UNANSWERED and not await self._is_taken():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNTAKEN_PAUSE):
                    await self._change()
            self._check()
        self._check()
        self._unanswered = 0

    async def _is_taken(self) -> bool:
        transport, queue = self._call.endpoint.transport, self._call.envelope.reply_to
        try:
            info = await transport.queue_info(queue)
        except IonError:  # of the initiator's connection alone, and gone with it; or no broker
            return True
        return info is None or (info.consumers > 0 and info.messages < MAX_UNTAKEN)

    async def finish(self) -> None:
        """Wait until the broker has all that was said; the call's deadline ends it."""
        while self._unsent and self._unsent.lost is None:
            await self._change()

    async def hear(self, timeout: float | None = None) -> Any:
        """Return what the other side says next; see :meth:`DialogueContext.hear`."""
        try:
            async with asyncio.timeout(timeout):
                while not self._unheard:
                    self._check()
                    await self._change()
        except TimeoutError:
            raise unsaid(self._call.conversation, timeout) from None
        self._call.renew()
        return content_of(self._call.endpoint, self._unheard.popleft())

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate what the other side says, until it ends the conversation with a result."""
        while self._unheard or self._call.state != c.DONE:
            try:
                content = await self.hear()
            except ConversationError:
                if self._call.state == c.DONE:
                    return
                raise
            yield content

    def take(self, envelope: Envelope) -> None:
        """Take a later message of the initiator."""
        call = self._call
        counts = call.endpoint.counts
        performative = str(envelope.headers.get("performative"))
        state = call.protocol.said.get((call.state, performative))
        if state is None:
            counts["disallowed"] += 1
            return
        try:
            if performative in ENDS or is_next(self._order, envelope, counts):
                self._heard(envelope, state)
        except IonError as error:  # a gap, too much of it, or an end that nobody can read
            self._error = error
            call.fail(error)
        self._wake()

    def _heard(self, envelope: Envelope, state: str) -> None:
        call = self._call
        call.renew()
        self._unanswered = 0
        if state not in c.FINAL:
            if len(self._unheard) >= MAX_UNHEARD:
                raise full(call.conversation)
            self._unheard.append(envelope)
            return
        content = content_of(call.endpoint, envelope) if envelope.body else None
        call.state = state
        call.delivery.ack()
        if state == c.DONE:
            self.closing = content
            self._error = ended(call.conversation)
        else:
            self._error = failure_of(envelope, content)

    def _publish(self, envelope: Envelope, settled: Settled) -> None:
        if self._call.task is None:  # it is over
            self._unsent.close()
        else:
            self._call.send(envelope, settled)

    def _check(self) -> None:
        if self._error is None:
            self._error = self._unsent.lost  # an initiator whose queue is gone hears no more
        if self._error is None and self._call.replied:
            self._error = ended(self._call.conversation)
        if self._error is not None:
            raise self._error

    async def _change(self) -> None:
        if self._waiter is None or self._waiter.done():
            self._waiter = self._call.endpoint.loop.create_future()
        await asyncio.shield(self._waiter)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def opens(call: IncomingCall) -> None:
    """Agree to a generic conversation: from now on both sides may speak."""
    talk = ParticipantDialogue(call)
    call.talk = talk
    call.ear = talk.take
    call.agree()


def full(id: str) -> ConversationError:
    """Return the error for a side that says more than the other hears."""
    message = f"conversation {id}: more than {MAX_UNHEARD} messages wait to be heard"
    return ConversationError(message, details={"unheard": MAX_UNHEARD})


def ended(id: str) -> ConversationError:
    """Return the error for who speaks or listens when all is said."""
    message = f"conversation {id} is over"
    return ConversationError(message)


def unsaid(id: str, timeout: float | None) -> DeadlineExceeded:
    """Return the error for a wait that was in vain."""
    message = f"nothing was said in conversation {id} for {timeout} seconds"
    return DeadlineExceeded(message, details={"phase": "hear"})
