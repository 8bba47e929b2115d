"""Content headers: ours against pamqp's, both ways, and broken ones."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, header

from ion.messaging.amqp.field_table import encode_table
from ion.messaging.amqp.properties import (
    HEADERS,
    REPLY_TO,
    TYPE,
    UNDECODABLE,
    decode_envelope,
    encode_properties,
)
from ion.messaging.envelope import Envelope

FIELDS = (
    "op",
    "body",
    "content_type",
    "reply_to",
    "correlation_id",
    "message_id",
    "timestamp",
    "persistent",
    "expiration",
    "priority",
    "user_id",
    "headers",
)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
envelopes = st.builds(
    Envelope,
    op=words,
    body=st.binary(max_size=20),
    content_type=words,
    reply_to=words,
    correlation_id=words,
    message_id=words,
    timestamp=st.integers(0, 2**32),
    persistent=st.booleans(),
    expiration=st.none() | st.integers(0, 10**9),
    priority=st.integers(0, 255),
    user_id=words,
    headers=st.dictionaries(st.text("abc-", min_size=1, max_size=9), words | st.integers(0, 99)),
)


def fields_of(envelope: Envelope) -> dict[str, object]:
    return {field: getattr(envelope, field) for field in FIELDS}


def raw_of(envelope: Envelope) -> bytes:
    flags, properties = encode_properties(envelope)
    return flags.to_bytes(2, "big") + properties


@given(envelopes)
def test_what_is_encoded_is_decoded_again(envelope: Envelope) -> None:
    assert fields_of(decode_envelope(raw_of(envelope), envelope.body)) == fields_of(envelope)


@given(envelopes)
def test_pamqp_reads_what_we_write(envelope: Envelope) -> None:
    content = header.ContentHeader()
    content.unmarshal(b"\0\x3c\0\0" + (7).to_bytes(8, "big") + raw_of(envelope))
    seen = content.properties
    assert (seen.message_type or "") == envelope.op
    assert (seen.correlation_id or "") == envelope.correlation_id
    assert (seen.reply_to or "") == envelope.reply_to
    assert (seen.headers or {}) == envelope.headers
    assert seen.delivery_mode == (2 if envelope.persistent else 1)
    assert content.body_size == 7


def test_we_read_what_pamqp_writes() -> None:
    properties = commands.Basic.Properties(
        content_type="a/b",
        content_encoding="gzip",
        headers={"n": 1},
        priority=4,
        correlation_id="c",
        reply_to="r",
        expiration="250",
        message_id="m",
        timestamp=datetime.fromtimestamp(1_700_000_000, tz=UTC),
        message_type="op",
        user_id="guest",
        app_id="app",
    )
    envelope = decode_envelope(header.ContentHeader(0, 0, properties).marshal()[12:], b"x")
    assert fields_of(envelope) == fields_of(
        Envelope(
            "op",
            b"x",
            content_type="a/b",
            reply_to="r",
            correlation_id="c",
            message_id="m",
            timestamp=1_700_000_000,
            expiration=250,
            priority=4,
            user_id="guest",
            headers={"n": 1},
        )
    )


def test_an_undecodable_table_leaves_the_rest() -> None:
    table = (3).to_bytes(4, "big") + b"\x01kZ"
    raw = (HEADERS | REPLY_TO | TYPE).to_bytes(2, "big") + table + b"\x05reply" + b"\x02op"
    envelope = decode_envelope(raw, b"")
    assert envelope.headers == UNDECODABLE
    assert (envelope.reply_to, envelope.op) == ("reply", "op")


def test_bad_text_is_replaced_and_ids_keep_their_bytes() -> None:
    raw = (REPLY_TO | TYPE).to_bytes(2, "big") + b"\x02\xffr" + b"\x02o\xff"
    envelope = decode_envelope(raw, b"")
    assert envelope.op == "o\ufffd"
    answer = Envelope("x", correlation_id=envelope.reply_to)
    assert b"\x02\xffr" in raw_of(answer)


def test_an_expiration_that_is_no_number_is_none() -> None:
    raw = (1 << 8).to_bytes(2, "big") + b"\x03abc"
    assert decode_envelope(raw, b"").expiration is None


@given(st.binary(max_size=80))
def test_no_header_raises(raw: bytes) -> None:
    envelope = decode_envelope(raw, b"body")
    assert isinstance(envelope.op, str)
    assert envelope.body == b"body"


def test_a_cut_table_is_undecodable() -> None:
    table = encode_table({"a": "b"})
    raw = HEADERS.to_bytes(2, "big") + table[:-1]
    assert decode_envelope(raw, b"").headers == UNDECODABLE
