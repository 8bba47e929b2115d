"""Which queue arguments RabbitMQ knows: from which version on, and for which type of queue. Pure.

RabbitMQ refuses some arguments that a queue cannot have, and accepts others in silence without
doing anything (all that it has never heard of, 3.10 and 4.x alike), so that a limit that was asked
for is not there. Here both are errors, before the broker is asked.

``tests/messaging/amqp/test_queue_arguments.py`` compares the rows with the RabbitMQ that it finds.
That was 3.10.8, 4.0.5 and 4.3.6; what changes in between is from the release notes (3.12 to 4.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ion.base.errors import ConfigurationError
from ion.messaging.transport import QueueSpec

Version = tuple[int, int]

CLASSIC, QUORUM, STREAM = "classic", "quorum", "stream"
TYPES = (CLASSIC, QUORUM, STREAM)
_ALWAYS: Version = (0, 0)
_NEVER: Version = (1 << 30, 0)
_STARTS = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Row:
    """One argument on queues of some types, from version ``since`` until before ``until``."""

    argument: str
    types: tuple[str, ...]
    since: Version = _ALWAYS
    until: Version = _NEVER


_BOTH = (CLASSIC, QUORUM)
ROWS = (
    Row("x-queue-type", TYPES),
    Row("x-message-ttl", (CLASSIC,)),
    Row("x-message-ttl", (QUORUM,), since=(3, 10)),
    Row("x-expires", _BOTH),
    Row("x-max-length", _BOTH),
    Row("x-max-length-bytes", TYPES),
    Row("x-overflow", _BOTH),
    Row("x-dead-letter-exchange", _BOTH),
    Row("x-dead-letter-routing-key", _BOTH),
    Row("x-dead-letter-strategy", (QUORUM,), since=(3, 10)),
    Row("x-max-priority", (CLASSIC,)),
    Row("x-max-priority", (QUORUM,), since=(4, 3)),
    Row("x-single-active-consumer", _BOTH),
    Row("x-delivery-limit", (QUORUM,)),
    Row("x-delayed-retry-type", (QUORUM,), since=(4, 3)),
    Row("x-delayed-retry-min", (QUORUM,), since=(4, 3)),
    Row("x-delayed-retry-max", (QUORUM,), since=(4, 3)),
    Row("x-consumer-timeout", (CLASSIC,), since=(3, 12), until=(4, 3)),
    Row("x-consumer-timeout", (QUORUM,), since=(3, 12)),
    Row("x-queue-mode", (CLASSIC,), until=(3, 12)),
    Row("x-queue-version", (CLASSIC,), since=(3, 10)),
    Row("x-queue-master-locator", (CLASSIC,), until=(4, 3)),
    Row("x-queue-leader-locator", (CLASSIC,), since=(4, 0)),
    Row("x-queue-leader-locator", (QUORUM, STREAM)),
    Row("x-quorum-initial-group-size", (QUORUM,)),
    Row("x-max-in-memory-length", (QUORUM,), until=(3, 10)),
    Row("x-max-in-memory-bytes", (QUORUM,), until=(3, 10)),
    Row("x-initial-cluster-size", (STREAM,)),
    Row("x-max-age", (STREAM,)),
    Row("x-stream-max-segment-size-bytes", (STREAM,)),
    Row("x-stream-filter-size-bytes", (STREAM,), since=(3, 13)),
)
_REMEDIES = {
    "x-max-priority": "use a second queue for what is urgent, or a classic queue",
    "x-delivery-limit": "use a quorum queue; ION counts attempts itself (header attempt)",
    "x-consumer-timeout": "set consumer_timeout on the node, or work in shorter pieces",
    "x-delayed-retry-type": "use the retry ladder, which works on all versions",
    "x-delayed-retry-min": "use the retry ladder, which works on all versions",
    "x-delayed-retry-max": "use the retry ladder, which works on all versions",
    "x-queue-mode": "leave it out: classic queues keep few messages in memory from 3.12 on",
    "x-queue-master-locator": "leave it out, or set queue_leader_locator on the node",
    "x-max-in-memory-length": "leave it out: a quorum queue keeps its messages on disk",
    "x-max-in-memory-bytes": "leave it out: a quorum queue keeps its messages on disk",
}


def version_of(properties: Mapping[str, Any]) -> Version | None:
    """Return the version that a broker's properties tell, or None where it is no RabbitMQ."""
    product, version = (_text(properties.get(key)) for key in ("product", "version"))
    starts = _STARTS.match(version)
    if product != "RabbitMQ" or starts is None:
        return None
    return int(starts[1]), int(starts[2])


def compile_queue(spec: QueueSpec, version: Version | None) -> QueueSpec:
    """Return the queue as a broker of that version is to be asked for it.

    :param version: None: not known, or another product: all is left to the broker.
    :raises ConfigurationError: the broker would refuse something, or ignore it in silence.
    """
    if version is None:
        return spec
    kind = spec.arguments.get("x-queue-type", CLASSIC)
    if kind not in TYPES:
        raise _error(spec, "x-queue-type", f"{kind!r} is none of {', '.join(TYPES)}")
    for argument, value in spec.arguments.items():
        if argument.startswith("x-"):
            _check_known(spec, argument, kind, version)
            _check_value(spec, argument, value, kind, version)
    _check_properties(spec, kind, version)
    if kind == QUORUM and "x-max-priority" in spec.arguments:
        # Priorities are always on there; the argument would be ignored.
        kept = {k: v for k, v in spec.arguments.items() if k != "x-max-priority"}
        return replace(spec, arguments=kept)
    return spec


def _check_known(spec: QueueSpec, argument: str, kind: str, version: Version) -> None:
    rows = [row for row in ROWS if row.argument == argument]
    if not rows:
        raise _error(spec, argument, "RabbitMQ knows no such argument, and would ignore it")
    fitting = [row for row in rows if kind in row.types]
    if any(row.since <= version < row.until for row in fitting):
        return
    if not fitting:
        types = " or ".join(dict.fromkeys(each for row in rows for each in row.types))
        raise _error(spec, argument, f"for {types} queues, not for {kind} ones")
    row = fitting[-1]
    end = f"until {_shown(row.until)}" if version >= row.until else f"from {_shown(row.since)} on"
    fault = f"known for {kind} queues {end}; this broker is {_shown(version)}"
    raise _error(spec, argument, fault)


def _check_value(
    spec: QueueSpec, argument: str, value: object, kind: str, version: Version
) -> None:
    given = spec.arguments
    if argument == "x-overflow" and value == "reject-publish-dlx" and kind == QUORUM:
        fault = "a quorum queue ignores reject-publish-dlx; use reject-publish"
        raise _error(spec, argument, fault)
    if argument == "x-queue-version" and value == 1 and version >= (4, 3):
        raise _error(spec, argument, "version 1 is gone in 4.3; leave it out")
    if argument == "x-dead-letter-routing-key" and "x-dead-letter-exchange" not in given:
        raise _error(spec, argument, "it needs x-dead-letter-exchange")
    if argument == "x-dead-letter-strategy" and value == "at-least-once":
        has_all = given.get("x-overflow") == "reject-publish" and "x-dead-letter-exchange" in given
        if not has_all:
            fault = "at-least-once needs x-dead-letter-exchange and x-overflow reject-publish"
            raise _error(spec, argument, fault)


def _check_properties(spec: QueueSpec, kind: str, version: Version) -> None:
    if kind != CLASSIC:
        for is_so, name, remedy in (
            (spec.exclusive, "exclusive", "use x-single-active-consumer, or a classic queue"),
            (spec.auto_delete, "auto_delete", "use x-expires, or a classic queue"),
            (not spec.durable, "durable=False", "make it durable, or a classic queue"),
        ):
            if is_so:
                raise _error(spec, name, f"a {kind} queue cannot be so; {remedy}")
    elif version >= (4, 3) and not spec.durable and not spec.exclusive:
        fault = "4.3 refuses queues that are neither durable nor exclusive"
        raise _error(spec, "durable=False", f"{fault}; make it durable, with x-expires")


def _error(spec: QueueSpec, argument: str, fault: str) -> ConfigurationError:
    remedy = _REMEDIES.get(argument)
    more = f" ({remedy})" if remedy else ""
    return ConfigurationError(f"queue {spec.name!r}: {argument}: {fault}{more}")


def _shown(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return str(value)
