"""A dead letter as people and programs see it: what it says, and why it died.

It may come from anywhere, with headers of any type: reading one never raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ion.base.errors import CodecError
from ion.messaging import codec
from ion.messaging.address import STEP
from ion.messaging.envelope import Envelope
from ion.process.redelivery.retrying import attempt_of
from ion.process.serving.answering import plain_text

REPLAYED = "replayed"  # header: how often the message was sent back
_MAX_REPLAYS = 1_000_000
_MAX_TEXT = 4000  # characters of a header shown as text


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter; all that is known of it.

    What ION did not write itself is taken from the broker's record ``x-death``, as far as it goes.

    :ivar content: decoded, or None where it cannot be.
    :ivar undecodable: why it cannot be, or "".
    :ivar body: the content's bytes, where it cannot be decoded and is not over the limit.
    :ivar size: of the content, bytes.
    :ivar attempt: how many attempts were made.
    :ivar replayed: how often it was sent back.
    :ivar cause: why it died, in words; ``cause_type``: the same as one word, of an error or of the
        broker (``rejected``, ``expired``, ``maxlen``, ``delivery_limit``, and ``unroutable``: its
        queue was gone when its delay on the ladder ended).
    :ivar cause_code: the error's code, or None.
    :ivar dead_from: the queue it died in, or "".
    :ivar dead_at: when, ms since the epoch, or None.
    :ivar dead_by: the process that gave it up, or "".
    :ivar receiver: the routing key it came with, or "".
    :ivar timestamp: when it was sent, seconds since the epoch, or 0.
    """

    key: str
    message_id: str
    op: str
    content: Any
    undecodable: str
    body: bytes
    content_type: str
    size: int
    attempt: int
    replayed: int
    cause: str
    cause_code: int | None
    cause_type: str
    dead_from: str
    dead_at: int | None
    dead_by: str
    receiver: str
    reply_to: str
    correlation_id: str
    timestamp: int
    headers: Mapping[str, Any]


def read(key: str, envelope: Envelope, max_content: int) -> DeadLetter:
    """Return what a dead letter of ``key`` says.

    :param max_content: larger content is neither decoded nor kept, bytes.
    """
    content, undecodable = _decoded(envelope, max_content)
    headers = envelope.headers
    death = _death(headers)
    reason = text(death.get("reason"))
    by_broker = f"{reason} in {text(death.get('queue'))}, says the broker" if reason else ""
    if stray := stray_of(headers):
        reason, by_broker = "unroutable", f"there was no queue {stray} for another attempt"
    return DeadLetter(
        key=key,
        message_id=text(envelope.message_id),
        op=text(envelope.op),
        content=content,
        undecodable=undecodable,
        body=envelope.body if undecodable and _fits(envelope, max_content) else b"",
        content_type=text(envelope.content_type),
        size=len(envelope.body),
        attempt=attempt_of(headers),
        replayed=replays_of(headers),
        cause=text(headers.get("cause")) or by_broker,
        cause_code=number(headers.get("cause-code")),
        cause_type=text(headers.get("cause-type")) or reason,
        dead_from=origin_of(headers),
        dead_at=number(headers.get("dead-at")) or _epoch_ms(death.get("time")),
        dead_by=text(headers.get("dead-by")),
        receiver=receiver_of(headers),
        reply_to=text(envelope.reply_to),
        correlation_id=text(envelope.correlation_id),
        timestamp=envelope.timestamp,
        headers=dict(headers),
    )


def _decoded(envelope: Envelope, limit: int) -> tuple[Any, str]:
    if not _fits(envelope, limit):
        return None, f"{len(envelope.body)} bytes are over the limit messaging.max_content"
    try:
        return codec.decode(envelope.body, envelope.content_type), ""
    except CodecError as error:
        return None, text(error.message)


def _fits(envelope: Envelope, limit: int) -> bool:
    return len(envelope.body) <= limit


def _death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the broker's record of the latest death; waiting for another attempt is none."""
    deaths = headers.get("x-death")
    for death in deaths if isinstance(deaths, list) else []:
        if isinstance(death, Mapping) and not STEP.fullmatch(text(death.get("queue"))):
            return death
    return {}


def stray_of(headers: Mapping[str, Any]) -> str:
    """Return the queue that a message was to go back to from the ladder and that was gone, or "".

    It came straight from the ladder to the dead letters, without a word of ION's.
    """
    deaths = headers.get("x-death")
    latest = deaths[0] if isinstance(deaths, list) and deaths else None
    if "dead-from" in headers or not isinstance(latest, Mapping):
        return ""
    keys = latest.get("routing-keys")
    is_step = STEP.fullmatch(text(latest.get("queue")))
    return text(keys[0]) if is_step and isinstance(keys, list) and keys else ""


def origin_of(headers: Mapping[str, Any]) -> str:
    """Return the queue that a message died in, or ""."""
    return text(headers.get("dead-from")) or stray_of(headers) or text(_death(headers).get("queue"))


def receiver_of(headers: Mapping[str, Any]) -> str:
    """Return the routing key that a message came with, or ""."""
    keys = _death(headers).get("routing-keys")
    first = keys[0] if isinstance(keys, list) and keys else None
    return text(headers.get("receiver")) or text(first)


def replays_of(headers: Mapping[str, Any]) -> int:
    """Return how often a message was sent back; 0 where its header holds no such number."""
    count = number(headers.get(REPLAYED)) or 0
    return count if 0 <= count <= _MAX_REPLAYS else 0


def text(value: Any) -> str:
    """Return a foreign value as a text that can be shown and written; "" for None."""
    return "" if value is None else plain_text(value, _MAX_TEXT)


def number(value: Any) -> int | None:
    """Return a foreign value where it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _epoch_ms(value: Any) -> int | None:
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    seconds = number(value)
    return None if seconds is None else seconds * 1000
