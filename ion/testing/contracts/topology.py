"""The part of the transport contract about exchanges, queues and bindings."""

from __future__ import annotations

from typing import Any

import pytest

from ion.base.errors import ConfigurationError, Conflict, ServiceNotFound, Unavailable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import ExchangeSpec, QueueInfo, QueueSpec, Transport
from ion.testing.contracts.bench import PATIENCE, Bench, Inbox, drain, eventually, send

TOPICS = [
    ("a.b", "a.b", True),
    ("a.b", "a.c", False),
    ("a.*", "a.b", True),
    ("a.*", "a", False),
    ("a.*", "a.b.c", False),
    ("*.b", ".b", True),
    ("a.#", "a", True),
    ("a.#", "a.b.c", True),
    ("a.#", "b.a", False),
    ("#", "", True),
    ("*", "", False),
    ("#.b", "b", True),
    ("#.b.#", "a.b.c", True),
    ("#.b.#", "a.c", False),
    ("*.#.b", "a.b", True),
    ("*.#.b", "b", False),
    ("#.*", "a", True),
    ("a.#.b.#.c", "a.b.b.c", True),
]


class TopologyContract(Bench):
    """Declare, bind, route, delete, look."""

    async def test_declaring_again_is_no_error(self, transport: Transport) -> None:
        """Where nothing differs."""
        arguments = {"x-max-length": 5}
        for _ in range(2):
            await transport.declare_exchange(ExchangeSpec("x", "direct", durable=False))
            assert await transport.declare_queue(QueueSpec("q", arguments=arguments)) == "q"
            await transport.bind("q", "x", "k")

    @pytest.mark.parametrize(
        "changed",
        [{"kind": "fanout"}, {"durable": False}, {"auto_delete": True}],
        ids=lambda changed: next(iter(changed)),
    )
    async def test_an_exchange_with_other_properties(
        self, transport: Transport, changed: dict[str, Any]
    ) -> None:
        """Is an error, and the exchange that is there stays."""
        await transport.declare_exchange(ExchangeSpec("x"))
        with pytest.raises(ConfigurationError):
            await transport.declare_exchange(ExchangeSpec("x", **changed))
        await transport.declare_exchange(ExchangeSpec("x"))

    @pytest.mark.parametrize(
        "changed",
        [
            {"durable": False},
            {"auto_delete": True},
            {"arguments": {"x-message-ttl": 1000}},
            {"arguments": {"x-max-length": 6}},
            {"arguments": {"x-max-length": 5, "x-dead-letter-exchange": "d"}},
        ],
        ids=str,
    )
    async def test_a_queue_with_other_properties(
        self, transport: Transport, changed: dict[str, Any]
    ) -> None:
        """Is an error, and what the transport does otherwise goes on."""
        inbox = Inbox(ack=True)
        spec = QueueSpec("q", arguments={"x-max-length": 5})
        await transport.declare_queue(spec)
        await transport.consume("q", inbox, prefetch=1)
        with pytest.raises(ConfigurationError):
            await transport.declare_queue(QueueSpec("q", **changed))
        await send(transport, "q", b"x")
        assert await inbox.take(1) == [b"x"]

    @pytest.mark.parametrize(
        "arguments",
        [
            {"x-message-ttl": -1},
            {"x-expires": 0},
            {"x-max-length": "many"},
            {"x-overflow": "explode"},
            {"x-max-priority": 256},
            {"x-dead-letter-routing-key": "k"},
        ],
        ids=str,
    )
    async def test_arguments_that_cannot_be(
        self, transport: Transport, arguments: dict[str, Any]
    ) -> None:
        """Are an error, and no queue is made."""
        with pytest.raises(ConfigurationError):
            await transport.declare_queue(QueueSpec("q", arguments=arguments))
        assert await transport.queue_info("q") is None

    async def test_a_queue_without_a_name_gets_one(self, transport: Transport) -> None:
        """A new one each time."""
        spec = QueueSpec("", durable=False, exclusive=True)
        first, second = [await transport.declare_queue(spec) for _ in range(2)]
        assert first
        assert second
        assert first != second
        await send(transport, first, b"x")
        assert await drain(transport, first) == [b"x"]

    async def test_names_of_255_bytes(self, transport: Transport) -> None:
        """Are allowed."""
        name = "n" * 255
        await transport.declare_exchange(ExchangeSpec(name))
        await transport.declare_queue(QueueSpec(name))
        await transport.bind(name, name, name)
        await transport.publish_confirmed(
            name, name, Envelope(body=b"x"), mandatory=True, timeout=PATIENCE
        )
        assert await drain(transport, name) == [b"x"]

    async def test_an_exclusive_queue_is_for_one_connection(
        self, transport: Transport, other: Transport
    ) -> None:
        """Another one may not declare it; the owner may, again."""
        spec = QueueSpec("mine", durable=False, exclusive=True)
        await transport.declare_queue(spec)
        await transport.declare_queue(spec)
        with pytest.raises(Unavailable):
            await other.declare_queue(spec)
        with pytest.raises(Unavailable):
            await other.consume("mine", Inbox(), prefetch=1)
        await send(other, "mine", b"publishing is free to all")
        assert len(await drain(transport, "mine")) == 1

    async def test_an_auto_delete_queue_goes_with_its_last_consumer(
        self, transport: Transport
    ) -> None:
        """And not before it had one."""
        await transport.declare_queue(QueueSpec("q", auto_delete=True))
        first = await transport.consume("q", Inbox(), prefetch=1)
        second = await transport.consume("q", Inbox(), prefetch=1)
        await first.cancel()
        assert await transport.queue_info("q") is not None
        await second.cancel()

        async def gone() -> bool:
            return await transport.queue_info("q") is None

        await eventually(gone, "the queue is deleted")

    async def test_an_auto_delete_exchange_goes_with_its_last_binding(
        self, transport: Transport
    ) -> None:
        """And not before it had one."""
        await transport.declare_exchange(ExchangeSpec("x", auto_delete=True))
        await transport.declare_queue(QueueSpec("q"))
        await transport.bind("q", "x", "a")
        await transport.bind("q", "x", "b")
        await transport.unbind("q", "x", "a")
        await transport.declare_exchange(ExchangeSpec("x", auto_delete=True))
        await transport.unbind("q", "x", "b")
        with pytest.raises(ServiceNotFound):
            await transport.bind("q", "x", "a")

    async def test_looking_at_a_queue(self, transport: Transport) -> None:
        """Tells messages and consumers, None where there is none, and makes none."""
        assert await transport.queue_info("q") is None
        assert await transport.queue_info("q") is None
        await transport.declare_queue(QueueSpec("q"))
        await send(transport, "q", b"1", b"2")
        assert await transport.queue_info("q") == QueueInfo("q", 2, 0)
        await transport.consume("q", Inbox(), prefetch=1)

        async def one_is_out() -> bool:
            return await transport.queue_info("q") == QueueInfo("q", 1, 1)

        await eventually(one_is_out, "one message ready, one consumer")

    async def test_deleting(self, transport: Transport) -> None:
        """Tells how many messages went; 0 where there is nothing, which is no error."""
        await transport.declare_queue(QueueSpec("q"))
        await transport.declare_exchange(ExchangeSpec("x"))
        await send(transport, "q", b"1", b"2")
        assert await transport.delete_queue("q") == 2
        assert await transport.delete_queue("q") == 0
        assert await transport.queue_info("q") is None
        await transport.delete_exchange("x")
        await transport.delete_exchange("x")
        await transport.declare_exchange(ExchangeSpec("x", "fanout"))

    async def test_deleting_an_exchange_that_is_used(self, transport: Transport) -> None:
        """Is refused where that is asked for; it goes once nothing is bound to it."""
        await transport.declare_exchange(ExchangeSpec("x"))
        await transport.declare_queue(QueueSpec("q"))
        await transport.bind("q", "x", "k")
        with pytest.raises(Conflict):
            await transport.delete_exchange("x", if_unused=True)
        await transport.publish_confirmed("x", "k", Envelope(), mandatory=True, timeout=PATIENCE)
        await transport.unbind("q", "x", "k")
        await transport.delete_exchange("x", if_unused=True)
        await transport.delete_exchange("x", if_unused=True)
        with pytest.raises(ServiceNotFound):
            await transport.bind("q", "x", "k")

    async def test_purging(self, transport: Transport) -> None:
        """Takes the ready messages, not those that a consumer has."""
        inbox = Inbox()
        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", inbox, prefetch=1)
        await send(transport, "q", b"1", b"2", b"3")
        held = await inbox.next()
        assert await transport.purge_queue("q") == 2
        held.nack(requeue=True)
        assert (await inbox.next()).envelope.body == b"1"

    async def test_binding_what_is_not_there(self, transport: Transport) -> None:
        """Is an error; taking such a binding away is none."""
        await transport.declare_exchange(ExchangeSpec("x"))
        await transport.declare_queue(QueueSpec("q"))
        with pytest.raises(ServiceNotFound):
            await transport.bind("q", "nowhere", "k")
        with pytest.raises(ServiceNotFound):
            await transport.bind("nothing", "x", "k")
        await transport.unbind("q", "x", "never bound")

    async def test_topics(self, transport: Transport) -> None:
        """``*`` is one word, ``#`` any number of words."""
        for number, (pattern, key, routed) in enumerate(TOPICS):
            name = f"topic {number}"
            await transport.declare_exchange(ExchangeSpec(name))
            await transport.declare_queue(QueueSpec(name))
            await transport.bind(name, name, pattern)
            await transport.publish_confirmed(name, key, Envelope(), timeout=PATIENCE)
            assert len(await drain(transport, name)) == routed, (pattern, key)

    async def test_direct_and_fanout(self, transport: Transport) -> None:
        """A direct exchange goes by the exact key, wildcards included; a fanout to all."""
        for kind in ("direct", "fanout"):
            await transport.declare_exchange(ExchangeSpec(kind, kind))
            for key in ("a", "#"):
                queue = f"{kind} {key}"
                await transport.declare_queue(QueueSpec(queue))
                await transport.bind(queue, kind, key)
            await transport.publish_confirmed(kind, "a", Envelope(), timeout=PATIENCE)
        counts = [
            len(await drain(transport, queue))
            for queue in ("direct a", "direct #", "fanout a", "fanout #")
        ]
        assert counts == [1, 0, 1, 1]

    async def test_a_queue_gets_a_message_once(self, transport: Transport) -> None:
        """However many of its bindings match."""
        await transport.declare_exchange(ExchangeSpec("x"))
        await transport.declare_queue(QueueSpec("q"))
        for key in ("a.b", "a.*", "#"):
            await transport.bind("q", "x", key)
        await transport.publish_confirmed("x", "a.b", Envelope(), timeout=PATIENCE)
        assert len(await drain(transport, "q")) == 1

    async def test_routes_follow_the_bindings(self, transport: Transport) -> None:
        """At once, for keys that were used before too."""
        await transport.declare_exchange(ExchangeSpec("x"))
        await transport.declare_queue(QueueSpec("q"))
        got = []
        for change in (transport.bind, transport.unbind, transport.bind):
            await change("q", "x", "k")
            await transport.publish_confirmed("x", "k", Envelope(), timeout=PATIENCE)
            got.append(len(await drain(transport, "q")))
        assert got == [1, 0, 1]
