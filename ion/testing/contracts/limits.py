"""The part of the transport contract about a queue's arguments: time, length, priority."""

from __future__ import annotations

from typing import Any

import pytest

from ion.base.errors import Unavailable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec, Transport
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
