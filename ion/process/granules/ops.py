"""Handlers of what comes by a stream, as ops: bound once, when a subscription is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ion.messaging import codec
from ion.messaging.envelope import Envelope
from ion.process.granules.granule import granule_in
from ion.process.ops import Arguments, Op

OFFSET = "x-replayed-offset"  # header of a granule that is replayed; no signature is about an `x-`


class ContentOp(Op):
    """Gives content as it is to a coroutine function of process and content."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[Any, Any], Awaitable[None]], name: str = "") -> None:
        self.name = name or getattr(call, "__name__", "on_content")
        self.parameters = ()
        self.raw = False
        self.streams = False
        self.method = call

    def bind(self, envelope: Envelope) -> Arguments:
        """Return the content; see :meth:`Op.bind`."""
        return (codec.decode(envelope.body, envelope.content_type),), {}


class GranuleOp(ContentOp):
    """Gives a granule, as views of its message, to a coroutine function of process and granule.

    :param stream: whose granules they are.
    """

    __slots__ = ("_stream",)

    def __init__(
        self, call: Callable[[Any, Any], Awaitable[None]], stream: str, name: str = ""
    ) -> None:
        super().__init__(call, name)
        self._stream = stream

    def bind(self, envelope: Envelope) -> Arguments:
        """Return the granule.

        :raises CodecError: it is none.
        :raises InvalidRequest: it is one of another stream.
        """
        return (granule_in(self._stream, envelope.body),), {}


class ReplayedOp(GranuleOp):
    """As a :class:`GranuleOp`, of what is replayed: its offset stands in a header."""

    __slots__ = ()

    def bind(self, envelope: Envelope) -> Arguments:
        """Return the granule; errors as of :meth:`GranuleOp.bind`."""
        offset = envelope.headers.get(OFFSET)
        offset = offset if isinstance(offset, int) else None
        return (granule_in(self._stream, envelope.body, offset),), {}
