"""Signed messages: interceptors by which a system takes what its own parties say, and no more.

``messaging.interceptors`` names both: ``out: ["ion.process.identity.signed:signing"]`` and
``in: ["ion.process.identity.signed:checking"]``. Each message then carries the header ``mac``:
``v1 <key id> <ms since 1970> <mac>``, an HMAC-SHA256 in hexadecimal digits with the key of the
system over the msgpack array of: ``ion message v1``, the sysname, the time, op, content type,
``reply_to``, correlation id, message id, content, and an array of name and value of each header in
the order of their names, but those that change on the way (``attempt``, ``receiver``, ``timeout``,
``replayed``, ``CC``, ``BCC``, why a message is a dead letter, and the broker's own ``x-...``). Of
who signs with a key of its own it is ``v2``, and Ed25519 over the same. The header ``to`` says who
it is for.

What it is for: nobody who merely has a login at the broker can say or change anything. What it is
not: content is not hidden (TLS is for that), who has a key may say all in anybody's name, and a
message may be said once more to the same receiver while its time lasts (an effectively-once service
handles it once all the same). On a memory bus that nobody else can reach nothing is signed.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from typing import Any

import msgspec

from ion.base.errors import BadRequest, Forbidden
from ion.base.settings import MessagingSettings
from ion.messaging.envelope import Envelope
from ion.messaging.interceptors import Interceptor
from ion.observe.context import current_call
from ion.process.command.keyring import KEY_ID, SIGNED, Keyring, is_form
from ion.process.command.permission import Permission
from ion.process.pubsub.topics import addressed
from ion.process.pubsub.verifying import verified_topic
from ion.process.redelivery.dead_letter import REPLAYED
from ion.process.redelivery.retrying import ATTEMPT, CAUSES, RECEIVER, ROUTING
from ion.process.serving.incoming import IncomingCall

log = logging.getLogger(__name__)
HEADER = "mac"
TO = "to"
QUIET = 1.0  # seconds between two lines of the log on what was refused
SHOWN = 100  # characters of a name that anybody can send
_DOMAIN = "ion message v1"
_FORM = re.compile(rf"(v[12]) ({KEY_ID}) (\d{{1,15}}) ({SIGNED})\Z", re.ASCII)
# What is written on a message on its way: by the ladder, the dead letters, the broker, and here.
_ON_THE_WAY = (ATTEMPT, RECEIVER, "timeout", REPLAYED, *CAUSES, *ROUTING)
_WRITTEN = frozenset((HEADER, *_ON_THE_WAY))
_encode = msgspec.msgpack.Encoder().encode
_PLAIN = (str, int, float, type(None))


def signing(settings: MessagingSettings, endpoint: Any) -> Interceptor:
    """Return what signs each message that goes out."""
    del settings
    permission, sysname = _permission(endpoint), endpoint.namespace.sysname

    def interceptor(envelope: Envelope) -> Envelope:
        ring = permission.ring()
        if ring is None:
            return envelope
        now = time.time_ns() // 1_000_000
        mac = ring.sign(_text(sysname, envelope, now))
        return envelope.replace(
            headers={**envelope.headers, HEADER: f"{ring.form} {ring.id} {now} {mac}"}
        )

    return interceptor


def checking(settings: MessagingSettings, endpoint: Any) -> Interceptor:
    """Return what refuses, with Forbidden, each message that comes in and was not signed."""
    return _Checker(settings, endpoint)


def _permission(endpoint: Any) -> Permission:
    permission = endpoint.permission
    assert isinstance(permission, Permission)
    return permission


class _Checker:
    """Refuses what is not signed, was altered, is too old, or was meant for somebody else.

    What is sent here again by this side itself, to be tried later, is as it was signed.

    :ivar keeps: how long what nobody answers may wait, seconds.
    """

    is_screen = True

    def __init__(self, settings: MessagingSettings, endpoint: Any) -> None:
        self._permission = _permission(endpoint)
        self._sysname: str = endpoint.namespace.sysname
        self._counts: Counter[str] = endpoint.counts
        self._required = settings.signing.required
        self._ahead = int(settings.clock_skew * 1000)
        self._max_age = int(settings.signing.max_age * 1000) + self._ahead
        self._keep = int(settings.signing.keep * 1000) + self._ahead
        self.keeps = self._keep / 1000
        self._noted = 0.0

    def __call__(self, envelope: Envelope) -> Envelope:
        ring = self._permission.ring()
        if ring is None:
            return envelope
        header = envelope.headers.get(HEADER)
        if header is None and not self._required:
            return envelope
        try:
            self._check(ring, header, envelope)
        except Forbidden as error:
            self._counts["unsigned"] += 1
            self._note(envelope, error)
            raise
        return envelope

    def sent(self, envelope: Envelope) -> float | None:
        """Return when a message was sent at the latest, as it was signed: seconds since 1970.

        None: it is not signed, or nothing is on this bus.

        :raises Forbidden: it is signed, and is not good.
        """
        self(envelope)
        match = _FORM.match(str(envelope.headers.get(HEADER)))
        if match is None or self._permission.ring() is None:
            return None
        return (int(match[3]) + 1) / 1000  # the end of that millisecond: a token may be of it

    def _check(self, ring: Keyring, header: Any, envelope: Envelope) -> None:
        match = _FORM.match(header) if isinstance(header, str) else None
        if match is None or not is_form(match[1], match[2], match[4]):
            message = (
                f"messages in system {self._sysname!r} are signed with its key, {ring.id} here, "
                "and this one is not: see docs/how-to/sign-messages.md"
            )
            raise Forbidden(message, details={"reason": "unsigned"})
        _, given, when, mac = match.groups()
        if not ring.knows(given):
            message = (
                f"this message is signed with key {given}, and system {self._sysname!r} has key "
                f"{ring.id} here: {ring.advice(self._sysname)}"
            )
            raise Forbidden(message, details={"reason": "key", "given": given, "wanted": ring.id})
        signed = int(when)
        if not ring.holds(given, mac, _text(self._sysname, envelope, signed)):
            message = "this message was altered on its way, or is of another system"
            raise Forbidden(message, details={"reason": "altered"})
        self._check_time(signed, envelope)
        _check_receiver(envelope)

    def _check_time(self, signed: int, envelope: Envelope) -> None:
        age = time.time_ns() // 1_000_000 - signed
        if -self._ahead <= age <= self._most(signed, envelope):
            return
        side = "before" if age > 0 else "after"
        message = (
            f"this message was signed {abs(age) / 1000:.1f} s {side} it came, by the clocks of "
            "both sides: it was held up or is said again, or the clocks differ"
        )
        raise Forbidden(message, details={"reason": "time", "age": age / 1000})

    def _most(self, signed: int, envelope: Envelope) -> int:
        """Return how old a message may be, in ms."""
        if envelope.headers.get("protocol") == "none":
            return self._keep
        deadline = envelope.headers.get("deadline")
        return self._max_age + (max(deadline - signed, 0) if deadline.__class__ is int else 0)

    def _note(self, envelope: Envelope, error: Forbidden) -> None:
        now = time.monotonic()
        if now - self._noted >= QUIET or not self._noted:
            self._noted = now
            sender = str(envelope.headers.get("sender", "") or "nobody known")[:SHOWN]
            log.warning("refused %r of %s: %s", envelope.op[:SHOWN], sender, error.message)


def _check_receiver(envelope: Envelope) -> None:
    """See that the message which is being handled was sent to who handles it.

    :raises Forbidden: it was sent to somebody else, and was put here by others.
    """
    to, call = envelope.headers.get(TO), current_call.get()
    if to is None or not isinstance(call, IncomingCall) or not _is_of(call, envelope):
        return
    source = call.source
    if source.handler is not None:
        meant = _topics(call)
    elif source.queue:
        meant = (source.key,)
    else:
        meant = (call.process, call.delivery.key)
    if to not in meant:
        message = f"this message was signed for {str(to)[:SHOWN]!r}, not for {call.process}"
        raise Forbidden(message, details={"reason": "receiver"})


def _topics(call: IncomingCall) -> tuple[str, ...]:
    """Return what an event is for; none where its subscription is not for such."""
    try:
        return (addressed(call.source.point, verified_topic(call)),)
    except BadRequest:
        return ()


def _is_of(call: IncomingCall, envelope: Envelope) -> bool:
    """Tell whether it is the message of a call, not an answer to one of its own."""
    own = call.envelope
    ids = (own.message_id, own.correlation_id, own.reply_to)
    return ids == (envelope.message_id, envelope.correlation_id, envelope.reply_to)


def _text(sysname: str, envelope: Envelope, when: int) -> bytes:
    headers = [
        (name, value if value.__class__ in _PLAIN else _plain(value))
        for name, value in sorted(envelope.headers.items())
        if name not in _WRITTEN and not name.startswith("x-")
    ]
    e = envelope
    ids = (e.reply_to, e.correlation_id, e.message_id)
    parts = (_DOMAIN, sysname, when, e.op, e.content_type, *ids, e.body, headers)
    try:
        return _encode(parts)
    except UnicodeEncodeError:  # of a foreign client, whose ids may be any bytes
        return _encode([_bytes_of(part) for part in parts])  # none of the above is written so


def _bytes_of(value: Any) -> Any:
    """Return text that UTF-8 has no bytes for as those that it stands for."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Return a header's value as it is signed: the same before and after its way."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return [(str(name), _plain(each)) for name, each in sorted(value.items())]
    return value if isinstance(value, _PLAIN) else str(value)
