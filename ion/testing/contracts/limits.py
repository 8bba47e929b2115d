"""The part of the transport contract about a queue's arguments: time, length, priority."""

from __future__ import annotations

from typing import Any

import pytest

from ion.base.errors import ConfigurationError, Unavailable, Unroutable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import ExchangeSpec, QueueSpec, Transport
from ion.testing.contracts.bench import (
    PATIENCE,
    Bench,
    Inbox,
    dead_letter_queue,
    drain,
    eventually,
    ready,
    send,
)


class LimitsContract(Bench):
    """What all transports know of RabbitMQ's queue arguments."""

    async def test_a_queues_ttl(self, transport: Transport) -> None:
        """What waits too long is a dead letter; what is taken in time is not."""
        dead, inbox = Inbox(ack=True), Inbox(ack=True)
        arguments = await dead_letter_queue(transport)
        await transport.declare_queue(QueueSpec("q", arguments={**arguments, "x-message-ttl": 50}))
        await transport.consume("dead", dead, prefetch=1)
        await send(transport, "q", b"1", b"2")
        assert await dead.take(2) == [b"1", b"2"]
        consumer = await transport.consume("q", inbox, prefetch=1)
        await send(transport, "q", b"3")
        assert await inbox.take(1) == [b"3"]
        await consumer.cancel()
        await send(transport, "q", b"4")
        letter = await dead.next()
        assert letter.envelope.body == b"4"
        death = self._death(letter.envelope)
        assert (death["reason"], death["queue"]) == ("expired", "q")
        assert "original-expiration" not in death

    async def test_a_messages_ttl(self, transport: Transport) -> None:
        """The dead letter does not expire again, and says what its expiration was."""
        dead = Inbox(ack=True)
        arguments = await dead_letter_queue(transport)
        await transport.declare_queue(QueueSpec("q", arguments=arguments))
        await transport.consume("dead", dead, prefetch=1)
        await transport.publish_confirmed(
            "", "q", Envelope(body=b"short", expiration=30), timeout=PATIENCE
        )
        letter = await dead.next()
        assert letter.envelope.expiration is None
        assert self._death(letter.envelope)["original-expiration"] == "30"

    async def test_a_message_expires_at_the_head_of_its_queue(self, transport: Transport) -> None:
        """Behind one that lives longer it waits."""
        dead = Inbox(ack=True)
        arguments = await dead_letter_queue(transport)
        await transport.declare_queue(QueueSpec("q", arguments=arguments))
        await transport.consume("dead", dead, prefetch=1)
        for body, expiration in ((b"long", 300), (b"short", 1)):
            envelope = Envelope(body=body, expiration=expiration)
            await transport.publish_confirmed("", "q", envelope, timeout=PATIENCE)
        assert await dead.take(2) == [b"long", b"short"]

    async def test_no_time_to_wait(self, transport: Transport) -> None:
        """A TTL of 0 delivers to who is waiting, and drops the message otherwise."""
        inbox = Inbox(ack=True)
        await transport.declare_queue(QueueSpec("q", arguments={"x-message-ttl": 0}))
        await send(transport, "q", b"1")
        assert await transport.get("q") is None
        await transport.consume("q", inbox, prefetch=1)
        await send(transport, "q", b"2")
        assert await inbox.take(1) == [b"2"]

    async def test_an_unused_queue_goes(self, transport: Transport) -> None:
        """Not while it has a consumer."""
        spec = QueueSpec("q", arguments={"x-expires": 100})
        kept = QueueSpec("kept", arguments={"x-expires": 100})
        await transport.declare_queue(spec)
        await transport.declare_queue(kept)
        consumer = await transport.consume("kept", Inbox(), prefetch=1)
        outcome = transport.publish_confirmed

        async def gone(queue: str) -> bool:
            # looking at it would be a use: a mandatory message tells as well
            try:
                await outcome("", queue, Envelope(), mandatory=True, timeout=PATIENCE)
            except Unavailable:
                return True
            return False

        await eventually(lambda: gone("q"), "the unused queue is deleted")
        assert not await gone("kept")
        await consumer.cancel()
        await eventually(lambda: gone("kept"), "the queue is deleted after its consumer left")

    @pytest.mark.parametrize(
        ("limit", "left"),
        [
            ({"x-max-length": 2}, [b"33", b"44"]),
            ({"x-max-length-bytes": 5}, [b"33", b"44"]),
            ({"x-max-length": 2, "x-max-length-bytes": 3}, [b"44"]),
            ({"x-max-length": 0}, []),
        ],
        ids=str,
    )
    async def test_a_full_queue_drops_its_head(
        self, transport: Transport, limit: dict[str, Any], left: list[bytes]
    ) -> None:
        """The oldest go first, as dead letters."""
        arguments = await dead_letter_queue(transport)
        await transport.declare_queue(QueueSpec("q", arguments={**arguments, **limit}))
        bodies = [b"11", b"22", b"33", b"44"]
        await send(transport, "q", *bodies)
        assert await drain(transport, "q") == left
        lost = bodies[: len(bodies) - len(left)]

        async def all_dead() -> bool:
            return await ready(transport, "dead") == len(lost)

        await eventually(all_dead, "the dropped messages are dead letters")
        letter = await transport.get("dead")
        assert letter is not None
        assert self._death(letter.envelope)["reason"] == "maxlen"
        assert letter.envelope.body == lost[0]

    async def test_a_full_queue_rejects(self, transport: Transport) -> None:
        """Where it was declared so; what a consumer holds does not count."""
        inbox = Inbox()
        arguments = {"x-max-length": 2, "x-overflow": "reject-publish"}
        await transport.declare_queue(QueueSpec("q", arguments=arguments))
        await send(transport, "q", b"1", b"2")
        with pytest.raises(Unavailable):
            await send(transport, "q", b"3")
        await transport.consume("q", inbox, prefetch=1)
        (await inbox.next()).ack()
        assert await inbox.take(1) == [b"2"]
        await send(transport, "q", b"4", b"5")
        with pytest.raises(Unavailable):
            await send(transport, "q", b"6")

    async def test_a_step_of_a_ladder(self, transport: Transport) -> None:
        """A queue where messages wait, then go to the queue that their routing key names."""
        inbox = Inbox(ack=True)
        await _ladder(transport, "retry.30", ms=30)
        await transport.declare_queue(QueueSpec("work"))
        await transport.consume("work", inbox, prefetch=5)
        sent = Envelope("op", b"x", message_id="m", persistent=True, headers={"attempt": 2})
        for count in (1, 2):
            await transport.publish_confirmed(
                "retry.30", "work", sent, mandatory=True, timeout=PATIENCE
            )
            came = await inbox.next()
            assert (came.exchange, came.key, came.redelivered) == ("", "work", False)
            assert (came.envelope.op, came.envelope.body) == ("op", b"x")
            assert (came.envelope.message_id, came.envelope.headers["attempt"]) == ("m", 2)
            death = self._death(came.envelope)
            assert (death["reason"], death["queue"]) == ("expired", "retry.30")
            assert death["count"] in {1, count}  # RabbitMQ 4 takes no count from a publisher
            sent = came.envelope  # as somebody would do who only counts the attempt up

    async def test_a_ladder_leads_to_many_queues(self, transport: Transport) -> None:
        """In the order of their publishing; where the queue is gone, only its message is."""
        await _ladder(transport, "retry.60", ms=60)
        inboxes = {name: Inbox(ack=True) for name in ("a", "b.v2")}
        for name, inbox in inboxes.items():
            await transport.declare_queue(QueueSpec(name))
            await transport.consume(name, inbox, prefetch=5)
        for body, key in ((b"1", "a"), (b"2", "nobody"), (b"3", "b.v2"), (b"4", "a")):
            await transport.publish_confirmed(
                "retry.60", key, Envelope(body=body), mandatory=True, timeout=PATIENCE
            )
        assert await inboxes["b.v2"].take(1) == [b"3"]
        assert await inboxes["a"].take(2) == [b"1", b"4"]
        assert await ready(transport, "retry.60") == 0

    async def test_a_full_ladder_refuses(self, transport: Transport) -> None:
        """Whoever publishes is told, and has the message still."""
        await _ladder(transport, "retry.long", ms=60_000, length=1)
        await transport.declare_queue(QueueSpec("work"))
        publish = transport.publish_confirmed
        await publish("retry.long", "work", Envelope(body=b"1"), mandatory=True, timeout=PATIENCE)
        for mandatory in (True, False):
            with pytest.raises(Unavailable) as refused:
                await publish(
                    "retry.long", "work", Envelope(), mandatory=mandatory, timeout=PATIENCE
                )
            assert not isinstance(refused.value, Unroutable)
        assert await drain(transport, "retry.long") == [b"1"]

    async def test_control_passes_what_waits(self, transport: Transport) -> None:
        """On an exclusive queue of two priorities; what was delivered is not called back."""
        inbox = Inbox()
        arguments = {"x-max-priority": 1}
        spec = QueueSpec("own", durable=False, exclusive=True, arguments=arguments)
        await transport.declare_queue(spec)
        await transport.consume("own", inbox, prefetch=1)
        for body, priority in ((b"1", 0), (b"2", 0), (b"cancel", 1)):
            envelope = Envelope(body=body, priority=priority)
            await transport.publish_confirmed("", "own", envelope, timeout=PATIENCE)
        bodies = []
        for _ in range(3):
            delivery = await inbox.next()
            bodies.append(delivery.envelope.body)
            delivery.ack()
        assert bodies == [b"1", b"cancel", b"2"]

    @pytest.mark.parametrize(
        "arguments",
        [
            {"x-nobody-knows": 1},
            {"x-delivery-limit": 5},
            {"x-queue-type": "quorum", "x-max-priority": 1},
            {"x-queue-type": "quorum", "x-overflow": "reject-publish-dlx"},
        ],
        ids=str,
    )
    async def test_an_argument_that_would_do_nothing(
        self, transport: Transport, arguments: dict[str, Any]
    ) -> None:
        """Is an error that names it, whether the broker would say so or not."""
        with pytest.raises(ConfigurationError, match=list(arguments)[-1]):
            await transport.declare_queue(QueueSpec("q", arguments=arguments))
        assert await transport.queue_info("q") is None

    async def test_priorities(self, transport: Transport) -> None:
        """Higher ones first, each in its order; above the top counts as the top."""
        await transport.declare_queue(QueueSpec("q", arguments={"x-max-priority": 5}))
        for body, priority in ((b"a", 0), (b"b", 3), (b"c", 9), (b"d", 5), (b"e", 3)):
            envelope = Envelope(body=body, priority=priority)
            await transport.publish_confirmed("", "q", envelope, timeout=PATIENCE)
        assert await drain(transport, "q") == [b"c", b"d", b"b", b"e", b"a"]

    async def test_priority_means_nothing_elsewhere(self, transport: Transport) -> None:
        """On a queue that was not declared for it."""
        await transport.declare_queue(QueueSpec("q"))
        for body, priority in ((b"a", 0), (b"b", 9)):
            envelope = Envelope(body=body, priority=priority)
            await transport.publish_confirmed("", "q", envelope, timeout=PATIENCE)
        assert await drain(transport, "q") == [b"a", b"b"]

    async def test_a_single_active_consumer(self, transport: Transport) -> None:
        """The first gets all; when it goes, the next, by priority."""
        first, second = Inbox(ack=True), Inbox(ack=True)
        arguments = {"x-single-active-consumer": True}
        await transport.declare_queue(QueueSpec("q", arguments=arguments))
        consumer = await transport.consume("q", first, prefetch=1)
        await transport.consume("q", Inbox(), prefetch=1)
        await transport.consume("q", second, prefetch=1, priority=1)
        await send(transport, "q", b"1", b"2", b"3")
        assert await first.take(3) == [b"1", b"2", b"3"]
        await consumer.cancel()
        await send(transport, "q", b"4")
        assert await second.take(1) == [b"4"]

    @staticmethod
    def _death(envelope: Envelope) -> dict[str, Any]:
        deaths: list[dict[str, Any]] = envelope.headers["x-death"]
        return deaths[0]


async def _ladder(transport: Transport, name: str, *, ms: int, length: int = 100) -> None:
    """Make an exchange and a queue where messages wait until they go where their key says."""
    arguments = {
        "x-message-ttl": ms,
        "x-dead-letter-exchange": "",
        "x-max-length": length,
        "x-overflow": "reject-publish",
    }
    await transport.declare_exchange(ExchangeSpec(name))
    await transport.declare_queue(QueueSpec(name, arguments=arguments))
    await transport.bind(name, name, "#")
