"""The part of the transport contract about coming and going."""

from __future__ import annotations

import pytest

from ion.base.errors import Unavailable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec, Transport, TransportState
from ion.testing.contracts.bench import (
    PATIENCE,
    Bench,
    Inbox,
    NewTransport,
    Outcome,
    eventually,
    ready,
    send,
)


class SessionContract(Bench):
    """Open, close, states."""

    async def test_the_state_follows_open_and_close(self, new_transport: NewTransport) -> None:
        """CLOSED, CONNECTED, CLOSED; each told once to who asked before."""
        transport = new_transport()
        seen: list[TransportState] = [transport.state]
        told: list[TransportState] = []
        transport.on_state(told.append)
        assert told == []
        await transport.open()
        seen.append(transport.state)
        await transport.close()
        seen.append(transport.state)
        assert seen == [TransportState.CLOSED, TransportState.CONNECTED, TransportState.CLOSED]
        assert told == seen[1:]

    async def test_a_state_callback_that_raises_does_not_matter(
        self, new_transport: NewTransport
    ) -> None:
        """What it raises is logged; the others are called."""
        transport = new_transport()
        states: list[TransportState] = []

        def broken(_: TransportState) -> None:
            message = "broken callback"
            raise RuntimeError(message)

        transport.on_state(broken)
        transport.on_state(states.append)
        await transport.open()
        await transport.close()
        assert states == [TransportState.CONNECTED, TransportState.CLOSED]

    async def test_close_may_be_called_twice(self, new_transport: NewTransport) -> None:
        """The second time nothing happens; nor where it was never opened."""
        transport = new_transport()
        await transport.close()
        await transport.open()
        await transport.close()
        await transport.close()

    async def test_what_was_not_settled_when_it_closed_is_lost(
        self, new_transport: NewTransport, other: Transport
    ) -> None:
        """It says so, and somebody else gets the message; what was settled comes no more."""
        inbox, elsewhere = Inbox(), Inbox(ack=True)
        await other.declare_queue(QueueSpec("q"))
        transport = new_transport()
        await transport.open()
        consumer = await transport.consume("q", inbox, prefetch=5)
        await send(transport, "q", b"held", b"settled")
        held, settled = await inbox.next(), await inbox.next()
        await consumer.cancel()
        await send(transport, "q", b"got", b"taken")
        got = await transport.get("q")
        taken = await transport.get("q", no_ack=True)
        assert got is not None
        assert taken is not None
        settled.ack()
        assert not any(delivery.lost for delivery in (held, settled, got, taken))
        await transport.close()
        assert (held.lost, got.lost, taken.lost) == (True, True, False)
        held.ack()
        got.nack(requeue=False)
        await other.consume("q", elsewhere, prefetch=5)
        again = [await elsewhere.next(), await elsewhere.next()]
        assert sorted(delivery.envelope.body for delivery in again) == [b"got", b"held"]
        assert all(delivery.redelivered and not delivery.lost for delivery in again)
        assert await ready(other, "q") == 0

    async def test_a_drained_consumer_has_lost_nothing(
        self, transport: Transport, other: Transport
    ) -> None:
        """What was settled after it was cancelled is settled."""
        inbox = Inbox()
        await transport.declare_queue(QueueSpec("q"))
        consumer = await transport.consume("q", inbox, prefetch=5)
        await send(other, "q", b"1", b"2")
        first, second = await inbox.next(), await inbox.next()
        await consumer.cancel()
        first.ack()
        second.nack(requeue=True)

        async def back() -> bool:
            return await ready(other, "q") == 1

        await eventually(back, "the message is back")
        assert (first.lost, second.lost) == (False, False)

    async def test_wait_connected_returns_where_it_is(self, transport: Transport) -> None:
        """At once."""
        await transport.wait_connected(PATIENCE)

    async def test_wait_connected_raises_after_its_timeout(
        self, new_transport: NewTransport
    ) -> None:
        """Unavailable, where nobody opens it."""
        with pytest.raises(Unavailable):
            await new_transport().wait_connected(0.05)

    async def test_nothing_goes_without_a_connection(self, new_transport: NewTransport) -> None:
        """A publish raises, before and after."""
        transport = new_transport()
        with pytest.raises(Unavailable):
            transport.publish("", "q", Envelope())
        await transport.open()
        await transport.close()
        with pytest.raises(Unavailable):
            transport.publish("", "q", Envelope())
        assert not transport.writable
        with pytest.raises(Unavailable):
            await transport.wait_writable(0.05)

    async def test_close_flushes(self, new_transport: NewTransport, other: Transport) -> None:
        """What was published just before is not lost, and its outcome is told."""
        await other.declare_queue(QueueSpec("q"))
        transport = new_transport()
        await transport.open()
        outcomes = [Outcome() for _ in range(100)]
        for outcome in outcomes:
            transport.publish("", "q", Envelope(), settled=outcome)
        await transport.close()
        assert [await outcome.wait() for outcome in outcomes] == [None] * 100
        info = await other.queue_info("q")
        assert info is not None
        assert info.messages == 100

    async def test_close_puts_unsettled_messages_back(
        self, new_transport: NewTransport, other: Transport
    ) -> None:
        """They are delivered again, marked, in their order; settling the old ones does nothing."""
        leaver, inbox, later = new_transport(), Inbox(), Inbox()
        await leaver.open()
        await leaver.declare_queue(QueueSpec("q"))
        await leaver.consume("q", inbox, prefetch=10)
        await send(leaver, "q", b"1", b"2", b"3")
        held = [await inbox.next() for _ in range(3)]
        held[1].ack()
        await eventually_held(other, 0)
        await leaver.close()
        held[0].ack()
        held[2].nack(requeue=False)
        await other.consume("q", later, prefetch=10)
        again = [await later.next(), await later.next()]
        assert [(d.envelope.body, d.redelivered) for d in again] == [(b"1", True), (b"3", True)]

    async def test_close_takes_exclusive_queues_along(
        self, new_transport: NewTransport, other: Transport
    ) -> None:
        """They belong to their connection."""
        leaver = new_transport()
        await leaver.open()
        await leaver.declare_queue(QueueSpec("mine", durable=False, exclusive=True))
        await leaver.close()

        async def gone() -> bool:
            try:
                return await other.queue_info("mine") is None
            except Unavailable:
                return False  # the broker has not noticed yet

        await eventually(gone, "the exclusive queue is deleted")

    async def test_close_cancels_consumers(
        self, new_transport: NewTransport, other: Transport
    ) -> None:
        """Nothing is delivered to a closed transport."""
        leaver = new_transport()
        await leaver.open()
        await leaver.declare_queue(QueueSpec("q"))
        inbox = Inbox()
        await leaver.consume("q", inbox, prefetch=10)
        await leaver.close()

        async def nobody() -> bool:
            info = await other.queue_info("q")
            return info is not None and info.consumers == 0

        await eventually(nobody, "the consumer is gone")
        await send(other, "q", b"x")
        assert inbox.waiting == 0


async def eventually_held(transport: Transport, count: int) -> None:
    """Wait until ``count`` messages are ready in queue ``q``."""

    async def as_many() -> bool:
        info = await transport.queue_info("q")
        return info is not None and info.messages == count

    await eventually(as_many, f"{count} messages ready")
