"""The lean way out: a publish becomes frames in the outbound buffer, and nothing else."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from ion.base.errors import Unavailable
from ion.messaging.amqp import frames
from ion.messaging.amqp.confirms import MAX_PENDING, Confirms
from ion.messaging.amqp.outbound import Outbound
from ion.messaging.amqp.properties import encode_properties
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Settled

log = logging.getLogger(__name__)

_MAX_METHODS = 4096
_MAX_KEPT = 10_000
_AROUND = 64  # about the bytes of frame heads and ends of a publish


class PublishChannel:
    """One channel for publishes, with confirms or without.

    The broker closes it over a publish that it does not like (an exchange that does not exist);
    it is opened again, and what is published meanwhile is kept.

    :param reopen: called when the broker has closed the channel, with what it said; must lead to
        :meth:`attach`.
    """

    __slots__ = (
        "_body_limit",
        "_header_limit",
        "_kept",
        "_methods",
        "_number",
        "_out",
        "_reopen",
        "confirms",
    )

    def __init__(
        self,
        outbound: Outbound,
        frame_max: int,
        confirms: Confirms | None,
        reopen: Callable[[str], None],
    ) -> None:
        self._out = outbound
        self._body_limit = frame_max - frames.OVERHEAD
        self._header_limit = frames.header_limit(frame_max)
        self.confirms = confirms
        self._reopen = reopen
        self._number = 0
        self._methods: dict[tuple[str, str, bool], bytes] = {}
        self._kept: deque[tuple[str, str, Envelope, bool, Settled | None]] = deque()

    def attach(self, number: int) -> None:
        """Publish on channel ``number`` from now on, what was kept first."""
        self._number = number
        self._methods.clear()
        kept, self._kept = self._kept, deque()
        for item in kept:
            self.publish(*item)

    def publish(
        self,
        exchange: str,
        key: str,
        envelope: Envelope,
        mandatory: bool,
        settled: Settled | None,
    ) -> None:
        """Append the frames of the message.

        :raises Unavailable: the buffer is full, or too much is unconfirmed.
        :raises CodecError: a property cannot be encoded, or all of them do not fit one frame.
        """
        out = self._out
        number = self._number
        method = self._methods.get((exchange, key, mandatory))
        flags, properties = encode_properties(envelope)
        if len(properties) > self._header_limit:
            raise frames.too_long(len(properties), self._header_limit)
        body = envelope.body
        size = len(body)
        if out.unsent + size > out.limit or out.closed:
            raise self._refusal()
        if not number:
            self._keep(exchange, key, envelope, mandatory, settled)
            return
        if method is None:
            method = self._method(exchange, key, mandatory)
        if settled is not None:
            self._expect(settled, exchange, key, properties, mandatory)
        header = frames.CONTENT_HEADER.pack(
            frames.HEADER,
            number,
            frames.HEADER_FIXED + len(properties),
            frames.BASIC,
            0,
            size,
            flags,
        )
        if 0 < size <= self._body_limit:
            middle = frames.END_THEN_BODY.pack(frames.END_BYTE, frames.BODY, number, size)
            out.pieces += (method, header, properties, middle, body, frames.END)
        else:
            out.pieces += (method, header, properties, frames.END)
            out.pieces += frames.body_frames(number, body, self._body_limit)
        out.unsent += size + len(properties) + _AROUND
        if not out.held:
            out.schedule()

    def _expect(
        self, settled: Settled, exchange: str, key: str, properties: bytes, mandatory: bool
    ) -> None:
        confirms = self.confirms
        if confirms is not None:
            if len(confirms) >= MAX_PENDING:
                message = f"{MAX_PENDING} publishes are unconfirmed"
                raise Unavailable(message)
            confirms.add(settled, exchange, key, properties, mandatory=mandatory)

    def _method(self, exchange: str, key: str, mandatory: bool) -> bytes:
        method = frames.publish(self._number, exchange, key, mandatory=mandatory)
        if len(self._methods) >= _MAX_METHODS:
            self._methods.clear()
        self._methods[exchange, key, mandatory] = method
        return method

    def _refusal(self) -> Unavailable:
        if self._out.closed:
            return Unavailable("there is no connection to the broker")
        return Unavailable(f"the buffer of {self._out.limit} unsent bytes is full")

    def _keep(
        self, exchange: str, key: str, envelope: Envelope, mandatory: bool, settled: Settled | None
    ) -> None:
        if len(self._kept) >= _MAX_KEPT:
            message = "the publishing channel is being opened again, and too much waits for it"
            raise Unavailable(message)
        self._kept.append((exchange, key, envelope, mandatory, settled))

    # Diverted

    def on_content(self, method: int, arguments: bytes, header: bytes, body: bytes) -> None:
        """A message comes back: no queue took it."""
        del body
        if method != frames.RETURN or self.confirms is None:
            return
        text_end = 3 + arguments[2]
        text = arguments[3:text_end].decode("utf-8", "replace")
        key_at = text_end + 1 + arguments[text_end]
        exchange = arguments[text_end + 1 : key_at].decode("utf-8", "surrogateescape")
        key = arguments[key_at + 1 :].decode("utf-8", "surrogateescape")
        self.confirms.returned(exchange, key, header[2:], text)

    def on_confirm(self, tag: int, *, multiple: bool, taken: bool) -> None:
        """The broker took a message, or refused it."""
        if self.confirms is not None:
            self.confirms.confirmed(tag, multiple=multiple, taken=taken)

    def on_get_empty(self) -> None:
        """Nothing is got on this channel."""

    def on_closed(self, code: int, text: str) -> None:
        """The broker did not like a publish. All that is unconfirmed may be lost."""
        self._number = 0
        if code:
            log.warning("the broker closed a publishing channel: %s %s", code, text)
            if self.confirms is not None:
                self.confirms.fail_all(f"the broker closed the publishing channel ({code} {text})")
            self._reopen(text)

    def fail(self, reason: str) -> None:
        """The connection is gone: everybody who waits is told."""
        self._number = 0
        kept, self._kept = self._kept, deque()
        if self.confirms is not None:
            self.confirms.fail_all(reason)
            for _, _, _, _, settled in kept:
                if settled is not None:
                    self.confirms.add(settled, "", "", b"", mandatory=False)
            self.confirms.fail_all(reason)
