"""How any party on the bus calls: one surface for containers, processes and connections."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from ion.messaging.envelope import MSGPACK
from ion.process.conversations import dialogue
from ion.process.conversations.dialogue import Dialogue
from ion.process.conversations.request import RequestConversation
from ion.process.conversations.stream import CREDIT, StreamConversation
from ion.process.endpoint.endpoint import Endpoint
from ion.process.endpoint.interception import SURELY_SHORT, check_call
from ion.process.events.publishing import EventPublishing
from ion.process.pubsub import publishing
from ion.process.pubsub.publishing import Answer


class Calling(EventPublishing):
    """Calls and sends, by the endpoint and under the process id that the class mixing it in gives.

    It holds nothing of its own, so that a process stays small, and needs no ``__init__``.
    """

    _endpoint: Endpoint
    _sender: str

    async def send(self, to: str, op: str, content: Any = None, **options: Any) -> None:
        """Send one message that nobody answers; see :meth:`Endpoint.send`."""
        if to.__class__ is not str or op.__class__ is not str or len(op) > SURELY_SHORT:
            check_call(to, op)
        await self._endpoint.send(self._sender, to, op, content, **options)

    def rpc_send(
        self,
        to: str,
        op: str,
        content: Any = None,
        timeout: float | None = None,
        content_type: str = MSGPACK,
        message_id: str = "",
    ) -> Coroutine[Any, Any, Any]:
        """Call an op and return the content of its answer; see :meth:`Endpoint.rpc`.

        :param message_id: what the call is known by for ever: whoever makes it once more, not
            knowing whether it was done, gives the same. A service that is effectively-once, or an
            op that works in a unit of work, does it once, and answers both times the same.
        :raises BadRequest: (at once) ``op`` has more than 255 bytes, or ``message_id`` is no text
            of at most 255.
        :raises TypeError: (at once) ``to`` or ``op`` is no text.
        """
        is_text = to.__class__ is str and op.__class__ is str
        if message_id or not is_text or len(op) > SURELY_SHORT:
            check_call(to, op, message_id)
        sender = self._sender
        return self._endpoint.rpc(sender, to, op, content, timeout, content_type, None, message_id)

    def request(
        self,
        to: str,
        op: str,
        content: Any = None,
        timeout: float | None = None,
        agree_within: float | None = None,
        silence: float | None = None,
    ) -> RequestConversation:
        """Begin a request conversation: await it, iterate its progress, cancel it."""
        check_call(to, op)
        request = (self._sender, to, op, content, timeout, agree_within, silence)
        return RequestConversation(self._endpoint, *request)

    def stream(
        self,
        to: str,
        op: str,
        content: Any = None,
        timeout: float | None = None,
        credit: int = CREDIT,
        returns: Any = Any,
    ) -> StreamConversation:
        """Ask an op that streams for its items: iterate them; see :class:`StreamConversation`."""
        check_call(to, op)
        request = (self._sender, to, op, content, timeout, credit, returns)
        return StreamConversation(self._endpoint, *request)

    async def converse(
        self, to: str, op: str, content: Any = None, timeout: float | None = None
    ) -> Dialogue:
        """Begin a conversation in which both sides may say anything; see :class:`Dialogue`.

        It is returned once the other side has agreed.

        :param timeout: seconds of silence after which it is given up.
        :raises IonError: as :meth:`rpc_send`.
        """
        check_call(to, op)
        return await dialogue.converse(self._endpoint, self._sender, to, op, content, timeout)

    async def publish(self, point: str, topic: str, content: Any = None, **options: Any) -> None:
        """Publish an event to all who subscribe to its topic; see :func:`publishing.publish`."""
        await publishing.publish(self._endpoint, self._sender, point, topic, content, **options)

    async def broadcast(self, service: str, op: str, content: Any = None, **options: Any) -> None:
        """Send one way to every instance of a service; see :func:`publishing.broadcast`."""
        await publishing.broadcast(self._endpoint, self._sender, service, op, content, **options)

    async def ask_all(
        self, service: str, op: str, content: Any = None, timeout: float | None = None
    ) -> list[Answer]:
        """Call every instance of a service; see :func:`publishing.ask_all`."""
        sender = self._sender
        return await publishing.ask_all(
            self._endpoint, sender, service, op, content, timeout=timeout
        )
