"""The parser: the same messages whatever the chunks, and everything else handed on whole."""

from __future__ import annotations

import itertools

import pamqp.frame
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pamqp import body as pamqp_body
from pamqp import commands, header, heartbeat

from ion.messaging.amqp import frames
from ion.messaging.amqp.inbound import Inbound
from ion.messaging.amqp.properties import decode_envelope

MINE, OTHER = 3, 9


class Recorder:
    """A diverted channel and a connection's events, written down."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def on_content(self, method: int, arguments: bytes, header: bytes, body: bytes) -> None:
        op = decode_envelope(header, body).op
        self.seen.append(("content", method, arguments, op, body))

    def on_confirm(self, tag: int, *, multiple: bool, taken: bool) -> None:
        self.seen.append(("confirm", tag, multiple, taken))

    def on_get_empty(self) -> None:
        self.seen.append(("empty",))

    def on_closed(self, code: int, text: str) -> None:
        self.seen.append(("closed", code, text))

    def on_connection_close(self, code: int, text: str) -> None:
        self.seen.append(("connection", code, text))

    def on_blocked(self, reason: str) -> None:
        self.seen.append(("blocked", reason))

    def on_unblocked(self) -> None:
        self.seen.append(("unblocked",))

    def on_garbage(self, message: str) -> None:
        self.seen.append(("garbage",))


def marshal(frame: object, channel: int) -> bytes:
    return pamqp.frame.marshal(frame, channel)  # type: ignore[arg-type]


def message(body: bytes, *, frame_max: int = 131072, channel: int = MINE, tag: int = 1) -> bytes:
    deliver = commands.Basic.Deliver("tag", tag, False, "x", "a.b")
    properties = commands.Basic.Properties(message_type="op")
    parts = [marshal(deliver, channel)]
    parts.append(marshal(header.ContentHeader(0, len(body), properties), channel))
    limit = frame_max - 8
    pieces = [body[i : i + limit] for i in range(0, len(body), limit)]
    parts += [marshal(pamqp_body.ContentBody(piece), channel) for piece in pieces]
    return b"".join(parts)


def parse_views(chunks: list[bytes]) -> tuple[list[tuple[object, ...]], bytes]:
    """Parse chunks that all came in one buffer, one after the other."""
    recorder, rest = Recorder(), bytearray()
    inbound = Inbound(rest.extend, recorder)
    inbound.channels[MINE] = recorder
    buffer = bytearray(max(map(len, chunks), default=0))
    for chunk in chunks:
        buffer[: len(chunk)] = chunk
        inbound.feed(memoryview(buffer)[: len(chunk)])
    buffer[:] = bytes(len(buffer))
    return recorder.seen, bytes(rest)


def parse(chunks: list[bytes]) -> tuple[list[tuple[object, ...]], bytes]:
    recorder, rest = Recorder(), bytearray()
    inbound = Inbound(rest.extend, recorder)
    inbound.channels[MINE] = recorder
    for chunk in chunks:
        inbound.feed(chunk)
    return recorder.seen, bytes(rest)


STREAM = b"".join(
    [
        message(b"one"),
        marshal(heartbeat.Heartbeat(), 0),
        message(b""),
        marshal(commands.Basic.Ack(7, True), MINE),
        marshal(commands.Basic.Nack(8, False, True), MINE),
        message(b"two" * 50, frame_max=40),
        marshal(commands.Queue.DeclareOk("q", 1, 2), OTHER),
        marshal(commands.Basic.Ack(1, False), OTHER),
        marshal(commands.Basic.GetEmpty(), MINE),
        marshal(commands.Basic.CancelOk("tag"), MINE),
        marshal(commands.Connection.Blocked("memory"), 0),
        marshal(commands.Connection.Unblocked(), 0),
        message(b"for aiormq", channel=OTHER),
    ]
)
EXPECTED_KINDS = [
    "content",
    "content",
    "confirm",
    "confirm",
    "content",
    "empty",
    "blocked",
    "unblocked",
]


def test_diverted_frames_are_taken_and_the_rest_is_handed_on() -> None:
    seen, rest = parse([STREAM])
    assert [event[0] for event in seen] == EXPECTED_KINDS
    assert [event[4] for event in seen if event[0] == "content"] == [b"one", b"", b"two" * 50]
    assert ("confirm", 7, True, True) in seen
    assert ("confirm", 8, False, False) in seen
    handed_on = [
        marshal(heartbeat.Heartbeat(), 0),
        marshal(commands.Queue.DeclareOk("q", 1, 2), OTHER),
        marshal(commands.Basic.Ack(1, False), OTHER),
        marshal(commands.Basic.CancelOk("tag"), MINE),
        marshal(commands.Connection.Blocked("memory"), 0),
        marshal(commands.Connection.Unblocked(), 0),
        message(b"for aiormq", channel=OTHER),
    ]
    assert rest == b"".join(handed_on)


def test_the_chunks_make_no_difference_at_any_split() -> None:
    whole = parse([STREAM])
    for split in range(len(STREAM) + 1):
        assert parse([STREAM[:split], STREAM[split:]]) == whole
        assert parse_views([STREAM[:split], STREAM[split:]]) == whole
    assert parse([STREAM[i : i + 1] for i in range(len(STREAM))]) == whole


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_large_bodies_in_any_chunks(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 4096, 5000, 70_000, 300_000]), max_size=4))
    stream = b"".join(message(bytes([n]) * size) for n, size in enumerate(sizes))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    edges = [0, *sorted(cuts), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    seen, rest = data.draw(st.sampled_from([parse, parse_views]))(chunks)
    assert [event[4] for event in seen] == [bytes([n]) * size for n, size in enumerate(sizes)]
    assert rest == b""


def test_frames_of_other_channels_may_come_between() -> None:
    whole = message(b"abc" * 20, frame_max=20)
    between = marshal(commands.Basic.Ack(1, False), OTHER)
    pieces: list[bytes] = []
    while whole:
        size = int.from_bytes(whole[3:7], "big") + frames.OVERHEAD
        pieces += [whole[:size], between]
        whole = whole[size:]
    seen, rest = parse([b"".join(pieces)])
    assert [event[4] for event in seen] == [b"abc" * 20]
    assert rest == between * (len(pieces) // 2)


def test_a_close_ends_the_diversion_at_once() -> None:
    close = marshal(commands.Channel.Close(404, "gone", 60, 40), MINE)
    after = marshal(commands.Channel.OpenOk(), MINE)
    seen, rest = parse([close + after])
    assert seen == [("closed", 404, "gone")]
    assert rest == close + after


def test_a_message_cut_by_the_close_is_dropped() -> None:
    half = message(b"x" * 60, frame_max=40)[:-36]  # without its last frame
    close = marshal(commands.Channel.Close(406, "timeout", 0, 0), MINE)
    seen, rest = parse([half + close + message(b"whole", channel=OTHER)])
    assert seen == [("closed", 406, "timeout")]
    assert rest == close + message(b"whole", channel=OTHER)


def test_a_connection_close_is_read_and_handed_on() -> None:
    close = marshal(commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0), 0)
    seen, rest = parse([close])
    assert seen == [("connection", 320, "CONNECTION_FORCED")]
    assert rest == close


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x01\0\x03\0\0\0\x01xx",
        marshal(pamqp_body.ContentBody(b"x"), MINE),
        marshal(header.ContentHeader(0, 1, commands.Basic.Properties()), MINE),
    ],
)
def test_garbage_is_told(raw: bytes) -> None:
    assert ("garbage",) in parse([raw])[0]


def test_another_versions_greeting_goes_to_aiormq() -> None:
    assert parse([b"AMQP\0\0\x09\x01"]) == ([], b"AMQP\0\0\x09\x01")
