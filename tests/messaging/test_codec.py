"""Content by content type: msgpack, JSON, protobuf; and what cannot be written or read."""

from __future__ import annotations

import datetime
import math
import subprocess
import sys
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgpack
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from ion import BadRequest, CodecError, Container, Service, UnsupportedContentType
from ion.messaging import codec
from ion.messaging.envelope import JSON, MSGPACK, PROTOBUF

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _reading_class() -> Any:
    """Make a protobuf message as a generated module would: ion_test.Reading."""
    file = descriptor_pb2.FileDescriptorProto(
        name="ion_test.proto", package="ion_test", syntax="proto3"
    )
    message = file.message_type.add(name="Reading")
    label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    string, double = 9, 1
    message.field.add(name="station", number=1, type=string, label=label)
    message.field.add(name="value", number=2, type=double, label=label)
    pool = descriptor_pool.Default()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ion_test.Reading"))


Reading = _reading_class()
READING_TYPE = f"{PROTOBUF}; type=ion_test.Reading"


@given(plain)
def test_msgpack_is_read_and_written_as_by_another_library(content: Any) -> None:
    body, content_type = codec.encode(content)
    assert content_type == MSGPACK
    assert msgpack.unpackb(body, strict_map_key=False) == content
    assert codec.decode(msgpack.packb(content)) == content


@given(st.binary(max_size=200), st.sampled_from([MSGPACK, JSON, READING_TYPE, "", "text/plain"]))
def test_garbage_is_a_codec_error_or_content(body: bytes, content_type: str) -> None:
    code = 400
    try:
        codec.decode(body, content_type)
    except CodecError as error:
        code = error.code
    assert code in {400, 415}


def test_what_python_has_for_data_can_be_sent() -> None:
    @dataclass
    class Point:
        x: int

    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    for content in (Point(1), moment, uuid.UUID(int=1), {1, 2}, (1, 2), memoryview(b"ab")):
        for content_type in (MSGPACK, JSON):
            codec.encode(content, content_type)


@pytest.mark.parametrize("content", [object(), {"a": lambda: 0}, 2**64, "\ud800"])
def test_what_cannot_be_written_is_a_codec_error(content: Any) -> None:
    with pytest.raises(CodecError):
        codec.encode(content)


def test_nesting_without_end_is_a_codec_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CodecError):
        codec.encode(endless)
    with pytest.raises(CodecError):
        codec.decode(b"\x91" * 100_000 + b"\xc0")


@dataclass
class Plain:
    """An answer as services give them."""

    data: bytes


def test_protobuf_goes_and_comes_back_as_itself() -> None:
    body, content_type = codec.encode(Reading(station="buoy", value=4.5))
    assert content_type == READING_TYPE
    assert codec.decode(body, content_type) == Reading(station="buoy", value=4.5)


def test_plain_data_travels_in_protobuf_as_well_known_types() -> None:
    content = {"text": "x", "n": 3, "parts": [1.5, None, True, -math.inf], "none": [], "map": {}}
    body, content_type = codec.encode(content, PROTOBUF)
    assert content_type == f"{PROTOBUF}; type=google.protobuf.Value"
    assert codec.decode(body, content_type) == content


@pytest.mark.parametrize(
    "content",
    [
        b"\0\xff",
        datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC),
        {
            "id": uuid.UUID(int=5),
            "within": datetime.timedelta(seconds=3),
            "sum": Decimal("1.50"),
            7: [b""],
        },
        Plain(b"in an object"),
        {1.5},
        np.float32(1.5),
    ],
)
def test_what_a_value_has_no_form_for_is_written_as_in_json(content: object) -> None:
    as_json = codec.decode(*codec.encode(content, JSON))
    assert codec.decode(*codec.encode(content, PROTOBUF)) == as_json


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("StringValue", b"\n\x02hi", "hi"),
        ("Int64Value", b"\x08\x07", 7),
        ("BytesValue", b"\n\x01\xff", b"\xff"),
        ("BoolValue", b"", False),
    ],
)
def test_a_wrapper_is_read_as_what_is_in_it(name: str, body: bytes, expected: object) -> None:
    content = codec.decode(body, f"{PROTOBUF}; type=google.protobuf.{name}")
    assert content == expected
    assert type(content) is type(expected)


def test_well_known_types_need_no_import() -> None:
    read = "codec.decode(b'\\x08\\x05', 'application/x-protobuf; type=google.protobuf.Timestamp')"
    program = f"from ion.messaging import codec; print({read}.seconds)"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout == "5\n"


@pytest.mark.parametrize(
    "content_type", [PROTOBUF, f"{PROTOBUF}; type=no.such.Message", f"{PROTOBUF}; type="]
)
def test_a_protobuf_type_that_nobody_knows_is_a_415(content_type: str) -> None:
    with pytest.raises(UnsupportedContentType) as raised:
        codec.decode(b"", content_type)
    assert raised.value.code == 415


class Readings(Service, name="readings"):
    """Takes and gives protobuf."""

    async def op_record(self, reading: Reading) -> Reading:  # type: ignore[valid-type]
        return Reading(station=reading.station, value=reading.value * 2)  # type: ignore[attr-defined]

    async def op_fields(self, station: str, value: float = 0.0) -> str:
        return f"{station}={value}"

    async def op_raw(self, data: bytes) -> dict[str, Any]:
        return {"data": data, "at": datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)}


async def test_ops_take_protobuf_whole_or_by_its_fields(container: Container) -> None:
    await container.spawn(Readings)
    reading = Reading(station="buoy", value=2.0)
    answer = await container.rpc_send("readings", "record", reading)
    assert answer == Reading(station="buoy", value=4.0)
    assert await container.rpc_send("readings", "fields", reading) == "buoy=2.0"
    with pytest.raises(BadRequest):
        await container.rpc_send("readings", "fields", struct_pb2.Struct(), timeout=5)


async def test_any_op_can_be_called_in_protobuf_and_json(container: Container) -> None:
    await container.spawn(Readings)
    for content_type in (PROTOBUF, JSON):
        content = {"station": "mast", "value": 1.5}
        answer = await container.rpc_send("readings", "fields", content, content_type=content_type)
        assert answer == "mast=1.5"
        raw = await container.rpc_send("readings", "raw", b"\0", content_type=content_type)
        assert raw == {"data": "AA==", "at": "2026-11-21T00:00:00Z"}
