"""The initiator's end of a conversation: what a caller waits on.

A call steps its protocol's machine with what arrives, and settles a future; sending and clocks are
the endpoint's business. The answer is decoded in the caller's task, not here, so that a reply
never waits behind anything and a bad one fails only its caller.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from ion.base.errors import Cancelled, IonError, Refused, ServiceNotFound, Unroutable, received
from ion.conversation import conversation as c
from ion.conversation.conversation import Conversation
from ion.messaging import codec
from ion.messaging.address import CONTROL_PRIORITY, Namespace
from ion.messaging.envelope import MSGPACK, Envelope

MAX_PROGRESS = 1000


def performative_of(envelope: Envelope) -> str:
    """Return the performative of an answer; foreign senders may leave it out."""
    headers = envelope.headers
    performative = headers.get("performative")
    if performative:
        return str(performative)
    return c.FAILURE if headers.get("status") == "ERROR" else c.INFORM_RESULT


def pid_of(envelope: Envelope) -> str:
    """Return the pid of the process that sent an answer, or "" where it does not say."""
    sender = envelope.headers.get("sender")
    if isinstance(sender, str) and "." in sender and len(sender) <= MAX_PID and sender.isascii():
        return sender
    return ""


def failure_of(reply: Envelope, content: Any) -> IonError:
    """Return the error that a final answer stands for; foreign senders may only say why."""
    performative = performative_of(reply)
    if performative in _ENDS and not isinstance(content, Mapping):
        return _ENDS[performative](str(content or "no reason given"))
    return received(content, reply.headers.get("code"))


NOBODY_WAITS: Any = None
MAX_PID = 200
_ENDS: dict[str, type[IonError]] = {c.REFUSE: Refused, c.CANCEL: Cancelled}


class OutgoingCall(Conversation, eq=False):
    """A conversation that this side began.

    :ivar to: the key it was sent to.
    :ivar op: the operation.
    :ivar peer: pid of the process that has answered, or "".
    :ivar doubt: why the last answer that was not believed was not; None: there was none.
    :ivar future: the final answer's envelope, or None at the deadline, or the sending's error.
    """

    to: str = ""
    op: str = ""
    future: asyncio.Future[Envelope | None] = NOBODY_WAITS
    deadline: float = 0.0
    progress: deque[Envelope] | None = None
    waiter: asyncio.Future[None] | None = None
    peer: str = ""
    doubt: IonError | None = None

    def published(self, error: IonError | None) -> None:
        """Take the outcome of the publish: only a failure matters, the answer says the rest."""
        if error is None or self.future.done():
            return
        self.state = c.FAILED
        if isinstance(error, Unroutable):
            error = not_found(self.to)
        self._settle(error)

    def receive(self, envelope: Envelope) -> None:
        """Take an answer.

        :raises ConversationError: the protocol does not allow it now; the conversation goes on.
        """
        performative = envelope.headers.get("performative")
        if performative.__class__ is not str:  # foreign senders leave it out, or set anything
            performative = performative_of(envelope)
        state = self.protocol.answered.get((self.state, performative))
        if state is None and performative == c.AGREE and self.state == c.AGREED:
            state = c.AGREED  # its request was delivered again: who has it now agrees, too
        if state is None:
            raise self.disallowed(performative)
        if state in c.FINAL:
            self.state = state
            if not self.future.done():  # its caller may have been cancelled a moment ago
                self.future.set_result(envelope)
            if self.waiter is not None:
                self.wake()
        else:
            self._heard(performative, state, envelope)

    def _heard(self, performative: str, state: str, envelope: Envelope) -> None:
        """Take an answer that is not the last one."""
        self.state = state
        self.peer = pid_of(envelope) or self.peer
        if performative == c.PROGRESS:
            if self.progress is None:
                self.progress = deque(maxlen=MAX_PROGRESS)
            self.progress.append(envelope)
        self.wake()

    def expire(self) -> None:
        """The deadline has come."""
        if not self.future.done():
            self.step(c.TIMEOUT)
            self.future.set_result(None)
            self.wake()

    def fail(self, error: IonError) -> None:
        """End it with an error of this side, such as the endpoint closing."""
        if not self.future.done():
            self.state = c.FAILED
            self._settle(error)

    async def changed(self) -> None:
        """Return at the next answer of any kind."""
        if self.waiter is None or self.waiter.done():
            self.waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(self.waiter)  # others may wait for the same

    def step(self, event: str) -> str:
        """Take an event and wake whoever follows the conversation."""
        state = super().step(event)
        if self.waiter is not None:
            self.wake()
        return state

    def _settle(self, error: IonError) -> None:
        self.future.set_exception(error)
        self.future.exception()  # seen, even where nobody is left to await it
        self.wake()

    def wake(self) -> None:
        """Wake whoever follows the conversation."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class RpcCall(OutgoingCall, eq=False):
    """A call whose answer, and nothing else, is awaited.

    It has no future where the answer is there before anybody waits for it.

    :ivar reply: the result, where it came so early.
    """

    reply: Envelope | None = None

    def awaited(self) -> asyncio.Future[Envelope | None]:
        """Return the future."""
        if self.future is NOBODY_WAITS:
            self.future = asyncio.get_running_loop().create_future()
        return self.future

    def published(self, error: IonError | None) -> None:
        """See :meth:`OutgoingCall.published`."""
        if error is not None:
            self.awaited()
            super().published(error)

    def receive(self, envelope: Envelope) -> None:
        """See :meth:`OutgoingCall.receive`."""
        is_result = envelope.headers.get("performative") == c.INFORM_RESULT
        if is_result and self.future is NOBODY_WAITS and self.state == c.REQUESTED:
            self.state = c.DONE
            self.reply = envelope
        else:
            self.awaited()
            super().receive(envelope)

    def expire(self) -> None:
        """See :meth:`OutgoingCall.expire`."""
        if self.reply is None:
            self.awaited()
            super().expire()

    def fail(self, error: IonError) -> None:
        """See :meth:`OutgoingCall.fail`."""
        if self.reply is None:
            self.awaited()
            super().fail(error)


def not_found(to: str) -> ServiceNotFound:
    """Return the error for a key that no queue is bound with."""
    kind = "service" if service_of(to) else "process"
    message = (
        f"no {kind} {to!r} in this system: is it started, and with the same system name, broker "
        "and vhost (memory:// reaches no other OS process)?"
    )
    return ServiceNotFound(message, details={"to": to})


def doubted(error: IonError, doubt: IonError) -> IonError:
    """Return the error of a call whose only answers were not believed: of another key, perhaps."""
    message = f"{error.message}; an answer came that is not believed: {doubt.message}"
    details = {**error.details, "doubt": doubt.details.get("reason", doubt.type)}
    return type(error)(message, details=details)


def service_of(to: str) -> str:
    """Return the service that a key names (``hello``, ``hello.v2``), or "" for a process id."""
    name, dot, rest = to.partition(".")
    if not dot or (rest[:1] == "v" and rest[1:].isdigit()):
        return name
    return ""


def later_message(
    call: OutgoingCall,
    reply_to: str,
    performative: str,
    content: Any,
    headers: Mapping[str, Any],
) -> Envelope:
    """Return what the initiator of a call says later in it.

    :param content: None: there is none.
    :param headers: further ones; ``_`` in a name stands for ``-``.
    :raises CodecError: the content cannot be encoded.
    """
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return Envelope(
        call.op,
        codec.encode(content, MSGPACK)[0] if content is not None else b"",
        reply_to=reply_to,
        correlation_id=call.id,
        timestamp=int(time.time()),
        priority=CONTROL_PRIORITY,
        headers={"performative": performative, "protocol": call.protocol.name, **more},
    )


def way_to(call: OutgoingCall, namespace: Namespace) -> str:
    """Return the key of the process that has answered, or of all that may have the request."""
    service = service_of(call.to)
    return call.peer or (namespace.control_key(service) if service else call.to)
