"""What each envelope passes on its way: the interceptors, and the limit of content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ion.base.errors import BadRequest, IonError
from ion.base.settings import IdentitySettings
from ion.messaging.envelope import Envelope
from ion.messaging.interceptors import Interceptor, too_large
from ion.process.command.permission import Permission
from ion.process.identity.authenticator import Authenticator

if TYPE_CHECKING:
    from ion.process.endpoint.calls import OutgoingCall

NOBODY = Authenticator(IdentitySettings(verify="off"), None, "")
MAX_ID = 255  # bytes
SURELY_SHORT = MAX_ID // 4  # characters: they have at most so many bytes, whatever they are


class Interception:
    """The checks of one party on the bus.

    :ivar max_content: the largest content either way, bytes.
    :ivar inbound: interceptors for what arrives, outbound: for what is sent.
    :ivar inbound_answers: those of ``inbound`` that look at answers, too, and at what is said
        later in a conversation: all but those that say ``only_requests`` of themselves.
    :ivar screen: the first interceptor for what arrives, where it is to be asked before anything is
        done with an answer, or with what is said later in a conversation; or None.
    :ivar permission: to command others, and whom to heed; None: nobody.
    :ivar auth: tells whose the calls are that arrive.
    :ivar token: that its own calls bear, those that are made while none is handled; or "".
    :ivar marks: what ends the ids of its conversations, so that nobody can guess them, and answer
        or cancel in the place of others; None: the ids are in a row.
    """

    def __init__(
        self,
        max_content: int,
        inbound: tuple[Interceptor, ...],
        outbound: tuple[Interceptor, ...],
    ) -> None:
        self.max_content = max_content
        self.outbound = outbound
        self.use_inbound(inbound)
        self.screen: Interceptor | None = None
        self.permission: Permission | None = None
        self.auth: Authenticator = NOBODY
        self.token = ""
        self.marks: Iterator[str] | None = None

    def use_inbound(self, interceptors: tuple[Interceptor, ...]) -> None:
        """Have what arrives from now on pass these interceptors, in this order."""
        self.inbound = interceptors
        self.inbound_answers = tuple(
            each for each in interceptors if not getattr(each, "only_requests", False)
        )

    def outgoing(self, envelope: Envelope, to: str = "") -> Envelope:
        """Run the interceptors for what goes out, and hold the limit of content.

        :param to: the routing key that it is sent to, where that is known and no queue for answers.
        :raises ContentTooLarge: the content is over the limit.
        """
        if self.outbound:
            if to:
                envelope = envelope.with_headers(to=to)
            for interceptor in self.outbound:
                envelope = interceptor(envelope)
        if len(envelope.body) > self.max_content:
            raise too_large(len(envelope.body), self.max_content)
        return envelope

    def incoming(self, envelope: Envelope, *, screened: bool = False) -> Envelope:
        """Run the interceptors for what comes in, the limit of content first.

        :param screened: it begins no conversation, and :meth:`is_genuine` was asked already.
        :raises ContentTooLarge: the content is over the limit.
        """
        if len(envelope.body) > self.max_content:
            raise too_large(len(envelope.body), self.max_content)
        for interceptor in self.inbound_answers if screened else self.inbound:
            if not screened or interceptor is not self.screen:
                envelope = interceptor(envelope)
        return envelope

    def is_genuine(self, envelope: Envelope, call: OutgoingCall | None = None) -> bool:
        """Tell whether an answer, or a later message, is to be heard at all.

        One that is not is as if it had never come: who can put a message into a queue must not end
        the conversations of others by that. Why it was not heard is told where none comes that is.

        :param call: that it answers.
        """
        if self.screen is not None:
            try:
                self.screen(envelope)
            except IonError as error:  # the screen has logged, and counted it
                if call is not None:
                    call.doubt = error
                return False
        return True


def check_call(to: str, op: str, message_id: str = "") -> None:
    """Check what a program calls by.

    :raises TypeError: ``to`` or ``op`` is no text.
    :raises BadRequest: one of them is longer than any bus takes; as :func:`checked_message_id`.
    """
    if not isinstance(to, str):
        message = f"to: the name of a service, or a process id, not {to!r:.100}"
        raise TypeError(message)
    if not isinstance(op, str):
        message = f"op: the name of one, such as 'hello', not {op!r:.100}"
        raise TypeError(message)
    for name, text in (("to", to), ("op", op)):
        size = len(text) if len(text) <= SURELY_SHORT else len(text.encode("utf-8", "replace"))
        if size > MAX_ID:
            message = f"{name}: a name of at most {MAX_ID} bytes, not of {size}: {text!r:.40}..."
            raise BadRequest(message)
    checked_message_id(message_id)


def checked_message_id(id: str) -> str:
    """Return a message id that a sender has chosen; "" for none.

    :raises BadRequest: it is no text, or longer than the 255 bytes that AMQP has room for.
    """
    if id.__class__ is str and id.isascii() and len(id) <= MAX_ID:
        return id
    if not isinstance(id, str) or len(id.encode("utf-8", "surrogatepass")) > MAX_ID:
        message = f"message_id must be a text of at most {MAX_ID} bytes, not {id!r:.60}"
        raise BadRequest(message)
    return id
