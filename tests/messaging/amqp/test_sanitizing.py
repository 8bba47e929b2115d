"""Messages with properties that pamqp cannot read: they come like any other, on both paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.header import ContentHeader

from ion.base.errors import Unroutable
from ion.messaging.amqp import frames
from ion.messaging.amqp.properties import encode_properties
from ion.messaging.amqp.sanitizing import known_id, sanitized
from ion.messaging.envelope import Envelope
from ion.messaging.transport import QueueSpec
from tests.messaging.amqp.conftest import Make
from tests.messaging.amqp.inbox import Inbox, States

NO_TEXT = "\udcff"  # as one byte, 255, on the wire
UNREADABLE = {
    "type": Envelope(NO_TEXT, b"body"),
    "content type": Envelope("op", b"body", content_type=NO_TEXT),
    "message id": Envelope("op", b"", message_id=NO_TEXT * 255),
    "correlation id": Envelope("op", b"body", correlation_id=NO_TEXT, message_id="m"),
    "name of a header": Envelope("op", b"body", headers={NO_TEXT: 1, "a": "b"}),
    "timestamp": Envelope("op", b"body", timestamp=2**63),
}


def header_frame(raw: bytes, body_size: int = 0) -> bytes:
    flags = int.from_bytes(raw[:2], "big")
    size = frames.HEADER_FIXED + len(raw) - 2
    head = frames.CONTENT_HEADER.pack(frames.HEADER, 7, size, frames.BASIC, 0, body_size, flags)
    return head + raw[2:] + frames.END


def raw_of(envelope: Envelope) -> bytes:
    flags, properties = encode_properties(envelope)
    return flags.to_bytes(2, "big") + properties


def test_what_can_be_read_is_left_alone() -> None:
    frame = header_frame(raw_of(Envelope("op", headers={"a": 1, "b": ["c"]}, message_id="ü")), 9)
    assert sanitized(frame) is frame
    assert known_id("ü") == "ü"


@given(st.binary(min_size=2, max_size=80), st.integers(0, 2**40))
def test_whatever_stands_in_a_header_pamqp_reads_what_comes_of_it(raw: bytes, size: int) -> None:
    flags = int.from_bytes(raw[:2], "big") & 0xFFFE  # RabbitMQ sends one word of flags
    frame = sanitized(header_frame(flags.to_bytes(2, "big") + raw[2:], size))
    kind, channel, length = frames.BODY_HEAD.unpack_from(frame)
    assert (kind, channel, length) == (frames.HEADER, 7, len(frame) - frames.OVERHEAD)
    header = ContentHeader()
    header.unmarshal(frame[7:-1])
    assert (header.class_id, header.body_size) == (frames.BASIC, size)


@pytest.mark.amqp
async def test_they_are_delivered_and_the_connection_stays(make: Make) -> None:
    transport, inbox, states = make(), Inbox(), States()
    await transport.open()
    transport.on_state(states)
    await transport.declare_queue(QueueSpec("q"))
    await transport.declare_queue(QueueSpec("asked"))
    await transport.consume("q", inbox, prefetch=50)
    for envelope in UNREADABLE.values():
        for queue in ("q", "asked"):
            await transport.publish_confirmed("", queue, envelope, timeout=5)
    got = [delivery.envelope for delivery in await inbox.wait(len(UNREADABLE))]
    asked = [await transport.get("asked", no_ack=True) for _ in got]
    for name, sent, came, other in zip(UNREADABLE, UNREADABLE.values(), got, asked, strict=True):
        assert came.body == sent.body, name
        assert (came.message_id, came.correlation_id) == (sent.message_id, sent.correlation_id)
        assert came.timestamp == sent.timestamp
        assert other is not None
        assert raw_of(other.envelope) == raw_of(came)
    assert states.seen == []


@pytest.mark.amqp
@pytest.mark.parametrize("what", UNREADABLE)
async def test_one_that_comes_back_is_known(make: Make, what: str) -> None:
    transport = make()
    await transport.open()
    with pytest.raises(Unroutable):
        await transport.publish_confirmed("", "q", UNREADABLE[what], mandatory=True, timeout=5)
