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

from ion.base.errors import ApplicationError, CodecError, ContentTooLarge, IonError, Unavailable
from ion.conversation import conversation as c
from ion.conversation.conversation import INFORM_RESULT, Protocol
from ion.conversation.oneway import ONE_WAY
from ion.conversation.request import REQUEST_PROTOCOL
from ion.conversation.rpc import RPC
from ion.messaging import codec
from ion.messaging.envelope import MSGPACK, Envelope
from ion.messaging.transport import Delivery, TransportState
from ion.process.conversations.dialogue_context import DialogueContext
from ion.process.endpoint import callstack
from ion.process.endpoint.endpoint import Endpoint
from ion.process.endpoint.unacked_answers import DONE
from ion.process.redelivery import retrying
from ion.process.serving.answering import advice, code_of, encode_answer, plain_failure
from ion.process.serving.source import MAIL, Source

log = logging.getLogger(__name__)
_pack = codec.msgpack_codec.pack

# The handler is cancelled a little after its caller has given up, so that the caller's own deadline
# is what it sees, not a race between the two.
GRACE = 0.02
PAUSE = 0.2  # seconds before an answer that the broker did not take is tried again

WAITING = -1  # how far the handling of a message is
BINDING = 0
RUNNING = 1
ANSWERING = 2

# why a handler's task was cancelled by the runtime
DEADLINE = "deadline"
CALLER = "caller"
TERMINATED = "terminated"
FAILED = "failed"
ABANDONED = "abandoned"


def _no_matter(error: IonError | None) -> None:
    """Take the outcome of an intermediate answer; the final one decides."""


class IncomingCall(DialogueContext, eq=False):
    """One message being handled.

    :ivar envelope: as it came in; ``headers``, ``body`` and ``content_type`` are its parts.
    :ivar source: the queue that it came from.
    :ivar ear: takes what the initiator says later in the conversation; None: it is not listened to.
    :ivar state: state of its conversation's machine.
    :ivar key: what a cancel names it by: (reply queue, conversation id).
    :ivar fault: what is wrong with its headers, or None.
    :ivar last: its final answer, once that is given.
    :ivar cause: why the runtime cancelled it, or "".
    """

    endpoint: Endpoint = None  # type: ignore[assignment]
    delivery: Delivery = None  # type: ignore[assignment]
    envelope: Envelope = None  # type: ignore[assignment]
    protocol: Protocol = RPC
    source: Source = MAIL
    key: tuple[str, Any] = ("", "")
    ear: Callable[[Envelope], None] | None = None
    state: str = c.REQUESTED
    cause: str = ""
    phase: int = WAITING
    done: Callable[[], None] | None = None
    seq: int = 1
    task: asyncio.Task[None] | None = None
    last: Envelope | None = None
    fault: IonError | None = None

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
        return retrying.receiver_of(self.delivery)

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
        name = self.source.key if self.source.queue else self.process
        return callstack.entry(self.process, name, self.op)

    @property
    def over(self) -> bool:
        """Whether its handler has ended; what that left running waits on its own account."""
        return self.task is None

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback``, which must not raise, when the handler has ended."""
        before = self.done

        def both() -> None:
            if before is not None:
                before()
            callback()

        self.done = both

    @property
    def replied(self) -> bool:
        """Whether its final answer was given."""
        return self.state in c.FINAL

    def step(self, performative: str) -> None:
        """Take a performative that this side sends.

        :raises ConversationError: the protocol does not allow it now.
        """
        state = self.protocol.table.get((self.state, performative))
        self.state = state or self.protocol.machine.next_state(self.state, performative)

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

    def renew(self) -> None:
        """Put the deadline off by the limit of silence: something was said."""
        if self.deadline:
            self.deadline = self.endpoint.time() + self.silence

    @property
    def silence(self) -> float:
        """Seconds without a message after which a conversation that lasts is given up."""
        timeout = self.envelope.headers.get("timeout")
        return timeout / 1000 + GRACE if timeout.__class__ is int else self.endpoint.rpc_timeout

    def take(self, envelope: Envelope) -> None:
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
        state = self.protocol.table.get((self.state, INFORM_RESULT))
        if state is None or not self.envelope.reply_to:
            self._final(INFORM_RESULT, content)
        else:
            answer = self._envelope(INFORM_RESULT, content)
            self.state = state
            self._publish_final(answer)

    def conclusion(self, content: Any) -> Envelope | None:
        """Return the answer with the final result, to be given to :meth:`conclude`; None: one way.

        :raises CodecError: it cannot be encoded.
        """
        return self._envelope(c.INFORM_RESULT, content) if self.envelope.reply_to else None

    def conclude(self, answer: Envelope | None) -> None:
        """Give the final result."""
        self.step(c.INFORM_RESULT)
        if answer is None:
            self._published(None)
        else:
            self._publish_final(answer)

    def answer_again(self, answer: Envelope) -> None:
        """Give the answer that this message was given before, under its present ids."""
        if not self.envelope.reply_to:
            self.state = c.DONE
            self.delivery.ack()
        elif not answer.headers:  # nobody awaited one then
            self.answer(None)
        else:
            self.state = c.DONE
            answer = answer.replace(correlation_id=self.envelope.correlation_id)
            if self.endpoint.outbound:  # what signs an answer signs its ids, too
                answer = self.endpoint.outgoing(answer)
            self._publish_final(answer)

    def fail(self, error: IonError) -> None:
        """Give the final failure; what nobody waits for is tried again, or dead-lettered."""
        if self.replied:
            return
        if not self.envelope.reply_to:
            self.step(c.FAILURE)
            retrying.unanswered(self, error)
            return
        code, no = code_of(error), c.REFUSE if error.type == "Refused" else c.FAILURE
        no = self.protocol.negative(self.state, no)
        try:
            try:
                self._final(no, {**error.as_content(), "code": code}, code)
            except (CodecError, ContentTooLarge):  # what a handler says must not cost the answer
                self._final(no, plain_failure(error, code), code)
        except Exception:  # what an interceptor raises: without an answer, it is a dead letter
            log.exception("failure of %r of %s could not be answered", self.op, self.process)
            self.state = c.FAILED
            retrying.bury(self, error)

    def tell_failure(self, error: IonError) -> None:
        """Tell the caller of a failure without settling the message.

        :raises CodecError: it cannot be encoded.
        """
        code = code_of(error)
        self._publish(self._envelope(c.FAILURE, {**error.as_content(), "code": code}, code))

    def refuse(self, reason: str) -> None:
        """Refuse the request; in an rpc, and after ``agree``, that is a failure 403 Refused."""
        self._decline(c.REFUSE, reason, 403, "Refused")

    def give_up(self, reason: str) -> None:
        """Cancel the conversation from this side; in an rpc, that is a failure 499 Cancelled."""
        self._decline(c.CANCEL, reason, 499, "Cancelled")

    def _decline(self, performative: str, reason: str, code: int, type: str) -> None:
        if not self.envelope.reply_to:
            self.fail(ApplicationError(reason, code=code, type=type))
            return
        content = {"code": code, "type": type, "message": reason, "details": {}}
        self._final(self.protocol.negative(self.state, performative), content, code)

    def agree(self) -> None:
        """Say that the request is being worked on; who called by rpc, or sent, is not told.

        :raises ConversationError: agreed or over already, or a stream.
        """
        if self.replied or self.protocol not in (RPC, ONE_WAY):
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

    def informs(self, content: Any) -> Envelope:
        """Return one of many messages, numbered, to be given to :meth:`send`."""
        self.step(c.INFORM)
        return self._envelope(c.INFORM, content)

    def send(self, envelope: Envelope, settled: Callable[[IonError | None], None]) -> None:
        """Send one of many messages; where nobody is there to take it, Unroutable is settled."""
        self._publish(envelope, settled, mandatory=True)

    def _final(self, performative: str, content: Any, code: int | None = None) -> None:
        if not self.envelope.reply_to:
            self.step(performative)
            self._published(None)
            return
        envelope = self._envelope(performative, content, code)
        self.step(performative)
        self._publish_final(envelope)

    def _envelope(self, performative: str, content: Any, code: int | None = None) -> Envelope:
        request = self.envelope
        headers: dict[str, Any] = {
            "performative": performative,
            "protocol": self.protocol.name,
            "sender": self.process,
            "conv-seq": self.seq + 1,
            "status": "OK",
        }
        if code is not None:
            headers["status"] = "ERROR"
            headers["code"] = code
            headers.update(advice(content))
        content_type = request.content_type
        try:
            body = _pack(content) if content_type == MSGPACK else b""
        except codec.FOREIGN:
            body = b""
        if not body:  # it is no msgpack, or is not to be
            body, content_type = encode_answer(content, content_type, failed=code is not None)
        endpoint = self.endpoint
        envelope = Envelope(
            request.op,
            body,
            content_type=content_type,
            correlation_id=request.correlation_id,
            message_id=f"{endpoint.prefix}{endpoint.serial()}",  # as next_id does
            timestamp=int(time()),
            headers=headers,
        )
        if endpoint.outbound or len(body) > endpoint.max_content:
            envelope = endpoint.outgoing(envelope)
        self.seq += 1  # what could not be said leaves no gap
        return envelope

    def _publish(
        self,
        envelope: Envelope,
        settled: Callable[[IonError | None], None] = _no_matter,
        mandatory: bool = False,
    ) -> None:
        """Publish an answer that is not the last. All go one way: another could overtake this."""
        publish, to = self.endpoint.transport.publish, self.envelope.reply_to
        try:
            publish("", to, envelope, mandatory=mandatory, settled=settled)
        except Unavailable as error:
            log.warning("answer of %s to %r not sent: %s", self.process, self.op, error)
            settled(error)

    def _publish_final(self, answer: Envelope) -> None:
        """Publish the last answer; the message is taken off its queue once the broker has it."""
        self.last = answer
        try:
            self.endpoint.transport.publish(
                "", self.envelope.reply_to, answer, settled=self._published
            )
        except Unavailable as error:
            log.warning("answer of %s to %r not sent: %s", self.process, self.op, error)
            self._unsettled()

    def _published(self, error: IonError | None) -> None:
        """Take the outcome of publishing the last answer."""
        if error is not None:
            self._unsettled()
            return
        delivery = self.delivery
        if delivery.lost:
            self.endpoint.answers.keep(self.key, self.last or DONE)
        delivery.ack()

    def _unsettled(self) -> None:
        """Keep the answer for when the message comes again; where it does not, try once more."""
        self.endpoint.answers.keep(self.key, self.last or DONE)
        if self.delivery.settled or not self.delivery.lost:
            self.endpoint.loop.call_later(PAUSE, self._publish_again)

    def _publish_again(self) -> None:
        comes_again = self.delivery.lost and not self.delivery.settled
        if not comes_again and self.endpoint.transport.state is not TransportState.CLOSED:
            self.endpoint.answers.forget(self.key)
            self._publish_final(self.last or DONE)
