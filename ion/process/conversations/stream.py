"""The initiator's handle on a stream: iterate its items; leave it, and the other side stops."""

from __future__ import annotations

import contextlib
import functools
from types import TracebackType
from typing import Any

import msgspec

from ion.base.errors import BadRequest, Cancelled, CodecError, ConversationError
from ion.conversation import conversation as c
from ion.conversation.flow import MAX_CREDIT, Window, credit_of
from ion.conversation.stream import STREAM
from ion.messaging.envelope import Envelope
from ion.process.conversations.long_lived import NOWHERE, LongLivedCall, content_of
from ion.process.endpoint.calls import performative_of
from ion.process.endpoint.endpoint import Endpoint

CREDIT = 64
OFTEN = 10  # credit is given at least so often within the limit of silence, where there is any


class StreamCall(LongLivedCall, eq=False):
    """A stream that this side began.

    :ivar window: how much it has room for.
    :ivar given: when credit was given last, on the loop's clock.
    """

    window: Window = NOWHERE
    given: float = 0.0

    def _heard(self, performative: str, state: str, envelope: Envelope) -> None:
        if not self.window.take():
            message = f"stream {self.id}: more items came than there was room for"
            self.breaks(ConversationError(message, details={"credit": self.window.size}))
            return
        super()._heard(performative, state, envelope)

    def give(self) -> None:
        """Give credit for what was read; one at a time, so that none is lost."""
        if not self.unsent and not self.future.done():
            self.given = self.endpoint.time()
            self.say(c.CREDIT, credit=self.window.give())


class StreamConversation:
    """A stream of items.

    ::

        async with process.stream("archive", "tail", {"n": 3}) as items:
            async for item in items:
                print(item)

    It begins when it is entered, or first read. It ends with its last item; with the error that the
    other side ended it with; and when it is left: by ``async with``, :meth:`aclose`,
    :meth:`cancel`, by cancelling the task that reads it, or by dropping it. Then the generator at
    the other side is closed. At most ``credit`` items are on their way or wait to be read.

    :param timeout: seconds of silence: so long the next item may take, and so long the reader.
    :param credit: 1 to 1,000,000.
    :param returns: the type of the items; each is checked against it and built as it.
    :raises BadRequest: no such credit.
    """

    __slots__ = ("_call", "_endpoint", "_over", "_request", "_returns", "_timeout", "_window")

    def __init__(
        self,
        endpoint: Endpoint,
        sender: str,
        to: str,
        op: str,
        content: Any = None,
        timeout: float | None = None,
        credit: int = CREDIT,
        returns: Any = Any,
    ) -> None:
        self._call: StreamCall | None = None
        if credit_of(credit) is None:
            message = f"credit must be a whole number from 1 to {MAX_CREDIT}, not {credit!r}"
            raise BadRequest(message)
        self._endpoint = endpoint
        self._request = (sender, to, op, content)
        self._timeout = timeout
        self._returns = returns
        self._window = Window(credit)
        self._over = False

    @property
    def state(self) -> str:
        """The state of its machine, as in docs/reference/conversations.md."""
        return self._call.state if self._call is not None else c.INIT

    @property
    def id(self) -> str:
        """Its conversation id; "" until it has begun."""
        return self._call.id if self._call is not None else ""

    async def __aenter__(self) -> StreamConversation:
        """Begin it."""
        if self._call is None and not self._over:
            await self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it."""
        self.cancel()

    def __aiter__(self) -> StreamConversation:
        """Iterate its items."""
        return self

    async def __anext__(self) -> Any:
        """Return the next item.

        :raises StopAsyncIteration: that was the last one.
        :raises DeadlineExceeded: none came in time, or the reader took too long.
        :raises ConversationError: an item was lost.
        :raises IonError: otherwise, as :meth:`Process.rpc_send`.
        """
        if self._over:
            raise StopAsyncIteration
        try:
            return await self._next(self._call or await self._begin())
        except BaseException:
            self.cancel()
            raise

    async def aclose(self) -> None:
        """Leave it: the other side is told, and its generator closed. May be called twice."""
        self.cancel()

    def cancel(self) -> None:
        """Leave it, as :meth:`aclose`."""
        self._over = True
        if self._call is not None:
            self._call.abandon()

    async def _begin(self) -> StreamCall:
        endpoint = self._endpoint
        silence = endpoint.rpc_timeout if self._timeout is None else self._timeout
        timeout = await endpoint.writable(self._timeout)
        if self._over:
            message = "the stream was cancelled before it began"
            raise Cancelled(message)
        kind = functools.partial(
            StreamCall,
            endpoint=endpoint,
            silence=silence,
            window=self._window,
            given=endpoint.time(),
        )
        extra = {"credit": self._window.size}
        call = endpoint.begin(STREAM, *self._request, timeout, kind=kind, extra=extra)
        assert isinstance(call, StreamCall)
        self._call = call
        return call

    async def _next(self, call: StreamCall) -> Any:
        if not call.unread:
            await self._more(call)
        if not call.unread:
            raise await self._end(call)
        envelope = call.unread.popleft()
        now = self._endpoint.time()
        due = call.window.read() or now - call.given > call.silence / OFTEN
        if due:
            call.give()
        call.renew()
        content = content_of(self._endpoint, envelope)
        return content if self._returns is Any else self._built(content)

    async def _more(self, call: StreamCall) -> None:
        """Wait for an item, or the end."""
        call.renew()
        while not call.unread and not call.future.done():
            if call.window.is_due:  # what was given before had not arrived
                call.give()
            await call.changed()

    async def _end(self, call: StreamCall) -> Exception:
        """Return what the end of the stream is raised as."""
        reply = call.future.result()
        if reply is not None:
            content = self._endpoint.content_of(reply)  # raises, where it was a failure
            assert performative_of(reply) == c.INFORM_RESULT, content
            return StopAsyncIteration()
        if call.state == c.CANCELLED:
            message = f"stream {call.id} was cancelled"
            return Cancelled(message)
        return call.silent() if call.peer else await self._endpoint.overdue(call)

    def _built(self, content: Any) -> Any:
        try:
            return msgspec.convert(content, self._returns)
        except msgspec.ValidationError as error:
            _, to, op, _ = self._request
            message = f"an item of {to}.{op} is not what its reader expects: {error}"
            raise CodecError(message) from None

    def __del__(self) -> None:
        call = self._call
        if call is not None and not call.future.done():
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._endpoint.loop.call_soon_threadsafe(call.abandon)
