"""The surface for answering, for handlers that take the raw parts."""

from __future__ import annotations

from typing import Any

from ion.base.errors import ApplicationError, IonError, LifecycleError
from ion.observe.context import current_call
from ion.process.redelivery import redelivered
from ion.process.serving import outcomes
from ion.process.serving.incoming import IncomingCall


class Replying:
    """What a process may say to the message that it handles.

    :ivar id: its pid.
    """

    id: str

    async def reply_ok(self, msg: IncomingCall, content: Any = None) -> None:
        """Give the final result.

        :raises ConversationError: it was answered already.
        """
        answer = msg.conclusion(content)
        if msg.source.inbox is not None and not msg.replied:
            await redelivered.remember(msg, answer)
        msg.conclude(answer)

    async def reply_err(self, msg: IncomingCall, error: Exception | str) -> None:
        """Give the final failure: an IonError as it is, any other as a 500, a text as a 400."""
        if isinstance(error, str):
            error = ApplicationError(error)
        msg.fail(error if isinstance(error, IonError) else outcomes.internal(error))

    async def reply_agree(self, msg: IncomingCall) -> None:
        """Say that the request is being worked on; who called by rpc, or sent, is not told.

        :raises ConversationError: agreed or over already, or a stream.
        """
        msg.agree()

    async def reply_refuse(self, msg: IncomingCall, reason: str = "") -> None:
        """Refuse the request; the caller gets :class:`~ion.base.errors.Refused` with the reason."""
        msg.refuse(reason)

    async def reply_cancel(self, msg: IncomingCall, reason: str = "") -> None:
        """Cancel from this side what was agreed to.

        The caller gets :class:`~ion.base.errors.Cancelled` with the reason.
        """
        msg.give_up(reason)

    async def reply_progress(self, msg: IncomingCall, content: Any) -> None:
        """Send a progress message of a request conversation."""
        msg.report(content)
        await msg.endpoint.sent()

    @property
    def message(self) -> IncomingCall:
        """The message being handled.

        :raises LifecycleError: no message is being handled in this task.
        """
        call = current_call.get()
        if isinstance(call, IncomingCall):
            return call
        message = f"{self.id} is not handling a message here"
        raise LifecycleError(message)
