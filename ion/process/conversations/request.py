"""The initiator's handle on a request conversation: await it, iterate its progress, cancel it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

from ion.base.errors import BadRequest, Cancelled, DeadlineExceeded
from ion.conversation import conversation as c
from ion.conversation.request import REQUEST_PROTOCOL
from ion.process.conversations.long_lived import content_of
from ion.process.endpoint.calls import OutgoingCall
from ion.process.endpoint.endpoint import Endpoint


class RequestConversation:
    """A request that is under way.

    Await it, iterate its progress, or cancel it::

        conversation = process.request("archive", "ingest", {"path": "x.nc"})
        async for step in conversation:      # each progress message's content
            print(step)
        result = await conversation          # or raises, as rpc_send does

    It is sent at once; awaiting is optional, but only an awaited one tells its outcome. A task that
    is cancelled while it awaits or iterates it cancels it, too. Progress is kept up to 1,000
    messages, then the oldest is dropped.

    :param timeout: seconds for the whole of it.
    :param agree_within: seconds until it is agreed to, refused or answered.
    :param silence: seconds between two messages after that.
    """

    __slots__ = ("_begun", "_call", "_endpoint", "_limits", "_task")

    def __init__(
        self,
        endpoint: Endpoint,
        sender: str,
        to: str,
        op: str,
        content: Any = None,
        timeout: float | None = None,
        agree_within: float | None = None,
        silence: float | None = None,
    ) -> None:
        for name, limit in (("agree_within", agree_within), ("silence", silence)):
            if limit is not None and not limit > 0:
                message = f"{name} must be a number of seconds above 0, not {limit!r}"
                raise BadRequest(message)
        self._call: OutgoingCall | None = None
        self._endpoint = endpoint
        self._limits = {"agree": agree_within, "silence": silence}
        self._begun = asyncio.Event()
        self._task = asyncio.create_task(self._run(endpoint, sender, to, op, content, timeout))
        self._task.add_done_callback(self._over)

    async def _run(self, endpoint: Endpoint, *request: Any) -> Any:
        sender, to, op, content, timeout = request
        try:
            timeout = await endpoint.writable(timeout)
            call: OutgoingCall = endpoint.begin(REQUEST_PROTOCOL, sender, to, op, content, timeout)
            self._call = call
        finally:
            self._begun.set()
        try:
            phase = await self._follow(call)
            reply = await call.future
        except asyncio.CancelledError:
            endpoint.cancel(call)
            raise
        finally:
            endpoint.end(call)
        if reply is None:
            endpoint.tell(call, c.CANCEL)
            raise self._overstayed(call, phase) if phase else await endpoint.overdue(call)
        return endpoint.content_of(reply)

    async def _follow(self, call: OutgoingCall) -> str:
        """Hold the limits of the phases; return the one whose limit has passed, or ""."""
        if not any(self._limits.values()):
            return ""
        while not call.future.done():
            phase = "agree" if call.state == c.REQUESTED else "silence"
            try:
                async with asyncio.timeout(self._limits[phase]):
                    await call.changed()
            except TimeoutError:
                if not call.future.done():
                    call.expire()
                    return phase
        return ""

    def _overstayed(self, call: OutgoingCall, phase: str) -> DeadlineExceeded:
        limit = self._limits[phase]
        message = f"{call.to!r} said nothing of {call.op!r} for {limit:g} seconds after it agreed"
        if phase == "agree":
            message = f"{call.to!r} did not agree to {call.op!r} within {limit:g} seconds"
        details = {"to": call.to, "op": call.op, "phase": phase}
        return DeadlineExceeded(message, details=details)

    @property
    def state(self) -> str:
        """The state of its machine, as in docs/reference/conversations.md."""
        return self._call.state if self._call is not None else c.INIT

    @property
    def id(self) -> str:
        """Its conversation id; "" until it is sent."""
        return self._call.id if self._call is not None else ""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        if self._task.cancelled():
            raise self._given_up()
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if not self._task.cancelled():  # it is the waiter that was cancelled: so is the request
                self._task.cancel()
                raise
            raise self._given_up() from None

    def _given_up(self) -> Cancelled:
        return Cancelled(f"request {self.id} was cancelled" if self.id else "it was never sent")

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate the content of the progress messages until the request is over.

        A task that is cancelled within gives the request up, as one that awaits it does.
        """
        reader = asyncio.current_task()
        assert reader is not None
        reader.add_done_callback(self._left_by)  # it may be cancelled in the body of its loop
        try:
            await self._begun.wait()
            call = self._call
            while call is not None:
                while call.progress:
                    yield content_of(self._endpoint, call.progress.popleft())
                if call.final or call.future.done():
                    return
                await call.changed()
        except asyncio.CancelledError:  # or it goes on, as after a limit of time
            self._task.cancel()
            raise
        finally:
            reader.remove_done_callback(self._left_by)

    def _left_by(self, reader: asyncio.Task[Any]) -> None:
        if reader.cancelled():
            self._task.cancel()

    def cancel(self) -> None:
        """Give it up: the other side is told, and its handler cancelled."""
        self._task.cancel()

    def _over(self, task: asyncio.Task[Any]) -> None:
        """Mark the outcome as seen: a conversation nobody awaits may fail without noise."""
        self._begun.set()  # a task that was cancelled before its first step did not
        if not task.cancelled():
            task.exception()
