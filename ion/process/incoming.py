"""The participant's end of a conversation: a message that a process was given, until it is settled.

It is the context of the call while its handler runs, and the ``msg`` of raw handlers. Whatever
happens, it is settled once: answered and acked, acked, dead-lettered, or left to the broker to
deliver again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import time
from typing import Any

from ion.base.errors import (
    ApplicationError,
    BadRequest,
    CodecError,
    ContentTooLarge,
    IonError,
    Unavailable,
)
from ion.conversation import conversation as c
from ion.conversation.conversation import Protocol
from ion.conversation.oneway import ONE_WAY
from ion.conversation.request import REQUEST_PROTOCOL
from ion.conversation.rpc import RPC
from ion.messaging import codec
from ion.messaging.envelope import MSGPACK, Envelope
from ion.messaging.transport import Delivery
from ion.observe.context import CallContext
from ion.process import callstack, retrying
from ion.process.answering import advice, code_of, encode_answer, plain_failure
from ion.process.endpoint import Endpoint
from ion.process.source import MAIL, Source

log = logging.getLogger(__name__)
PROTOCOLS: dict[str, Protocol] = {"rpc": RPC, "request": REQUEST_PROTOCOL, "none": ONE_WAY}

# The handler is cancelled a little after its caller has given up, so that the caller's own deadline
# is what it sees, not a race between the two.
GRACE = 0.02
LONG_PAST = 1e-9  # a deadline on the loop's clock that is over

# how far the handling of a message is
WAITING = -1
BINDING = 0
RUNNING = 1
ANSWERING = 2

# why a handler's task was cancelled by the runtime
DEADLINE = "deadline"
CALLER = "caller"
TERMINATED = "terminated"
ABANDONED = "abandoned"


def _no_matter(error: IonError | None) -> None:
    """Take the outcome of an intermediate answer; the final one decides."""


class IncomingCall(CallContext, eq=False):
    """One message being handled.

    :ivar envelope: as it came in; ``headers``, ``body`` and ``content_type`` are its parts.
    :ivar source: the queue that it came from.
    :ivar ear: takes what the initiator says later in the conversation; None: it is not listened to.
    :ivar state: state of its conversation's machine.
    :ivar key: what a cancel names it by: (reply queue, conversation id).
    :ivar fault: what is wrong with its headers, or None.
    :ivar cause: why the runtime cancelled it, or "".
    """

    endpoint: Endpoint = None  # type: ignore[assignment]
    delivery: Delivery = None  # type: ignore[assignment]
    envelope: Envelope = None  # type: ignore[assignment]
    protocol: Protocol = RPC
    source: Source = MAIL
    ear: Callable[[Envelope], None] | None = None
    state: str = c.REQUESTED
    cause: str = ""
    phase: int = WAITING
    done: Callable[[], None] | None = None
    seq: int = 1
    task: asyncio.Task[None] | None = None
    fault: IonError | None = None
    key: tuple[str, Any] = ("", "")

    @property
    def headers(self) -> dict[str, Any]:
        """The header table, with the standard properties under their names."""
        envelope = self.envelope
        properties = {
            "op": envelope.op,
            "reply-to": envelope.reply_to,
            "conv-id": envelope.correlation_id,
            "content-type": envelope.content_type,
            "message-id": envelope.message_id,
        }
        return {**properties, **envelope.headers}

    @property
    def sender(self) -> str:
        """The process id of the sender, or "" where it did not say."""
        return str(self.envelope.headers.get("sender", ""))

    @property
    def redelivered(self) -> bool:
        """Whether it may have been handled before, wholly or in part."""
        return self.delivery.redelivered or self.attempt > 1

    @property
    def topic(self) -> str:
        """The topic of an event, and of any message the routing key that it was first sent with."""
        return str(self.envelope.headers.get("receiver") or self.delivery.key)

    @property
    def attempt(self) -> int:
        """Which attempt at it this is, from 1 on."""
        return retrying.attempt_of(self.envelope.headers)

    @property
    def stack(self) -> tuple[str, ...]:
        """The calls that wait on this one, the first one first."""
        return callstack.stack_of(self.envelope.headers.get(callstack.HEADER))

    @property
    def entry(self) -> str:
        """Its own entry in the call stack."""
        return callstack.entry(self.process, self.source.key, self.op)

    @property
    def replied(self) -> bool:
        """Whether its final answer was given."""
        return self.state in c.FINAL

    def step(self, performative: str) -> None:
        """Take a performative that this side sends.

        :raises ConversationError: the protocol does not allow it now.
        """
        state = self.protocol.table.get((self.state, performative))
        if state is None:
            state = self.protocol.machine.next_state(self.state, performative)
        self.state = state

    def expire(self) -> None:
        """The deadline has come: its handler is cancelled."""
        self.cancel(DEADLINE)

    def cancel(self, cause: str) -> None:
        """Cancel the handler, or what is to become of the message in the mailbox."""
        if self.cause or self.replied:
            return
        self.cause = cause
        # A task that has not begun would end without a step, and settle nothing: it looks itself.
        if self.task is not None and self.phase != WAITING:
            self.task.cancel()

    def hear(self, envelope: Envelope) -> None:
        """Take a later message of the conversation from its initiator."""
        if self.ear is None:
            self.endpoint.counts["unheard"] += 1
        else:
            self.ear(envelope)

    # answers

    def answer(self, content: Any) -> None:
        """Give the final result.

        :raises CodecError: it cannot be encoded.
        """
        self.conclude(self.conclusion(content))

    def conclusion(self, content: Any) -> Envelope | None:
        """Return the answer with the final result, to be given to :meth:`conclude`; None: one way.

        :raises CodecError: it cannot be encoded.
        """
        return self._envelope(c.INFORM_RESULT, content) if self.envelope.reply_to else None

    def conclude(self, answer: Envelope | None) -> None:
        """Give the final result."""
        self.step(c.INFORM_RESULT)
        if answer is None:
            self.delivery.ack()
        else:
            self._publish_final(answer)

    def answer_again(self, answer: Envelope) -> None:
        """Give the answer that this message was given before, under its present ids."""
        self.state = c.DONE
        if not self.envelope.reply_to:
            self.delivery.ack()
            return
        self._publish_final(answer.replace(correlation_id=self.envelope.correlation_id))

    def fail(self, error: IonError) -> None:
        """Give the final failure; what nobody waits for is tried again, or dead-lettered."""
        if self.replied:
            return
        if not self.envelope.reply_to:
            self.step(c.FAILURE)
            retrying.unanswered(self, error)
            return
        code = code_of(error)
        try:
            try:
                self._final(c.FAILURE, {**error.as_content(), "code": code}, code)
            except (CodecError, ContentTooLarge):  # what a handler says must not cost the answer
                self._final(c.FAILURE, plain_failure(error, code), code)
        except Exception:  # what an interceptor raises: without an answer, it is a dead letter
            log.exception("failure of %r of %s could not be answered", self.op, self.process)
            self.state = c.FAILED
            retrying.bury(self, error)

    def tell_failure(self, error: IonError) -> None:
        """Tell the caller of a failure without settling the message.

        :raises CodecError: it cannot be encoded.
        """
        code = code_of(error)
        self._publish(self._envelope(c.FAILURE, plain_failure(error, code), code))

    def refuse(self, reason: str) -> None:
        """Refuse the request; in an rpc, and after ``agree``, that is a failure 403 Refused."""
        content = {"code": 403, "type": "Refused", "message": reason, "details": {}}
        refusable = self.protocol.table.get((self.state, c.REFUSE)) is not None
        if not self.envelope.reply_to:
            self.fail(ApplicationError(reason, code=403, type="Refused"))
        else:
            self._final(c.REFUSE if refusable else c.FAILURE, content, 403)

    def agree(self) -> None:
        """Say that the request is being worked on.

        :raises ConversationError: not a request conversation, or agreed or over already.
        """
        self.step(c.AGREE)
        self._publish(self._envelope(c.AGREE, None))

    def report(self, content: Any) -> None:
        """Send a progress message, after an ``agree`` where none was sent yet.

        Who called by rpc, or sent one way, does not follow: then it is not sent.

        :raises ConversationError: the conversation is over.
        """
        if self.protocol is not REQUEST_PROTOCOL:
            return
        if self.state == c.REQUESTED:
            self.agree()
        self.step(c.PROGRESS)
        self._publish(self._envelope(c.PROGRESS, content))

    def _final(self, performative: str, content: Any, code: int | None = None) -> None:
        if not self.envelope.reply_to:
            self.step(performative)
            self.delivery.ack()
            return
        envelope = self._envelope(performative, content, code)
        self.step(performative)
        self._publish_final(envelope)

    def _envelope(self, performative: str, content: Any, code: int | None = None) -> Envelope:
        request = self.envelope
        self.seq = seq = self.seq + 1
        headers: dict[str, Any] = {
            "performative": performative,
            "protocol": self.protocol.name,
            "sender": self.process,
            "conv-seq": seq,
            "status": "OK",
        }
        if code is not None:
            headers["status"] = "ERROR"
            headers["code"] = code
            headers.update(advice(content))
        content_type = request.content_type
        if content_type == MSGPACK:
            body, content_type = codec.msgpack_codec.encode(content, MSGPACK)
        else:
            body, content_type = encode_answer(content, content_type, failed=code is not None)
        endpoint = self.endpoint
        envelope = Envelope(
            request.op,
            body,
            content_type=content_type,
            correlation_id=request.correlation_id,
            message_id=endpoint.next_id(),
            headers=headers,
        )
        if endpoint.outbound or len(body) > endpoint.max_content:
            return endpoint.outgoing(envelope)
        return envelope

    def _publish(self, envelope: Envelope) -> None:
        """Publish an answer that is not the last. All go one way: another could overtake this."""
        try:
            self.endpoint.transport.publish(
                "", self.envelope.reply_to, envelope, settled=_no_matter
            )
        except Unavailable as error:
            log.warning("answer of %s to %r not sent: %s", self.process, self.op, error)

    def _publish_final(self, answer: Envelope) -> None:
        """Publish the last answer; the message is taken off its queue once the broker has it."""

        def settled(error: IonError | None) -> None:
            if error is None:
                self.delivery.ack()
            else:
                self._unsettled(answer)

        try:
            self.endpoint.transport.publish("", self.envelope.reply_to, answer, settled=settled)
        except Unavailable as error:
            log.warning("answer of %s to %r not sent: %s", self.process, self.op, error)
            self._unsettled(answer)

    def _unsettled(self, answer: Envelope) -> None:
        """Keep the answer: the broker delivers the message again, to be answered with it."""
        self.endpoint.answers.keep(self.key, answer)
        self.delivery.nack(requeue=True)


def incoming_call(
    endpoint: Endpoint, process: str, delivery: Delivery, source: Source = MAIL
) -> IncomingCall:
    """Return the call that a delivery is, for the process with that pid; never raises."""
    envelope = delivery.envelope
    get = envelope.headers.get
    one_way = not envelope.reply_to
    name = get("protocol", "rpc")  # a foreign header may hold any value, unhashable ones too
    protocol = PROTOCOLS.get(name) if name.__class__ is str else None
    timeout = get("timeout")
    hint = get("deadline")
    if timeout.__class__ is int:
        deadline = endpoint.time() + (timeout / 1000 + GRACE if timeout > 0 else 0)
    else:
        deadline = 0.0 if one_way else endpoint.time() + endpoint.rpc_timeout
    if hint.__class__ is int and hint / 1000 + endpoint.clock_skew < time():
        deadline = LONG_PAST  # whatever the clocks' difference: not to be run
    call = IncomingCall(
        process,
        envelope.correlation_id,
        envelope.op,
        deadline,
        get("user-id", ""),
        get("traceparent", ""),
        endpoint,
        delivery,
        envelope,
        ONE_WAY if one_way else protocol or RPC,
        source,
    )
    # Without an id nobody can name it; it stands for itself.
    # An event has one id in all the queues that it went to.
    call.key = (
        envelope.reply_to or source.queue,
        envelope.correlation_id or envelope.message_id or call,
    )
    if protocol is None or get("performative", c.REQUEST) != c.REQUEST:
        call.fault = _fault(envelope)
    elif timeout is not None and timeout.__class__ is not int:
        call.fault = BadRequest(f"header timeout must be whole milliseconds, not {timeout!r}")
    return call


def _fault(envelope: Envelope) -> BadRequest:
    protocol = envelope.headers.get("protocol", "rpc")
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        return BadRequest(f"header protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
    performative = envelope.headers.get("performative")
    return BadRequest(f"header performative {performative!r} does not begin a conversation")
