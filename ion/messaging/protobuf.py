"""Protobuf content: ``application/x-protobuf; type=<full name>``.

A message travels under its full name and is read through protobuf's default pool, so its module
must have been imported on the reading side; the well-known types are always there. Plain data
(maps, lists, text, numbers) travels as ``google.protobuf.Value`` and ``Struct``, so any op can be
called, and can answer, in protobuf; a wrapper, such as ``StringValue``, is read as what is in it.
What a Value has no form for is written as in JSON: bytes as base64 text, times as ISO 8601.
"""

from __future__ import annotations

import functools
from typing import Any

from ion.base.errors import CodecError, UnsupportedContentType
from ion.base.plugin import resolve
from ion.messaging.codec_fallback import as_json_has_it
from ion.messaging.envelope import PROTOBUF

_WELL_KNOWN = "google.protobuf."
_PLAIN = {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"}
_WRAPPERS = ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
_WRAPPED = {f"{_WELL_KNOWN}{kind}Value" for kind in _WRAPPERS}
_MODULES = ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers")


@functools.cache
def codec() -> ProtobufCodec:
    """Return the codec.

    :raises UnsupportedContentType: protobuf is not installed; the message says how to get it.
    """
    try:
        import google.protobuf.message  # noqa: F401
    except ImportError as error:
        message = "protobuf is not installed: pip install 'ioncore[protobuf]'"
        raise UnsupportedContentType(message) from error
    return ProtobufCodec()


class ProtobufCodec:
    """Reads and writes protobuf messages, and plain data as well-known types."""

    def encode(self, content: Any, content_type: str = PROTOBUF) -> tuple[bytes, str]:
        """Write a message as itself, anything else as ``google.protobuf.Value``.

        :raises CodecError: it cannot be encoded.
        """
        message = content if hasattr(content, "DESCRIPTOR") else _as_value(content)
        name = message.DESCRIPTOR.full_name
        try:
            return message.SerializeToString(), f"{PROTOBUF}; type={name}"
        except Exception as error:  # EncodeError, of whichever back end is in use
            text = f"{name} cannot be encoded: {error}"
            raise CodecError(text) from error

    def decode(self, body: bytes, content_type: str) -> Any:
        """Read a message of the named type; well-known types become plain data.

        :raises UnsupportedContentType: there is no such type here.
        :raises CodecError: the content is none of it.
        """
        name = _type_name(content_type)
        message = message_class(name)()
        try:
            message.ParseFromString(body)
        except Exception as error:  # DecodeError, of whichever back end is in use
            text = f"content is not {name}: {error}"
            raise CodecError(text) from error
        if name in _WRAPPED:
            return message.value
        return _as_data(message) if name in _PLAIN else message


def _type_name(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "type" and value.strip():
            return value.strip().strip('"')
    text = (
        f"content type {content_type[:200]!r} lacks the message type: {PROTOBUF}; type=<full name>"
    )
    raise UnsupportedContentType(text)


@functools.lru_cache(maxsize=1024)
def message_class(name: str) -> Any:
    """Return the class of the protobuf message with full name ``name``.

    :raises UnsupportedContentType: it is not in the pool; its module was not imported here.
    """
    from google.protobuf import descriptor_pool, message_factory

    if name.startswith(_WELL_KNOWN):
        for module in _MODULES:
            resolve(f"google.protobuf.{module}_pb2")
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        text = f"protobuf message {name[:200]!r} is not known here: import its module first"
        raise UnsupportedContentType(text) from None
    return message_factory.GetMessageClass(descriptor)


def _as_value(content: Any) -> Any:
    from google.protobuf import json_format, struct_pb2

    value = struct_pb2.Value()
    try:
        json_format.ParseDict(as_json_has_it(content), value)
    except (json_format.ParseError, TypeError, ValueError, RecursionError) as error:
        text = f"content cannot be written as google.protobuf.Value: {error}"
        raise CodecError(text) from error
    return value


def _as_data(message: Any) -> Any:
    """Return what is in a Struct, a Value or a ListValue; a Value has only doubles: 5.0 is 5."""
    if hasattr(message, "fields"):
        return {key: _as_data(value) for key, value in message.fields.items()}
    if hasattr(message, "values"):
        return [_as_data(value) for value in message.values]
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    content = getattr(message, kind)
    if kind == "number_value":
        return int(content) if content.is_integer() else content
    return content if kind in {"string_value", "bool_value"} else _as_data(content)


def fields_of(message: Any) -> dict[str, Any]:
    """Return the fields of a message that are set, by name: how it binds to parameters."""
    return {field.name: value for field, value in message.ListFields()}
