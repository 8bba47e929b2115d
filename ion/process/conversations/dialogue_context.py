"""What a handler says and hears in a generic conversation, as ``self.message``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from ion.base.errors import ApplicationError
from ion.process.serving.auth_context import AuthContext


class Talk(Protocol):
    """The participant's end of a generic conversation.

    :ivar closing: what the initiator ended it with; None before, and where it said nothing.
    """

    closing: Any

    async def say(self, content: Any) -> None:
        """Say something."""

    async def hear(self, timeout: float | None = None) -> Any:
        """Return what the other side says next."""

    async def finish(self) -> None:
        """Wait until the broker has all that was said."""

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate what the other side says, until it ends the conversation."""


class DialogueContext(AuthContext, eq=False, kw_only=True):
    """A call whose handler may talk with the initiator, where that has begun to converse.

    :ivar talk: None in any other protocol than ``generic``.
    """

    talk: Talk | None = None

    async def say(self, content: Any) -> None:
        """Say something to the initiator of a generic conversation.

        Waits while the broker takes nothing, and, when 1,000 messages were said and nothing was
        heard, while the initiator takes nothing.

        :raises ApplicationError: it is no generic conversation.
        :raises ConversationError: it is over.
        :raises CodecError: that cannot be encoded.
        """
        await self._talking().say(content)

    async def hear(self, timeout: float | None = None) -> Any:
        """Return what the initiator says next.

        :param timeout: seconds; that they pass does not end the conversation.
        :raises ApplicationError: it is no generic conversation.
        :raises DeadlineExceeded: nothing was said within ``timeout``.
        :raises ConversationError: the other side has ended it; what it had said before is heard.
        """
        return await self._talking().hear(timeout)

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate what the initiator says, until it ends the conversation with a result."""
        return self._talking().__aiter__()

    @property
    def closing(self) -> Any:
        """What the initiator ended the conversation with; None before."""
        return self._talking().closing

    def _talking(self) -> Talk:
        if self.talk is None:
            message = (
                f"op {self.op!r} is a conversation: ask for it with protocol 'generic' "
                "(process.converse)"
            )
            raise ApplicationError(message, type="BadRequest", details={"op": self.op})
        return self.talk
