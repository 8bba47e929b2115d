"""What queue arguments are worth: the table, and the RabbitMQ that runs, of whatever version."""

from __future__ import annotations

from typing import Any

import pika  # type: ignore[import-untyped]
import pytest
from pika.exceptions import (  # type: ignore[import-untyped]
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
)

from ion.base.errors import ConfigurationError
from ion.messaging.address import Namespace
from ion.messaging.amqp.queue_arguments import ROWS, TYPES, Version, compile_queue, version_of
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec

Q = "x-queue-type"
REFUSED = {406, 541}  # 541: a feature that is deprecated, and off
EXAMPLES: dict[str, tuple[Any, Any]] = {
    "x-message-ttl": (60_000, 70_000),
    "x-expires": (60_000, 70_000),
    "x-max-length": (5, 6),
    "x-max-length-bytes": (500, 600),
    "x-overflow": ("reject-publish", "drop-head"),
    "x-dead-letter-exchange": ("a", "b"),
    "x-dead-letter-strategy": ("at-most-once", "at-least-once"),
    "x-max-priority": (1, 2),
    "x-single-active-consumer": (True, False),
    "x-delivery-limit": (5, 6),
    "x-delayed-retry-type": ("all", "failed"),
    "x-delayed-retry-min": (1000, 2000),
    "x-delayed-retry-max": (1000, 2000),
    "x-consumer-timeout": (60_000, 70_000),
    "x-queue-mode": ("lazy", "default"),
    "x-queue-version": (2, 1),
    "x-queue-master-locator": ("min-masters", "client-local"),
    "x-queue-leader-locator": ("client-local", "balanced"),
    "x-quorum-initial-group-size": (1, 1),
    "x-max-in-memory-length": (5, 6),
    "x-max-in-memory-bytes": (50, 60),
    "x-initial-cluster-size": (1, 1),
    "x-max-age": ("1D", "2D"),
    "x-stream-max-segment-size-bytes": (5_000_000, 6_000_000),
    "x-stream-filter-size-bytes": (32, 64),
    "x-nobody-knows": (1, 2),
}
PROPERTIES: list[dict[str, bool]] = [
    {"exclusive": True},
    {"auto_delete": True},
    {"durable": False},
    {"durable": False, "exclusive": True},
]
# Compared when a queue is declared again, and of no use all the same.
WITHOUT_EFFECT = {"x-max-in-memory-length", "x-max-in-memory-bytes", "x-queue-mode"}
# Never compared, and yet of use where the documents say so.
NOT_COMPARED = {"x-consumer-timeout", "x-stream-filter-size-bytes"}


def says_no(spec: QueueSpec, version: Version) -> str:
    try:
        compile_queue(spec, version)
    except ConfigurationError as error:
        return str(error)
    return ""


class Broker:
    """Declares what it is told, without any table."""

    def __init__(self, url: str) -> None:
        self._parameters = pika.URLParameters(url)
        self._connection = pika.BlockingConnection(self._parameters)
        version = version_of(self._connection._impl.server_properties)
        assert version is not None
        self.version = version

    def takes(self, spec: QueueSpec) -> bool:
        if not self._connection.is_open:
            self._connection = pika.BlockingConnection(self._parameters)
        channel = self._connection.channel()
        try:
            channel.queue_declare(
                spec.name,
                durable=spec.durable,
                exclusive=spec.exclusive,
                auto_delete=spec.auto_delete,
                arguments=dict(spec.arguments),
            )
        except (ChannelClosedByBroker, ConnectionClosedByBroker) as closed:
            if closed.reply_code not in REFUSED:
                raise
            return False
        channel.close()
        return True

    def close(self) -> None:
        if self._connection.is_open:
            self._connection.close()


def test_every_argument_of_the_table_has_an_example() -> None:
    assert {row.argument for row in ROWS} - set(EXAMPLES) == {Q, "x-dead-letter-routing-key"}


@pytest.mark.amqp
@pytest.mark.parametrize("kind", TYPES)
def test_the_table_is_true(amqp_url: str, kind: str) -> None:
    broker = Broker(amqp_url)
    wrong = []
    for argument, (value, other) in EXAMPLES.items():
        spec = QueueSpec(f"{kind}-{argument}", arguments={Q: kind, argument: value})
        try:
            asked = compile_queue(spec, broker.version)
        except ConfigurationError:
            asked = None
        if not broker.takes(asked or spec):
            if asked is not None:
                wrong.append(f"{argument} is refused")
            continue
        # What is compared when the queue is declared again is known to the broker.
        again = QueueSpec(spec.name, arguments={Q: kind, argument: other})
        ignored = value != other and broker.takes(again)
        if asked is None and not ignored and argument not in WITHOUT_EFFECT:
            wrong.append(f"{argument} works")
        elif asked == spec and ignored and argument not in NOT_COMPARED:
            wrong.append(f"{argument} is ignored")
    broker.close()
    assert wrong == []


@pytest.mark.amqp
@pytest.mark.parametrize("kind", TYPES)
def test_the_properties_are_true(amqp_url: str, kind: str) -> None:
    broker = Broker(amqp_url)
    for number, properties in enumerate(PROPERTIES):
        spec = QueueSpec(f"{kind}-{number}", arguments={Q: kind}, **properties)
        if broker.version >= (4, 3) and kind == "classic" and properties == {"durable": False}:
            continue  # Debian's package lets these through, which are off as released
        assert broker.takes(spec) is not bool(says_no(spec, broker.version)), properties
    broker.close()


@pytest.mark.amqp
def test_the_values_are_true(amqp_url: str) -> None:
    broker = Broker(amqp_url)
    for number, arguments in enumerate(
        [
            {Q: "nonsense"},
            {"x-dead-letter-routing-key": "k"},
            {"x-dead-letter-exchange": "x", "x-dead-letter-routing-key": "k"},
            {"x-overflow": "reject-publish-dlx"},
        ]
    ):
        spec = QueueSpec(f"v{number}", arguments=arguments)
        assert broker.takes(spec) is not bool(says_no(spec, broker.version)), arguments
    broker.close()


@pytest.mark.amqp
async def test_the_transport_asks_the_table(transport: AmqpTransport) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await transport.declare_queue(QueueSpec("q", arguments={"x-delivery-limit": 5}))
    said = str(refused.value)
    for part in ("'q'", "x-delivery-limit", "not for classic ones", "use a quorum queue"):
        assert part in said
    assert await transport.queue_info("q") is None


@pytest.mark.amqp
async def test_a_quorum_queue_with_messages_can_be_deleted(transport: AmqpTransport) -> None:
    """It cannot be with if-unused or if-empty: nobody asks for that."""
    spec = QueueSpec("q", arguments={Q: "quorum", "x-delivery-limit": 5})
    await transport.declare_queue(spec)
    await transport.publish_confirmed("", "q", Envelope("x"), timeout=5)
    await transport.delete_queue("q")
    assert await transport.queue_info("q") is None


QUORUM = {Q: "quorum"}
LADDER = {
    "x-message-ttl": 1000,
    "x-dead-letter-exchange": "",
    "x-max-length": 100_000,
    "x-overflow": "reject-publish",
}
SERVICE = {
    "x-dead-letter-exchange": "S.dlx",
    "x-dead-letter-routing-key": "hello",
    "x-expires": 86_400_000,
}


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (4, 0), (4, 2), (4, 3), (5, 1)], ids=str)
def test_what_ion_declares_is_good_everywhere(version: Version) -> None:
    for spec in (
        QueueSpec("service", arguments=SERVICE),
        QueueSpec("service", arguments=SERVICE | QUORUM | {"x-delivery-limit": 5}),
        QueueSpec("S.retry.1000", arguments=LADDER),
        Namespace("S").retry_queue(1000)[1],
        Namespace("S").retry_queue(1000, quorum=True)[1],
        QueueSpec("S.c1", durable=False, exclusive=True, arguments={"x-max-priority": 1}),
    ):
        assert compile_queue(spec, version) == spec


@pytest.mark.parametrize(
    ("arguments", "properties", "bad", "good"),
    [
        (QUORUM | {"x-max-priority": 2}, {}, (4, 2), (4, 3)),
        ({"x-consumer-timeout": 1}, {}, (3, 11), (3, 12)),
        ({"x-queue-leader-locator": "balanced"}, {}, (3, 13), (4, 0)),
        ({"x-consumer-timeout": 1}, {}, (4, 3), (4, 2)),
        (QUORUM | {"x-consumer-timeout": 1}, {}, (3, 11), (4, 3)),
        (QUORUM | {"x-delayed-retry-min": 1}, {}, (4, 2), (4, 3)),
        ({"x-queue-mode": "lazy"}, {}, (4, 3), (3, 11)),
        ({"x-queue-version": 1}, {}, (4, 3), (4, 2)),
        (QUORUM | {"x-message-ttl": 1}, {}, (3, 9), (3, 10)),
        ({}, {"durable": False}, (4, 3), (4, 2)),
        ({}, {"durable": False, "auto_delete": True}, (4, 3), (4, 2)),
        ({Q: "stream", "x-stream-filter-size-bytes": 32}, {}, (3, 12), (3, 13)),
    ],
    ids=str,
)
def test_the_versions(
    arguments: dict[str, Any], properties: dict[str, bool], bad: Version, good: Version
) -> None:
    spec = QueueSpec("q", arguments=arguments, **properties)
    assert "q" in says_no(spec, bad)
    assert says_no(spec, good) == ""


def test_the_version_is_told() -> None:
    said = says_no(QueueSpec("q", arguments={"x-consumer-timeout": 1}), (3, 10))
    for part in ("from 3.12 on", "this broker is 3.10", "consumer_timeout on the node"):
        assert part in said


def test_priorities_of_quorum_queues_need_no_argument_from_4_3_on() -> None:
    spec = QueueSpec("q", arguments=QUORUM | {"x-max-priority": 2})
    assert compile_queue(spec, (4, 3)).arguments == QUORUM


def test_silent_losses_of_values() -> None:
    for arguments in (
        QUORUM | {"x-overflow": "reject-publish-dlx"},
        QUORUM | {"x-dead-letter-strategy": "at-least-once"},
        QUORUM | {"x-dead-letter-strategy": "at-least-once", "x-dead-letter-exchange": "x"},
    ):
        assert says_no(QueueSpec("q", arguments=arguments), (3, 10)), arguments
    sure = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
    spec = QueueSpec("q", arguments=QUORUM | sure | {"x-dead-letter-exchange": "x"})
    assert not says_no(spec, (3, 10))


@pytest.mark.parametrize(
    ("properties", "version"),
    [
        ({"product": "RabbitMQ", "version": "3.10.8"}, (3, 10)),
        ({"product": b"RabbitMQ", "version": bytearray(b"4.3.0-rc.1")}, (4, 3)),
        ({"product": "LavinMQ", "version": "2.4.0"}, None),
        ({"product": "RabbitMQ", "version": "?"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_version_of_a_broker(properties: dict[str, Any], version: Version | None) -> None:
    assert version_of(properties) == version


def test_another_product_is_asked_as_it_is() -> None:
    spec = QueueSpec("q", arguments={"x-of-its-own": 1})
    assert compile_queue(spec, None) is spec
