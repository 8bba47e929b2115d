"""The part of the transport contract about publishing."""

from __future__ import annotations

from typing import Any

import pytest

from ion.base.errors import Unavailable, Unroutable
from ion.messaging.envelope import JSON, Envelope
from ion.messaging.transport import ExchangeSpec, QueueSpec, Transport
from ion.testing.contracts.bench import PATIENCE, Bench, Inbox, Outcome, drain, send

HEADERS: dict[str, Any] = {
    "text": "Grüße",
    "empty": "",
    "yes": True,
    "no": False,
    "small": -5,
    "large": 2**40,
    "ratio": 0.25,
    "nothing": None,
    "bytes": b"\x00\xff",
    "list": [1, "two", [3], {"four": 4}],
    "map": {"a": {"b": {"c": "d"}}},
}
REJECTING = {"x-max-length": 1, "x-overflow": "reject-publish"}


class PublishingContract(Bench):
    """What arrives, and what the publisher is told."""

    async def test_a_message_arrives_as_it_was(self, transport: Transport) -> None:
        """All properties, headers of all types, and where it was sent to."""
        sent = Envelope(
            "op",
            b"\x00body",
            content_type=JSON,
            reply_to="answers",
            correlation_id="c1",
            message_id="m1",
            timestamp=1_700_000_000,
            persistent=True,
            expiration=60_000,
            priority=3,
            headers=HEADERS,
        )
        inbox = Inbox(ack=True)
        await transport.declare_exchange(ExchangeSpec("x"))
        await transport.declare_queue(QueueSpec("q"))
        await transport.bind("q", "x", "a.#")
        await transport.consume("q", inbox, prefetch=1)
        transport.publish("x", "a.b", sent)
        came = await inbox.next()
        for field in Envelope.__struct_fields__:
            if field != "headers":
                assert getattr(came.envelope, field) == getattr(sent, field), field
        assert dict(came.envelope.headers) == HEADERS
        assert (came.exchange, came.key, came.redelivered) == ("x", "a.b", False)

    async def test_an_empty_message_is_a_message(self, transport: Transport) -> None:
        """No body, no headers, no properties but those with a default."""
        await transport.declare_queue(QueueSpec("q"))
        await transport.publish_confirmed("", "q", Envelope(), timeout=PATIENCE)
        came = await transport.get("q", no_ack=True)
        assert came is not None
        assert came.envelope.body == b""
        assert dict(came.envelope.headers) == {}
        assert came.envelope.expiration is None
        assert came.envelope.reply_to == ""

    @pytest.mark.parametrize("size", [4096, 131_072, 1_000_000])
    async def test_bodies_of_any_size(self, transport: Transport, size: int) -> None:
        """Arrive whole, and in order, whatever the size of a frame is."""
        bodies = [bytes([i]) * (size + i) for i in range(1, 4)]
        inbox = Inbox(ack=True)
        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", inbox, prefetch=10)
        for body in bodies:
            await transport.wait_writable(PATIENCE)
            transport.publish("", "q", Envelope(body=body))
        assert await inbox.take(3) == bodies

    async def test_order_is_kept(self, transport: Transport) -> None:
        """From one publisher to one consumer."""
        inbox = Inbox(ack=True)
        await transport.declare_queue(QueueSpec("q"))
        await transport.consume("q", inbox, prefetch=50)
        bodies = [str(number).encode() for number in range(1000)]
        for body in bodies:
            transport.publish("", "q", Envelope(body=body))
        assert await inbox.take(1000) == bodies

    async def test_taken(self, transport: Transport) -> None:
        """``settled`` is called with None, once; without a route too, where nobody minds."""
        await transport.declare_queue(QueueSpec("q"))
        taken, ignored = Outcome(), Outcome()
        transport.publish("", "q", Envelope(), mandatory=True, settled=taken)
        transport.publish("", "nowhere", Envelope(), settled=ignored)
        assert await taken.wait() is None
        assert await ignored.wait() is None
        await transport.publish_confirmed("", "nowhere", Envelope(), timeout=PATIENCE)
        assert (taken.all, ignored.all) == ([None], [None])

    async def test_unroutable(self, transport: Transport) -> None:
        """A mandatory message without a route is told, and only that one."""
        await transport.declare_exchange(ExchangeSpec("x"))
        await transport.declare_queue(QueueSpec("q"))
        outcomes = []
        for exchange, key in (("", "q"), ("x", "nobody"), ("", "nowhere"), ("", "q")):
            outcome = Outcome()
            transport.publish(exchange, key, Envelope(), mandatory=True, settled=outcome)
            outcomes.append(outcome)
        kinds = [type(await outcome.wait()) for outcome in outcomes]
        assert kinds == [type(None), Unroutable, Unroutable, type(None)]
        assert all(len(outcome.all) == 1 for outcome in outcomes)
        with pytest.raises(Unroutable):
            await transport.publish_confirmed(
                "x", "nobody", Envelope(), mandatory=True, timeout=PATIENCE
            )
        assert len(await drain(transport, "q")) == 2

    async def test_refused(self, transport: Transport) -> None:
        """A full queue that rejects is Unavailable, and the others still get their copy."""
        await transport.declare_exchange(ExchangeSpec("x", "fanout"))
        await transport.declare_queue(QueueSpec("full", arguments=REJECTING))
        await transport.declare_queue(QueueSpec("free"))
        for queue in ("full", "free"):
            await transport.bind(queue, "x", "")
        await send(transport, "full", b"1")
        refused = Outcome()
        transport.publish("x", "", Envelope(body=b"2"), settled=refused)
        error = await refused.wait()
        assert type(error) is Unavailable
        with pytest.raises(Unavailable):
            await send(transport, "full", b"3")
        assert await drain(transport, "full") == [b"1"]
        assert await drain(transport, "free") == [b"2"]

    async def test_an_exchange_that_is_not_there(self, transport: Transport) -> None:
        """Is Unavailable, and what comes after goes on."""
        await transport.declare_queue(QueueSpec("q"))
        outcome = Outcome()
        transport.publish("nowhere", "k", Envelope(), settled=outcome)
        assert type(await outcome.wait()) is Unavailable
        with pytest.raises(Unavailable):
            await transport.publish_confirmed("nowhere", "k", Envelope(), timeout=PATIENCE)
        await send(transport, "q", b"x")
        assert await drain(transport, "q") == [b"x"]

    async def test_an_exchange_that_somebody_deleted(
        self, transport: Transport, other: Transport
    ) -> None:
        """Is made again with its bindings as soon as a publish finds it missing."""
        inbox = Inbox(ack=True)
        await transport.declare_exchange(ExchangeSpec("x"))
        for name in ("q", "w"):
            await transport.declare_queue(QueueSpec(name))
            await transport.bind(name, "x", f"{name}.#")
            await transport.consume(name, inbox, prefetch=5)
        await other.delete_exchange("x")
        with pytest.raises(Unavailable) as missing:
            await transport.publish_confirmed("x", "q.1", Envelope(body=b"1"), timeout=PATIENCE)
        assert not isinstance(missing.value, Unroutable)
        for key in ("q.2", "w.3"):
            await transport.publish_confirmed(
                "x", key, Envelope(body=key.encode()), mandatory=True, timeout=PATIENCE
            )
        assert await inbox.take(2) == [b"q.2", b"w.3"]
        await transport.delete_exchange("x")
        for _ in range(2):
            with pytest.raises(Unavailable):
                await transport.publish_confirmed("x", "q.4", Envelope(), timeout=PATIENCE)

    async def test_a_callback_that_raises_does_not_matter(self, transport: Transport) -> None:
        """What it raises is logged, not raised at the publisher, and the next is called."""

        def broken(_: object) -> None:
            message = "broken callback"
            raise RuntimeError(message)

        await transport.declare_queue(QueueSpec("q"))
        outcome = Outcome()
        transport.publish("", "q", Envelope(), settled=broken)
        transport.publish("", "q", Envelope(), settled=outcome)
        assert await outcome.wait() is None

    async def test_many_outcomes(self, transport: Transport) -> None:
        """Each is told once, whatever happens to its neighbours."""
        await transport.declare_queue(QueueSpec("q"))
        outcomes = [Outcome() for _ in range(500)]
        for number, outcome in enumerate(outcomes):
            key = "q" if number % 7 else "nowhere"
            transport.publish("", key, Envelope(), mandatory=True, settled=outcome)
        told = [await outcome.wait() for outcome in outcomes]
        assert [isinstance(error, Unroutable) for error in told] == [
            number % 7 == 0 for number in range(500)
        ]
        await send(transport, "q", b"last")
        assert all(len(outcome.all) == 1 for outcome in outcomes)

    async def test_writable(self, transport: Transport) -> None:
        """An idle transport is, and waiting for it returns."""
        assert transport.writable
        await transport.wait_writable(PATIENCE)
