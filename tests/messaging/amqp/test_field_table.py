"""Field tables: what pamqp, RabbitMQ's and our own encoder say is one and the same."""

from __future__ import annotations

import contextlib
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pamqp import decode, encode

from ion.base.errors import CodecError
from ion.messaging.amqp import field_table

# Times depend on the machine, and say nothing here.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

names = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=40)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=60)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)  # all that pamqp writes
    | moments.map(lambda t: t.replace(microsecond=0))
    | st.decimals(0, 1000, allow_nan=False, allow_infinity=False, places=3)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
tables = st.dictionaries(names, values, max_size=8)


@patient
@given(tables)
def test_what_is_encoded_is_decoded_again(table: dict[str, Any]) -> None:
    raw = field_table.encode_table(table)
    assert int.from_bytes(raw[:4], "big") == len(raw) - 4
    assert field_table.decode_table(raw[4:]) == table


@patient
@given(tables)
def test_pamqp_reads_what_we_write(table: dict[str, Any]) -> None:
    assert decode.field_table(field_table.encode_table(table))[1] == table


@patient
@given(tables)
def test_we_read_what_pamqp_writes(table: dict[str, Any]) -> None:
    assert field_table.decode_table(encode.field_table(table)[4:]) == table


def item(kind: bytes, raw: bytes) -> bytes:
    return b"\x01k" + kind + raw


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (item(b"t", b"\x01"), True),
        (item(b"b", b"\xff"), -1),
        (item(b"B", b"\xff"), 255),
        (item(b"s", b"\xff\xfe"), -2),
        (item(b"u", b"\xff\xfe"), 65534),
        (item(b"I", b"\xff\xff\xff\xff"), -1),
        (item(b"i", b"\xff\xff\xff\xff"), 2**32 - 1),
        (item(b"l", b"\xff" * 8), -1),
        (item(b"L", b"\0" * 7 + b"\5"), 5),
        (item(b"f", struct.pack(">f", 0.5)), 0.5),
        (item(b"d", struct.pack(">d", 0.1)), 0.1),
        (item(b"D", b"\x02" + struct.pack(">i", -314)), Decimal("-3.14")),
        (item(b"S", struct.pack(">I", 2) + b"hi"), "hi"),
        (item(b"S", struct.pack(">I", 2) + b"\xff\xfe"), b"\xff\xfe"),
        (item(b"x", struct.pack(">I", 2) + b"\0\1"), b"\0\1"),
        (item(b"T", struct.pack(">Q", 60)), datetime(1970, 1, 1, 0, 1, tzinfo=UTC)),
        (item(b"T", b"\xff" * 8), 2**64 - 1),
        (item(b"V", b""), None),
        (item(b"A", struct.pack(">I", 4) + b"t\x01b\x02"), [True, 2]),
        (item(b"F", struct.pack(">I", 4) + item(b"t", b"\0")), {"k": False}),
    ],
)
def test_every_field_type_is_read(raw: bytes, expected: object) -> None:
    assert field_table.decode_table(raw) == {"k": expected}


@pytest.mark.parametrize(
    "raw",
    [
        b"\x05k",
        b"\x01k",
        item(b"Z", b""),
        item(b"I", b"\0"),
        item(b"S", b"\0\0\0\x09hi"),
        item(b"A", b"\0\0\0\x09t\1"),
        item(b"F", b"\xff\xff\xff\xff"),
        b"\x01kF\0\0\0\x00" * 0 + b"\x01k" + b"A\xff\xff\xff\xff",
    ],
)
def test_garbage_is_an_error_and_no_other(raw: bytes) -> None:
    with pytest.raises(CodecError):
        field_table.decode_table(raw)


@patient
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with contextlib.suppress(CodecError):
        field_table.decode_table(raw)


@pytest.mark.parametrize("table", [{"k": "\ud800"}, {"\ud800": 1}])
def test_what_is_no_text_is_an_error_and_no_other(table: dict[str, Any]) -> None:
    with pytest.raises(CodecError, match="no text in UTF-8"):
        field_table.encode_table(table)


def test_nesting_has_an_end() -> None:
    raw = b""
    for _ in range(2000):
        raw = b"A" + struct.pack(">I", len(raw)) + raw
    with pytest.raises(CodecError):
        field_table.decode_table(item(b"A", raw[1:]))
    nested: list[Any] = []
    for _ in range(2000):
        nested = [nested]
    with pytest.raises(CodecError, match="nested"):
        field_table.encode_table({"k": nested})


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        Decimal("NaN"),
        Decimal(2**40),
        float("nan"),
        float("-inf"),
        object(),
        {1, 2},
        {"k": 2**70},
    ],
)
def test_what_amqp_has_no_type_for_is_refused(value: object) -> None:
    with pytest.raises(CodecError):
        field_table.encode_table({"k": value})


def test_a_name_has_255_bytes_at_most() -> None:
    field_table.encode_table({"k" * 255: 1})
    with pytest.raises(CodecError):
        field_table.encode_table({"k" * 256: 1})


def test_the_caches_are_bounded() -> None:
    for number in range(3 * field_table.MAX_CACHED):
        field_table.decode_table(field_table.encode_table({f"name-{number}": f"text-{number}"})[4:])
    caches = (field_table._names, field_table._items, field_table._tables, field_table._keys)
    assert all(len(cache) <= field_table.MAX_CACHED for cache in caches)


def test_a_table_seen_before_is_not_decoded_again() -> None:
    raw = field_table.encode_table({"performative": "request"})[4:]
    assert field_table.decode_table(raw) is field_table.decode_table(bytes(raw))
