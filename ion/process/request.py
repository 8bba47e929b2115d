"""The initiator's handle on a request conversation: await it, iterate its progress, cancel it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

from ion.base.errors import ConversationError
from ion.conversation.request import REQUEST_PROTOCOL
from ion.messaging import codec
from ion.process.calls import OutgoingCall
from ion.process.endpoint import Endpoint


class RequestConversation:
    """A request that is under way.

    Await it, iterate its progress, or cancel it::

        conversation = process.request("archive", "ingest", {"path": "x.nc"})
        async for step in conversation:      # each progress message's content
            print(step)
        result = await conversation          # or raises, as rpc_send does

    It is sent at once; awaiting is optional, but only an awaited one tells its outcome. Progress
    is kept up to 1,000 messages, then the oldest is dropped.
    """

    __slots__ = ("_begun", "_call", "_task")

    def __init__(
        self,
        endpoint: Endpoint,
        sender: str,
        to: str,
        op: str,
        content: Any = None,
        timeout: float | None = None,
    ) -> None:
        self._call: OutgoingCall | None = None
        self._begun = asyncio.Event()
        self._task = asyncio.create_task(self._run(endpoint, sender, to, op, content, timeout))
        self._task.add_done_callback(self._over)

    async def _run(self, endpoint: Endpoint, *request: Any) -> Any:
        sender, to, op, content, timeout = request
        try:
            timeout = await endpoint.writable(timeout)
            call = endpoint.begin(REQUEST_PROTOCOL, sender, to, op, content, timeout)
            self._call = call
        finally:
            self._begun.set()
        try:
            reply = await call.future
        except asyncio.CancelledError:
            endpoint.cancel(call)
            raise
        finally:
            endpoint.end(call)
        if reply is None:
            raise await endpoint.overdue(call)
        return endpoint.content_of(reply)

    @property
    def state(self) -> str:
        """The state of its machine, as in docs/reference/conversations.md."""
        return self._call.state if self._call is not None else "INIT"

    @property
    def id(self) -> str:
        """Its conversation id; "" until it is sent."""
        return self._call.id if self._call is not None else ""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        if self._task.cancelled():
            message = f"conversation {self.id} was cancelled"
            raise ConversationError(message)
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if not self._task.cancelled():  # it is the waiter that was cancelled: so is the request
                self._task.cancel()
                raise
            message = f"conversation {self.id} was cancelled"
            raise ConversationError(message) from None

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate the content of the progress messages until the request is over."""
        await self._begun.wait()
        call = self._call
        while call is not None:
            while call.progress:
                envelope = call.progress.popleft()
                yield codec.decode(envelope.body, envelope.content_type)
            if call.final or call.future.done():
                return
            await call.changed()

    def cancel(self) -> None:
        """Give it up: the other side is told, and its handler cancelled."""
        self._task.cancel()

    def _over(self, task: asyncio.Task[Any]) -> None:
        """Mark the outcome as seen: a conversation nobody awaits may fail without noise."""
        self._begun.set()  # a task that was cancelled before its first step did not
        if not task.cancelled():
            task.exception()
