"""The part of the transport contract about settling: ack, put back, dead letters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery, ExchangeSpec, QueueSpec, Transport
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


class SettlingContract(Bench):
    """What becomes of a message that a consumer was given."""

    async def test_ack_takes_it_off(self, transport: Transport, other: Transport) -> None:
        """For good: it does not come back when the consumer goes."""
        inbox = Inbox()
        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", inbox, prefetch=10)
        await send(transport, "q", b"1", b"2", b"3")
        first, second, third = [await inbox.next() for _ in range(3)]
        assert not first.settled
        third.ack()
        first.ack()
        assert first.settled
        second.nack(requeue=True)
        assert await inbox.take(1) == [b"2"]
        await transport.close()

        async def back() -> bool:
            return await ready(other, "q") == 1

        await eventually(back, "only the one is back")
        assert await drain(other, "q") == [b"2"]

    async def test_settling_twice_does_nothing(self, transport: Transport) -> None:
        """The first time counts."""
        inbox = Inbox()
        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", inbox, prefetch=1)
        await send(transport, "q", b"1", b"2")
        first = await inbox.next()
        first.ack()
        first.ack()
        first.nack(requeue=True)
        second = await inbox.next()
        assert second.envelope.body == b"2"
        assert inbox.waiting == 0
        second.nack(requeue=True)
        again = await inbox.next()
        second.ack()  # of a message that is another delivery's now
        again.nack(requeue=True)
        assert (await inbox.next()).envelope.body == b"2"

    async def test_put_back_keeps_the_place(self, transport: Transport) -> None:
        """A message that is put back comes before those behind it, marked as redelivered."""
        await transport.declare_queue(QueueSpec("q"))
        await send(transport, "q", b"1", b"2", b"3")
        held = [await transport.get("q") for _ in range(2)]
        for delivery in held:
            assert delivery is not None
            assert not delivery.redelivered
            delivery.nack(requeue=True)

        async def back() -> bool:
            return await ready(transport, "q") == 3

        await eventually(back, "all are back")
        again = [await transport.get("q", no_ack=True) for _ in range(3)]
        assert [(d.envelope.body, d.redelivered) for d in again if d] == [
            (b"1", True),
            (b"2", True),
            (b"3", False),
        ]

    async def test_a_consumer_that_puts_all_back_lets_others_live(
        self, transport: Transport
    ) -> None:
        """It gets them again and again, and the event loop goes on."""
        times = Inbox()

        def again(delivery: Delivery) -> None:
            if times.waiting < 50:
                times(delivery)
                delivery.nack(requeue=True)
            else:
                delivery.ack()

        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", again, prefetch=1)
        await send(transport, "q", b"1")

        async def often() -> bool:
            return times.waiting == 50

        await eventually(often, "50 deliveries")

    async def test_a_message_nobody_wants_is_dropped(self, transport: Transport) -> None:
        """Where its queue has no dead-letter exchange."""
        inbox = Inbox()
        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", inbox, prefetch=1)
        await send(transport, "q", b"1", b"2")
        (await inbox.next()).nack(requeue=False)
        assert await inbox.take(1) == [b"2"]
        assert await ready(transport, "q") == 0

    async def test_a_dead_letter(self, transport: Transport) -> None:
        """Goes to the exchange with the queue's key, and tells where it came from."""
        dead, inbox = Inbox(ack=True), Inbox()
        await transport.declare_exchange(ExchangeSpec("x"))
        await transport.declare_exchange(ExchangeSpec("dlx"))
        arguments = {"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "lost"}
        await transport.declare_queue(QueueSpec("q", arguments=arguments))
        await transport.declare_queue(QueueSpec("dead"))
        await transport.bind("q", "x", "k.#")
        await transport.bind("dead", "dlx", "lost")
        await transport.consume("q", inbox, prefetch=1)
        await transport.consume("dead", dead, prefetch=1)
        before = int(datetime.now(UTC).timestamp())
        envelope = Envelope("op", b"x", headers={"mine": "kept"})
        await transport.publish_confirmed("x", "k.1", envelope, timeout=PATIENCE)
        (await inbox.next()).nack(requeue=False)
        letter = await dead.next()
        assert (letter.exchange, letter.key, letter.redelivered) == ("dlx", "lost", False)
        assert (letter.envelope.op, letter.envelope.body) == ("op", b"x")
        headers = dict(letter.envelope.headers)
        for word in ("exchange", "queue", "reason"):
            headers.pop(f"x-last-death-{word}", None)  # from RabbitMQ 3.13 on
        (death,) = headers.pop("x-death")
        time = death.pop("time")
        assert before <= time.timestamp() <= before + PATIENCE
        assert dict(death) == {
            "count": 1,
            "reason": "rejected",
            "queue": "q",
            "exchange": "x",
            "routing-keys": ["k.1"],
        }
        assert headers == {
            "mine": "kept",
            "x-first-death-reason": "rejected",
            "x-first-death-queue": "q",
            "x-first-death-exchange": "x",
        }
        assert dict(envelope.headers) == {"mine": "kept"}

    async def test_a_dead_letter_keeps_its_key(self, transport: Transport) -> None:
        """Where its queue names no other."""
        await transport.declare_exchange(ExchangeSpec("dlx"))
        await transport.declare_queue(QueueSpec("q", arguments={"x-dead-letter-exchange": "dlx"}))
        await transport.declare_queue(QueueSpec("dead"))
        await transport.bind("dead", "dlx", "q")
        dead = Inbox(ack=True)
        await transport.consume("dead", dead, prefetch=1)
        await send(transport, "q", b"x")
        held = await transport.get("q")
        assert held is not None
        held.nack(requeue=False)
        assert (await dead.next()).key == "q"

    async def test_deaths_are_counted(self, transport: Transport) -> None:
        """One entry for each queue and reason, the latest first."""
        back_to_q = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
        await transport.declare_queue(QueueSpec("retry", arguments=back_to_q))
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "retry"}
        await transport.declare_queue(QueueSpec("q", arguments=arguments))
        inboxes = {"q": Inbox(), "retry": Inbox()}
        for queue, inbox in inboxes.items():
            await transport.consume(queue, inbox, prefetch=1)
        await send(transport, "q", b"x")
        for queue in ("q", "retry", "q"):
            (await inboxes[queue].next()).nack(requeue=False)
        last: Any = (await inboxes["retry"].next()).envelope.headers
        counts = [(d["queue"], d["reason"], d["count"]) for d in last["x-death"]]
        assert counts == [("q", "rejected", 2), ("retry", "rejected", 1)]
        assert last["x-first-death-queue"] == "q"

    @pytest.mark.parametrize("exchange", ["nowhere", "dlx"])
    async def test_a_dead_letter_without_a_way(self, transport: Transport, exchange: str) -> None:
        """Is dropped: no such exchange, or nothing bound to it."""
        await transport.declare_exchange(ExchangeSpec("dlx"))
        arguments = {"x-dead-letter-exchange": exchange}
        await transport.declare_queue(QueueSpec("q", arguments=arguments))
        inbox = Inbox()
        await transport.consume("q", inbox, prefetch=1)
        await send(transport, "q", b"1", b"2")
        (await inbox.next()).nack(requeue=False)
        assert await inbox.take(1) == [b"2"]

    async def test_dead_letters_do_not_go_round(self, transport: Transport) -> None:
        """A message that expires round in a circle is dropped."""
        ttl = {"x-message-ttl": 20}
        await transport.declare_queue(
            QueueSpec(
                "a",
                arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "b", **ttl},
            )
        )
        await transport.declare_queue(
            QueueSpec(
                "b",
                arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "a", **ttl},
            )
        )
        await send(transport, "a", b"x")

        async def gone() -> bool:
            return not await ready(transport, "a") and not await ready(transport, "b")

        await eventually(gone, "the message is dropped")

    async def test_a_rejected_letter_may_come_by_again(self, transport: Transport) -> None:
        """A circle with a rejection in it is somebody's wish."""
        arguments = await dead_letter_queue(transport, "wait")
        await transport.declare_queue(QueueSpec("q", arguments=arguments))
        await transport.delete_queue("wait")
        await transport.declare_queue(
            QueueSpec(
                "wait",
                arguments={
                    "x-message-ttl": 20,
                    "x-dead-letter-exchange": "",
                    "x-dead-letter-routing-key": "q",
                },
            )
        )
        inbox = Inbox()
        await transport.consume("q", inbox, prefetch=1)
        await send(transport, "q", b"x")
        for _ in range(3):
            (await inbox.next()).nack(requeue=False)
        last: Any = (await inbox.next()).envelope.headers
        assert {(d["queue"], d["reason"], d["count"]) for d in last["x-death"]} == {
            ("q", "rejected", 3),
            ("wait", "expired", 3),
        }
