"""The part of the transport contract about consumers, and about getting single messages."""

from __future__ import annotations

import asyncio

import pytest

from ion.base.errors import ServiceNotFound, Unavailable
from ion.messaging.transport import Delivery, QueueSpec, Transport
from ion.testing.contracts.bench import Bench, Inbox, drain, eventually, ready, send


class ConsumingContract(Bench):
    """Subscribe, take, cancel, get."""

    async def test_prefetch_bounds_the_unsettled(self, transport: Transport) -> None:
        """Each that is settled makes room for one."""
        inbox = Inbox()
        await transport.declare_queue(QueueSpec("q"))
        await send(transport, "q", b"1", b"2", b"3", b"4")
        await transport.consume("q", inbox, prefetch=2)
        first, second = await inbox.next(), await inbox.next()
        assert await ready(transport, "q") == 2
        second.ack()
        third = await inbox.next()
        assert await ready(transport, "q") == 1
        assert inbox.waiting == 0
        first.nack(requeue=False)
        third.ack()
        assert await inbox.take(1) == [b"4"]

    async def test_prefetch_is_for_each_consumer(self, transport: Transport) -> None:
        """Not for all of the transport."""
        inboxes = [Inbox(), Inbox()]
        for number, inbox in enumerate(inboxes):
            await transport.declare_queue(QueueSpec(f"q{number}"))
            await transport.consume(f"q{number}", inbox, prefetch=number + 1)
            await send(transport, f"q{number}", b"1", b"2", b"3")
        assert await inboxes[0].take(1) == [b"1"]
        assert await inboxes[1].take(2) == [b"1", b"2"]
        assert await ready(transport, "q0") == 2
        assert await ready(transport, "q1") == 1

    async def test_no_ack(self, transport: Transport) -> None:
        """What is delivered is settled already, and prefetch has no meaning."""
        inbox = Inbox()
        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", inbox, prefetch=1, no_ack=True)
        await send(transport, "q", b"1", b"2", b"3")
        came = [await inbox.next() for _ in range(3)]
        assert all(delivery.settled for delivery in came)
        for delivery in came:
            delivery.nack(requeue=True)
        assert await ready(transport, "q") == 0

    async def test_consumers_share_a_queue(self, transport: Transport, other: Transport) -> None:
        """Each message goes to one of them, and both get some."""
        inboxes = [Inbox(), Inbox()]
        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", inboxes[0], prefetch=5)
        await other.consume("q", inboxes[1], prefetch=5)
        await send(transport, "q", *[str(number).encode() for number in range(10)])
        bodies = [await inbox.take(5) for inbox in inboxes]
        assert sorted(bodies[0] + bodies[1]) == [str(number).encode() for number in range(10)]

    async def test_a_consumer_with_priority_is_served_first(self, transport: Transport) -> None:
        """The others get what it has no room for."""
        low, high = Inbox(), Inbox()
        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", low, prefetch=5)
        await transport.consume("q", high, prefetch=2, priority=7)
        await send(transport, "q", b"1", b"2", b"3")
        assert await high.take(2) == [b"1", b"2"]
        assert await low.take(1) == [b"3"]

    async def test_an_exclusive_consumer_is_alone(
        self, transport: Transport, other: Transport
    ) -> None:
        """Nobody else may consume; it is refused where somebody does."""
        await transport.declare_queue(QueueSpec("q"))
        alone = await transport.consume("q", Inbox(), prefetch=1, exclusive=True)
        with pytest.raises(Unavailable):
            await other.consume("q", Inbox(), prefetch=1)
        await alone.cancel()
        await other.consume("q", Inbox(), prefetch=1)
        with pytest.raises(Unavailable):
            await transport.consume("q", Inbox(), prefetch=1, exclusive=True)

    async def test_a_queue_that_is_not_there(self, transport: Transport) -> None:
        """Is an error, and other consumers go on."""
        inbox = Inbox(ack=True)
        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", inbox, prefetch=1)
        with pytest.raises(ServiceNotFound):
            await transport.consume("nowhere", Inbox(), prefetch=1)
        with pytest.raises(ServiceNotFound):
            await transport.get("nowhere")
        assert await transport.queue_info("nowhere") is None
        await send(transport, "q", b"x")
        assert await inbox.take(1) == [b"x"]

    async def test_cancel(self, transport: Transport) -> None:
        """Nothing more comes; what was handed out can be settled; twice is no error."""
        inbox = Inbox()
        await transport.declare_queue(QueueSpec("q"))
        consumer = await transport.consume("q", inbox, prefetch=10)
        assert consumer.queue == "q"
        await send(transport, "q", b"1", b"2")
        first, second = await inbox.next(), await inbox.next()
        await consumer.cancel()
        await consumer.cancel()
        await send(transport, "q", b"3")
        first.ack()
        second.nack(requeue=True)

        async def back() -> bool:
            return await ready(transport, "q") == 2

        await eventually(back, "the message is back")
        assert inbox.waiting == 0
        assert await drain(transport, "q") == [b"2", b"3"]

    async def test_what_is_given_back_comes_first(
        self, transport: Transport, other: Transport
    ) -> None:
        """The next consumer begins where this one ended; what was settled is settled."""
        first, second = Inbox(), Inbox(ack=True)
        arguments = {"x-single-active-consumer": True}
        await transport.declare_queue(QueueSpec("q", arguments=arguments))
        consumer = await transport.consume("q", first, prefetch=3)
        await other.consume("q", second, prefetch=10)
        await send(transport, "q", b"1", b"2", b"3", b"4", b"5")
        done, *held = [await first.next() for _ in range(3)]
        done.ack()
        assert (await first.next()).envelope.body == b"4"
        await consumer.give_back()
        await consumer.give_back()
        assert await second.take(4) == [b"2", b"3", b"4", b"5"]
        assert all(delivery.lost for delivery in held)
        held[0].ack()  # does nothing

    async def test_a_consumer_that_raises_does_not_matter(self, transport: Transport) -> None:
        """What it raises is logged; it still holds the message, and gets the next."""
        inbox = Inbox()

        def broken(delivery: Delivery) -> None:
            inbox(delivery)
            message = "broken consumer"
            raise RuntimeError(message)

        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", broken, prefetch=2)
        await send(transport, "q", b"1", b"2", b"3")
        (await inbox.next()).ack()
        assert await inbox.take(2) == [b"2", b"3"]

    async def test_publishing_from_a_consumer(self, transport: Transport) -> None:
        """A long chain of messages, each published by the consumer of the one before."""
        done = Inbox()

        def relay(delivery: Delivery) -> None:
            delivery.ack()
            left = int(delivery.envelope.body) - 1
            envelope = delivery.envelope.replace(body=str(left).encode())
            transport.publish("", "q" if left else "done", envelope)

        await transport.declare_queue(QueueSpec("q"))
        await transport.declare_queue(QueueSpec("done"))
        await transport.consume("q", relay, prefetch=5)
        await transport.consume("done", done, prefetch=5)
        await send(transport, "q", b"1200")  # more than Python has frames
        assert await done.take(1) == [b"0"]

    async def test_get(self, transport: Transport) -> None:
        """One message, now; None where there is none. It is held until it is settled."""
        await transport.declare_queue(QueueSpec("q"))
        assert await transport.get("q") is None
        await send(transport, "q", b"1", b"2")
        held = await transport.get("q")
        assert held is not None
        assert (held.envelope.body, held.redelivered, held.settled) == (b"1", False, False)
        taken = await transport.get("q", no_ack=True)
        assert taken is not None
        assert taken.settled
        assert await transport.get("q") is None
        held.nack(requeue=True)

        async def back() -> bool:
            return await ready(transport, "q") == 1

        await eventually(back, "the message is back")
        again = await transport.get("q")
        assert again is not None
        assert (again.envelope.body, again.redelivered) == (b"1", True)
        again.ack()

    async def test_a_get_that_fails_disturbs_no_other(
        self, transport: Transport, other: Transport
    ) -> None:
        """What was got before is still held, and can be settled."""
        spec = QueueSpec("locked", durable=False, exclusive=True)
        await other.declare_queue(spec)
        await transport.declare_queue(QueueSpec("q"))
        await send(transport, "q", b"1", b"2", b"3")
        taken = await transport.get("q", no_ack=True)
        held, second = await transport.get("q"), await transport.get("q")
        assert taken is not None
        assert held is not None
        assert second is not None
        second.ack()
        with pytest.raises(ServiceNotFound):
            await transport.get("nowhere")
        with pytest.raises(Unavailable):
            await transport.get("locked")
        assert not held.lost
        held.ack()
        await transport.delete_queue("q")
        await transport.declare_queue(QueueSpec("q"))
        assert await transport.get("q") is None

    async def test_a_cancelled_get_gives_back(self, transport: Transport) -> None:
        """Its message, if there was one, and takes nobody else's answer."""
        for queue in ("q", "w"):
            await transport.declare_queue(QueueSpec(queue))
            await send(transport, queue, queue.encode())
        given_up = asyncio.ensure_future(transport.get("q"))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        other = await transport.get("w")
        assert other is not None
        assert other.envelope.body == b"w"
        other.ack()
        if not given_up.cancelled() and (delivery := given_up.result()):
            delivery.nack(requeue=True)

        async def back() -> bool:
            return await ready(transport, "q") == 1

        await eventually(back, "the message is back")

    async def test_a_consumer_knows_whether_it_runs(
        self, transport: Transport, other: Transport
    ) -> None:
        """Until it is cancelled, or its queue, which is not its own to make, is deleted."""
        await other.declare_queue(QueueSpec("q"))
        await other.declare_queue(QueueSpec("w"))
        first = await transport.consume("q", Inbox(), prefetch=1)
        second = await transport.consume("w", Inbox(), prefetch=1)
        assert (first.is_running, second.is_running) == (True, True)
        await first.cancel()
        await other.delete_queue("w")

        async def over() -> bool:
            return not (first.is_running or second.is_running)

        await eventually(over, "neither runs")
        await second.cancel()

    async def test_a_queue_deleted_under_its_consumer(
        self, transport: Transport, other: Transport
    ) -> None:
        """Does not disturb: what it held can be settled, to no effect; cancelling is no error."""
        inbox, elsewhere = Inbox(), Inbox(ack=True)
        await transport.declare_queue(QueueSpec("q", durable=False))
        await transport.declare_queue(QueueSpec("w"))
        consumer = await transport.consume("q", inbox, prefetch=2)
        await transport.consume("w", elsewhere, prefetch=2)
        await send(transport, "q", b"1")
        held = await inbox.next()
        await other.delete_queue("q")
        held.nack(requeue=True)
        await consumer.cancel()
        await send(transport, "w", b"x")
        assert await elsewhere.take(1) == [b"x"]
