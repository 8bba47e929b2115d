"""Publishing a stream: granules are checked against a definition, numbered, and sent in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time as clock
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from ion.base.errors import ContentTooLarge, InvalidRequest, LifecycleError, NotFound
from ion.base.ids import new_mark
from ion.messaging.envelope import MSGPACK, Envelope
from ion.process.calling import Calling
from ion.process.endpoint.endpoint import Endpoint
from ion.process.granules.arrays import Piece, pieces
from ion.process.granules.definition import StreamDefinition
from ion.process.granules.names import OP, POINT, checked_stream, end_topic, escaped
from ion.process.granules.ops import ContentOp
from ion.process.granules.window import LAST, SETUP, WINDOW, Window
from ion.process.granules.wire import MAX_NAME, MAX_NUMBER, Writer
from ion.process.living import Living
from ion.process.pubsub.listener import Listener
from ion.process.pubsub.topics import addressed

MAX_WINDOW = 10_000
MAX_WRITERS = 100
HEADROOM = 1024  # bytes: who replays a granule says more about it


def _checked(time: Any) -> float:
    with contextlib.suppress(OverflowError):
        if isinstance(time, int | float) and math.isfinite(time):
            return float(time)
    message = f"a granule's time is seconds since 1970, not {time!r:.80}"
    raise InvalidRequest(message)


def _checked_name(publisher: Any) -> str:
    with contextlib.suppress(UnicodeEncodeError):
        if isinstance(publisher, str) and 0 < len(publisher.encode()) <= MAX_NAME:
            return publisher
    message = f"a publisher's name is a text of 1 to {MAX_NAME} bytes, not {publisher!a:.80}"
    raise InvalidRequest(message)


class _Party(msgspec.Struct):
    """Who hears that a stream is deleted, as the authenticator sees it."""

    name: str


async def _on_end(process: object, content: Any) -> None:
    """Stand for a handler: the publisher itself takes what comes."""


def most_bytes(endpoint: Endpoint) -> int:
    """Return how large a granule may be, as a message."""
    return max(endpoint.max_content - HEADROOM, 0)


class StreamPublisher:
    """Publishes the granules of one stream, for as long as its process lives.

    ::

        publisher = await StreamPublisher.open(self, "ctd", definition)
        await publisher.publish({"time": times, "temp": temperatures})

    A granule goes to whoever subscribes now, and to those that are durable; that there is nobody is
    no error. At most ``window`` are on their way to the broker; what it has not confirmed when the
    connection is lost is sent again.

    :ivar stream: its name.
    :ivar id: what its granules say of who has published them; another one for each that is opened.
    :ivar definition: None: anything may be published.
    :ivar number: of the last granule; 0: none yet.
    """

    def __init__(
        self,
        process: Calling,
        stream: str,
        definition: StreamDefinition | None,
        window: Window,
        *,
        name: str,
        persistent: bool,
        sparse: bool,
    ) -> None:
        self.stream = stream
        self._to = addressed(POINT, escaped(stream))
        self.id = name
        self.definition = definition
        self.number = 0
        self._sender = process._sender
        self._endpoint = process._endpoint
        self._window = window
        self._persistent = persistent
        self._fields = definition.fields if definition is not None else None
        self._ragged = definition is not None and definition.ragged
        self._over: Exception | None = None
        self._closed = asyncio.Event()
        op = ContentOp(_on_end)
        self._ending = Listener(
            self._endpoint, _Party(name), POINT, end_topic(stream), op, self._deleted
        )
        says = (definition.name, definition.version) if definition is not None else ("", 0)
        self._new = functools.partial(
            Writer, stream, definition=says[0], version=says[1], sparse=sparse
        )
        self._writers: dict[str, Writer] = {}

    @classmethod
    async def open(
        cls,
        process: Calling,
        stream: str,
        definition: StreamDefinition | None = None,
        *,
        window: int = WINDOW,
        persistent: bool = True,
        register: bool = False,
        name: str = "",
        sparse: bool = False,
    ) -> Self:
        """Begin to publish a stream; it need not exist.

        :param process: which publishes, until it ends; or, in a script, a container or a connection
            of :func:`ion.connect`: :meth:`flush` before that is closed.
        :param definition: what each granule must be; None: any fields.
        :param window: how many granules may be on their way to the broker.
        :param persistent: durable subscriptions keep them over a restart of the broker.
        :param register: have the service ``streams`` know the stream, and this definition as its
            newest; where that breaks readers of the one before, this raises Conflict.
        :param name: the publisher's id, where its numbers go on from those of another one's life;
            sparse: it leaves numbers out.
        :raises InvalidRequest: a name or ``window`` is none.
        :raises ServiceNotFound: (with ``register``) there is no service ``streams``.
        :raises Unavailable: the broker is away.
        :raises TypeError: ``process`` is none of these.
        """
        if not isinstance(process, Calling):
            message = (
                "StreamPublisher.open(process, stream, ...): a process (self), a container or a "
                f"connection publishes, not {process!r:.80}"
            )
            raise TypeError(message)
        checked_stream(stream)
        if window.__class__ is not int or not 1 <= window <= MAX_WINDOW:
            message = f"a window is 1 to {MAX_WINDOW} granules, not {window!r}"
            raise InvalidRequest(message)
        if name:
            _checked_name(name)
        if register:
            content = {"stream": stream, "definition": definition}
            await process.rpc_send("streams", "register", content)
        endpoint = process._endpoint
        exchange = await endpoint.points.declare(POINT, SETUP)
        flight = Window(endpoint, exchange, escaped(stream), window)
        made = cls(
            process,
            stream,
            definition,
            flight,
            name=name or f"{process._sender}-{new_mark()}",
            persistent=persistent,
            sparse=sparse,
        )
        if not isinstance(process, Living):
            await made._begin()
            return made
        try:
            process.run(made._live(), f"publisher of {stream}", own=True)
        except LifecycleError:
            flight.rests = True  # the process ends: these are its last words
        else:
            await made._begin()
        return made

    @property
    def is_closed(self) -> bool:
        """Whether it publishes no more: it was closed, or the stream deleted."""
        return self._over is not None

    @property
    def waiting(self) -> int:
        """How many granules the broker has not confirmed yet."""
        return len(self._window)

    async def publish(
        self,
        fields: Mapping[str, Any],
        *,
        time: float | None = None,
        timeout: float | None = None,
    ) -> int:
        """Publish a granule, and return its number.

        Returns once it is on its way; waits where ``window`` others are. A list becomes an array of
        its field's type, where no value is lost; an array must be of that type already, in either
        byte order.

        :param fields: name -> array, or list.
        :param time: seconds since 1970; now, by default.
        :param timeout: seconds to wait, where the broker takes nothing.
        :raises InvalidRequest: it is not what the definition says; the message names the field.
        :raises ContentTooLarge: it is over ``messaging.max_content``: publish fewer samples at a
            time.
        :raises NotFound: the stream was deleted.
        :raises Unavailable: there was no room in time; the granule is not published.
        :raises LifecycleError: the publisher, or its process, has ended.
        """
        parts = pieces(fields, self._fields, ragged=self._ragged)
        if self._over is not None or not self._window.has_room:
            await self._room(timeout)
        return self._send(parts, self.number + 1, self.id, time)

    async def publish_as(
        self,
        number: int,
        fields: Mapping[str, Any],
        *,
        publisher: str = "",
        time: float | None = None,
        timeout: float | None = None,
    ) -> int:
        """Publish a granule that has a number of its own; else as :meth:`publish`.

        :param number: greater than those before, but where one of these is published again.
        :param publisher: whose number it is; this publisher's, by default.
        :raises InvalidRequest: that is no number, or no name; else as :meth:`publish`.
        """
        if number.__class__ is not int or not 0 < number <= MAX_NUMBER:
            message = f"a granule's number is 1, 2, ..., not {number!r:.80}"
            raise InvalidRequest(message)
        parts = pieces(fields, self._fields, ragged=self._ragged)
        if self._over is not None or not self._window.has_room:
            await self._room(timeout)
        return self._send(parts, number, publisher or self.id, time)

    def _send(self, parts: list[Piece], number: int, publisher: str, time: float | None) -> int:
        writer = self._writers.get(publisher) or self._writer(publisher)
        body = writer.write(number, clock.time() if time is None else _checked(time), parts)
        self._window.send(self._envelope(body, f"{publisher}.{number}"))
        if number > self.number and publisher == self.id:
            self.number = number
        return number

    async def flush(self, timeout: float | None = None) -> None:
        """Return once the broker has all that was published.

        :raises Unavailable: it had not within ``timeout`` seconds.
        """
        await self._window.empty(self._endpoint.rpc_timeout if timeout is None else timeout)

    async def close(self) -> None:
        """Publish nothing any more; what is on its way is not sent again."""
        self._end(LifecycleError(f"the publisher of stream {self.stream!r} is closed"))
        await self._ending.close()

    async def _begin(self) -> None:
        try:
            await self._ending.open()
        except BaseException:
            self._closed.set()
            raise

    async def _live(self) -> None:
        """Be there until the process ends; then wait a moment for what is on its way."""
        try:
            await self._closed.wait()
        finally:
            await self._window.rest()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST):
                    await self._ending.close()

    async def _room(self, timeout: float | None) -> None:
        if self._over is None:
            limit = self._endpoint.rpc_timeout if timeout is None else timeout
            await self._window.room(limit)
        if self._over is not None:
            raise self._over

    def _writer(self, publisher: str) -> Writer:
        writer = self._new(_checked_name(publisher))
        if len(self._writers) >= MAX_WRITERS:
            self._writers.clear()
        self._writers[publisher] = writer
        return writer

    def _envelope(self, body: bytes, id: str) -> Envelope:
        endpoint = self._endpoint
        most = most_bytes(endpoint)
        if len(body) > most:
            message = (
                f"a granule of stream {self.stream!r} has {len(body)} bytes, and at most {most} "
                "fit into a message (messaging.max_content): publish fewer samples at a time"
            )
            raise ContentTooLarge(message, details={"limit": most})
        envelope = endpoint.one_way_of(self._sender, OP, body, MSGPACK, id, self._to)
        envelope.persistent = self._persistent
        return envelope

    def _deleted(self, content: Any) -> None:
        """Hear that the stream is no more: at once, also in the middle of a handler."""
        message = f"stream {self.stream!r} was deleted"
        self._end(NotFound(message, details={"stream": self.stream}))

    def _end(self, error: Exception) -> None:
        self._over = self._over or error
        self._closed.set()
        self._window.close()

    def __repr__(self) -> str:
        return f"<StreamPublisher {self.id} of {self.stream!r}, number {self.number}>"
