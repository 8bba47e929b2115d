"""Names on the wire: exchanges, queues and keys of a system, as pure functions of its sysname.

The table is a fixed point (docs/reference/wire.md): programs in other languages rely on it.
"""

from __future__ import annotations

import re
from typing import Any

from ion.base.errors import ConfigurationError
from ion.base.ids import checked_name
from ion.messaging.transport import ExchangeSpec, QueueSpec

DAY_MS = 86_400_000
REPLY_EXPIRES_MS = 300_000
DEAD_LETTER_LIMIT = 100_000
OWN_SPACE = "system"
PROCESSES = "processes"  # dead letters of messages that were addressed to process ids
QUORUM_DELIVERY_LIMIT = 20
RETRY_LIMIT = 100_000
SUBSCRIPTION_LIMIT = 100_000
LEAST_EXPIRY = 0.001
MAX_EXPIRY = 49 * DAY_MS // 1000  # seconds: brokers count the ms in 32 bits
PRIVATE_LIMIT = 10_000
PRIVATE_BYTES = 256 << 20
REPLY_LIMIT = 100_000
LEASE_LIMIT = 1000
BACK = ".retry.back"  # end of the name of the exchange that brings messages off the ladder
SUSPECT = ".suspect"  # end of the name of a queue for messages that were delivered in vain
STEP = re.compile(r"([^.]+)\.retry\.(\d+)(\.quorum)?")  # the name of a step of the ladder
BEAT = "beat"  # the op of a container's signs of life, and their control key
CONTROL_PRIORITY = 1  # of cancel, credit, ping and what is said to agents; data has 0


# Services of these names would answer for a part of ION itself: for the agents of all containers
# (their control key, and their actions in rules), for dead letters of processes, for signs of life.
RESERVED = frozenset({"agent", PROCESSES, BEAT})


def checked_service(name: str) -> str:
    """Return ``name`` where a service may have it.

    :raises ConfigurationError: it is no name, or ION's own.
    """
    if name in RESERVED:
        message = f"service name {name!r} is ION's own: take another one"
        raise ConfigurationError(message)
    return checked_name(name, "service name")


class Namespace:
    """The names of one system.

    :param sysname: the system; no dots.
    :raises ConfigurationError: ``sysname`` is not a name.
    """

    __slots__ = ("dlx", "sysname", "xs")

    def __init__(self, sysname: str) -> None:
        self.sysname = checked_name(sysname, "sysname")
        self.xs = f"{sysname}.xs"
        self.dlx = f"{sysname}.dlx"

    def exchange_space(self, name: str = "") -> ExchangeSpec:
        """Return the durable topic exchange of a space.

        :param name: "" is the system's own, which services and processes live on.
        """
        space = f".{checked_name(name, 'exchange space')}" if name else ""
        return ExchangeSpec(self.xs + space)

    def exchange_point(self, name: str) -> ExchangeSpec:
        """Return the durable topic exchange of exchange point ``name``, or ``space/name``.

        :raises ConfigurationError: it is no name; or the space is the system's own.
        """
        if not isinstance(name, str) or "/" not in name:
            return ExchangeSpec(f"{self.sysname}.xp.{checked_name(name, 'exchange point')}")
        space, _, point = name.rpartition("/")
        if space == OWN_SPACE:  # of the point's exchange, and of its rules, there is one name
            message = f"the system's own space is not named in a path: {point!r}, not {name!r}"
            raise ConfigurationError(message)
        above = self.exchange_space(checked_name(space, "exchange space")).name
        return ExchangeSpec(f"{above}.xp.{checked_name(point, 'exchange point')}")

    def dead_letter_exchange(self) -> ExchangeSpec:
        """Return the durable topic exchange that dead letters go to."""
        return ExchangeSpec(self.dlx)

    def service_key(self, service: str, major: int | None = None) -> str:
        """Return the routing key of a service, or of one major version of it."""
        checked_name(service, "service name")
        return service if major is None else f"{service}.v{major}"

    def service_queue(
        self, key: str, *, quorum: bool = False, singleton: bool = False
    ) -> QueueSpec:
        """Return the queue that the instances of the service with routing key ``key`` share.

        :param singleton: one of them at a time takes from it; the broker says which.
        """
        arguments: dict[str, Any] = {
            "x-dead-letter-exchange": self.dlx,
            "x-dead-letter-routing-key": key,
            "x-expires": DAY_MS,
        }
        if singleton:
            arguments["x-single-active-consumer"] = True
        return QueueSpec(f"{self.sysname}.{key}", arguments={**arguments, **_replicated(quorum)})

    def retry_queue(self, delay: int, *, quorum: bool = False) -> tuple[ExchangeSpec, QueueSpec]:
        """Return one step of the ladder: what is published to it comes back after ``delay`` ms.

        The routing key names the queue that the message goes to then.

        :param quorum: the step of the ladder for queues that are replicated. The other one lets go
            of a message when its delay ends, whether its queue has a leader just then or not.
        """
        name = f"{self.sysname}.retry.{delay}"
        arguments = {
            "x-message-ttl": delay,
            "x-dead-letter-exchange": "",
            "x-max-length": RETRY_LIMIT,
            "x-overflow": "reject-publish",
        }
        if quorum:
            name = f"{name}.quorum"
            arguments["x-queue-type"] = "quorum"
            arguments["x-dead-letter-strategy"] = "at-least-once"
            arguments["x-dead-letter-exchange"] = self.sysname + BACK
        return ExchangeSpec(name), QueueSpec(name, arguments=arguments)

    def way_back(self) -> tuple[ExchangeSpec, ExchangeSpec]:
        """Return the exchange that brings messages off the replicated ladder, and that of the lost.

        A replicated queue is bound to the first with its own name. What belongs to none goes to the
        second: a step would keep it for ever, and with 32 of them bring back nothing else.
        """
        lost = ExchangeSpec(f"{self.sysname}.retry.lost", kind="fanout")
        arguments = {"alternate-exchange": lost.name}
        return ExchangeSpec(self.sysname + BACK, kind="direct", arguments=arguments), lost

    def subscription_key(self, point: str, name: str) -> str:
        """Return the dead-letter key of a durable subscription."""
        space, slash, point = point.rpartition("/")
        above = f"xs.{space}." if slash else ""
        return f"{above}sub.{point}.{checked_name(name, 'subscription name')}"

    def subscription_queue(
        self, point: str, name: str, *, quorum: bool = False, expires: float | None = None
    ) -> QueueSpec:
        """Return the durable queue that all who subscribe to ``point`` as ``name`` share.

        :param expires: seconds without a consumer after which the broker deletes it; None: never.
        :raises ConfigurationError: it is not as long as a millisecond, or over 49 days.
        """
        key = self.subscription_key(point, name)
        arguments: dict[str, Any] = {
            "x-dead-letter-exchange": self.dlx,
            "x-dead-letter-routing-key": key,
            "x-max-length": SUBSCRIPTION_LIMIT,
        }
        if expires is not None:
            arguments["x-expires"] = _expiry(expires)
        return QueueSpec(f"{self.sysname}.{key}", arguments={**arguments, **_replicated(quorum)})

    def private_subscription_queue(
        self, container_id: str, number: int, max_bytes: int = PRIVATE_BYTES
    ) -> QueueSpec:
        """Return the exclusive queue of a process's own subscription; full, it drops the oldest."""
        return QueueSpec(
            f"{self.sysname}.{container_id}.sub.{number}",
            durable=False,
            exclusive=True,
            arguments={"x-max-length": PRIVATE_LIMIT, "x-max-length-bytes": max_bytes},
        )

    def dead_letter_queue(self, key: str) -> QueueSpec:
        """Return the bounded queue for dead letters of ``key``, bound to ``dlx`` with it."""
        return QueueSpec(
            f"{self.sysname}.{key}.dlq",
            arguments={"x-max-length": DEAD_LETTER_LIMIT},
        )

    def container_queue(self, container_id: str) -> QueueSpec:
        """Return the exclusive queue for messages to a container's processes and for control."""
        return QueueSpec(
            f"{self.sysname}.{container_id}",
            durable=False,
            exclusive=True,
            arguments={
                "x-dead-letter-exchange": self.dlx,
                "x-dead-letter-routing-key": PROCESSES,
                "x-max-priority": CONTROL_PRIORITY,
            },
        )

    def reply_queue(self, container_id: str) -> QueueSpec:
        """Return the queue for answers to a container.

        Durable with an expiry, not exclusive: it outlives a reconnect, so answers that were on
        their way arrive, and a new connection is not locked out of it while the old one is reaped.
        """
        return QueueSpec(
            f"{self.sysname}.{container_id}.reply",
            arguments={"x-expires": REPLY_EXPIRES_MS, "x-max-length": REPLY_LIMIT},
        )

    def lease_queue(self, name: str, *, quorum: bool = False) -> QueueSpec:
        """Return the queue of a lease: one consumer at a time is given what is in it."""
        arguments: dict[str, Any] = {
            "x-single-active-consumer": True,
            "x-expires": DAY_MS,
            "x-max-length": LEASE_LIMIT,
            "x-overflow": "reject-publish",
        }
        if quorum:
            arguments["x-queue-type"] = "quorum"
        return QueueSpec(f"{self.sysname}.lease.{name}", arguments=arguments)

    def control_key(self, service: str) -> str:
        """Return the key that reaches every container which hosts ``service``."""
        return f"ctl.{service}"


def suspect_queue(of: QueueSpec) -> QueueSpec:
    """Return the queue for messages of a queue that were delivered in vain more than once.

    It is consumed one message at a time, so that of those who were there when a container died,
    only the one that it was working on is suspected.
    """
    return QueueSpec(f"{of.name}{SUSPECT}", arguments=of.arguments)


def _expiry(seconds: float) -> int:
    """Return what a queue's expiry is, in ms.

    :raises ConfigurationError: it cannot be.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if is_number and LEAST_EXPIRY <= seconds <= MAX_EXPIRY:
        return round(seconds * 1000)
    message = f"expires: seconds, {LEAST_EXPIRY} to {MAX_EXPIRY} (49 days), not {seconds!r:.80}"
    raise ConfigurationError(message)


def _replicated(quorum: bool) -> dict[str, Any]:
    """Return the arguments that make a queue a replicated one, or none."""
    if not quorum:
        return {}
    return {"x-queue-type": "quorum", "x-delivery-limit": QUORUM_DELIVERY_LIMIT}


def priority_of(to: str, op: str) -> int:
    """Return the priority of a request: pings, and what is said to agents, wait for no data."""
    is_control = op == "ping" or to.startswith("ctl.") or to.endswith(".0")
    return CONTROL_PRIORITY if is_control else 0
