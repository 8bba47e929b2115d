"""The terms of a queue: its arguments, checked and typed; and when two declarations agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ion.base.errors import ConfigurationError
from ion.messaging.transport import ExchangeSpec, QueueSpec, check_name

KINDS = ("topic", "direct", "fanout")
OVERFLOWS = ("drop-head", "reject-publish", "reject-publish-dlx")
_MAX_MS = 2**32 - 1
_MAX_PRIORITY = 255
_RANGES = {
    "x-message-ttl": (0, _MAX_MS),
    "x-expires": (1, _MAX_MS),
    "x-max-length": (0, 2**63 - 1),
    "x-max-length-bytes": (0, 2**63 - 1),
    "x-max-priority": (0, _MAX_PRIORITY),
    "x-delivery-limit": (0, 2**31 - 1),
}
_TYPES: dict[str, type] = {
    "x-dead-letter-exchange": str,
    "x-dead-letter-routing-key": str,
    "x-single-active-consumer": bool,
}
_CHOICES = {
    "x-overflow": OVERFLOWS,
    "x-queue-type": ("classic", "quorum"),
    # Here a dead letter that has a queue to go to always gets there.
    "x-dead-letter-strategy": ("at-most-once", "at-least-once"),
}
_KNOWN = (*_RANGES, *_TYPES, *_CHOICES)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a queue's arguments say. Times in seconds; None: no such limit."""

    ttl: float | None = None
    expires: float | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str = OVERFLOWS[0]
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    max_priority: int | None = None
    single_active: bool = False
    delivery_limit: int | None = None

    @classmethod
    def of(cls, spec: QueueSpec) -> Terms:
        """Read the arguments of a queue.

        :raises ConfigurationError: one has a wrong type or value, or misses another.
        """
        for name, value in spec.arguments.items():
            fault = _fault(name, value)
            if fault:
                message = f"queue {spec.name!r}: argument {name}: {fault}"
                raise ConfigurationError(message)
        given = spec.arguments
        if "x-dead-letter-routing-key" in given and "x-dead-letter-exchange" not in given:
            message = (
                f"queue {spec.name!r}: x-dead-letter-routing-key without x-dead-letter-exchange"
            )
            raise ConfigurationError(message)
        return cls(
            ttl=_seconds(given.get("x-message-ttl")),
            expires=_seconds(given.get("x-expires")),
            max_length=given.get("x-max-length"),
            max_bytes=given.get("x-max-length-bytes"),
            overflow=given.get("x-overflow", OVERFLOWS[0]),
            dead_letter_exchange=given.get("x-dead-letter-exchange"),
            dead_letter_key=given.get("x-dead-letter-routing-key"),
            max_priority=given.get("x-max-priority"),
            single_active=given.get("x-single-active-consumer", False),
            delivery_limit=given.get("x-delivery-limit"),
        )


def _fault(name: str, value: Any) -> str:
    if name in _RANGES:
        low, high = _RANGES[name]
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if fits else f"{value!r} is no whole number from {low} to {high}"
    if name in _TYPES:
        wanted = _TYPES[name]
        return "" if isinstance(value, wanted) else f"{value!r} is no {wanted.__name__}"
    if name in _CHOICES:
        choices = _CHOICES[name]
        return "" if value in choices else f"{value!r} is none of {', '.join(choices)}"
    return ""


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def check_exchange(spec: ExchangeSpec) -> None:
    """Check an exchange that is about to be declared.

    :raises ConfigurationError: of no known kind, or its name is too long.
    """
    check_name(spec.name, "exchange")
    if spec.kind not in KINDS:
        message = f"exchange {spec.name!r}: kind {spec.kind!r} is none of {', '.join(KINDS)}"
        raise ConfigurationError(message)


def check_same_exchange(have: ExchangeSpec, want: ExchangeSpec) -> None:
    """Check that a declaration agrees with the exchange that is there.

    :raises ConfigurationError: it does not.
    """
    _check_same(f"exchange {want.name!r}", _exchange_terms(have), _exchange_terms(want))


def check_same_queue(have: QueueSpec, want: QueueSpec) -> None:
    """Check that a declaration agrees with the queue that is there.

    :raises ConfigurationError: it does not.
    """
    _check_same(f"queue {want.name!r}", _queue_terms(have), _queue_terms(want))


def _exchange_terms(spec: ExchangeSpec) -> dict[str, Any]:
    own = {"kind": spec.kind, "durable": spec.durable, "auto_delete": spec.auto_delete}
    return own | {"alternate-exchange": spec.arguments.get("alternate-exchange")}


def _queue_terms(spec: QueueSpec) -> dict[str, Any]:
    own = {"durable": spec.durable, "auto_delete": spec.auto_delete}
    arguments = {name: spec.arguments.get(name) for name in _KNOWN}
    if arguments["x-queue-type"] is None:
        arguments["x-queue-type"] = "classic"
    return own | arguments


def _check_same(what: str, have: Mapping[str, Any], want: Mapping[str, Any]) -> None:
    for name, value in have.items():
        if want[name] != value:
            message = f"{what} exists with {name} {value!r}; {want[name]!r} was wanted"
            raise ConfigurationError(message)
