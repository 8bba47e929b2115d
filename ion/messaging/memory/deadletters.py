"""What becomes of a dead letter: its new headers, and when it has gone round in a circle."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ion.messaging.envelope import Envelope
from ion.messaging.memory.delivery import Delivery

REJECTED = "rejected"
EXPIRED = "expired"
MAXLEN = "maxlen"
DELIVERY_LIMIT = "delivery_limit"
_X_DEATH = "x-death"


def dead_envelope(delivery: Delivery, queue: str, reason: str) -> Envelope:
    """Return the envelope of a message that died in ``queue``.

    Its header ``x-death`` tells where, why and how often, the latest first (RabbitMQ 3.10 turns
    the order of the others round each time, and so do we). Its expiration is gone, so that it does
    not expire in the dead-letter queue too.
    """
    old = delivery.envelope
    deaths = _deaths(old)
    same = [d for d in deaths if d.get("queue") == queue and d.get("reason") == reason]
    others = [d for d in reversed(deaths) if d not in same]
    latest = _death(delivery, queue, reason)
    if same:
        latest = {**same[0], "count": _count(same[0]) + 1}
    headers: dict[str, Any] = {**old.headers, _X_DEATH: [latest, *others]}
    if _X_DEATH not in old.headers:
        headers |= {
            "x-first-death-reason": reason,
            "x-first-death-queue": queue,
            "x-first-death-exchange": delivery.exchange,
        }
    return old.replace(headers=headers, expiration=None)


def goes_in_circles(envelope: Envelope, queue: str) -> bool:
    """Tell whether a dead letter came by ``queue`` before, without anybody rejecting it since."""
    deaths = _deaths(envelope)
    for index, death in enumerate(deaths):
        if death.get("queue") == queue:
            return all(d.get("reason") != REJECTED for d in deaths[: index + 1])
    return False


def _death(delivery: Delivery, queue: str, reason: str) -> dict[str, Any]:
    death: dict[str, Any] = {
        "count": 1,
        "reason": reason,
        "queue": queue,
        "time": datetime.now(UTC).replace(microsecond=0),
        "exchange": delivery.exchange,
        "routing-keys": [delivery.key],
    }
    if delivery.envelope.expiration is not None:
        death["original-expiration"] = str(delivery.envelope.expiration)
    return death


def _deaths(envelope: Envelope) -> list[Mapping[str, Any]]:
    deaths = envelope.headers.get(_X_DEATH)
    if not isinstance(deaths, list):
        return []
    return [death for death in deaths if isinstance(death, Mapping)]


def _count(death: Mapping[str, Any]) -> int:
    count = death.get("count")
    return count if isinstance(count, int) else 1
