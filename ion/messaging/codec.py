"""Content and its bytes, by content type: msgpack (default), JSON, protobuf.

msgspec stands behind msgpack and JSON: it is three times as fast as msgpack-python on encoding,
and decodes straight into the type an op declares. Protobuf is looked up when it is first asked
for. Nothing here evaluates or unpickles anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from ion.base.errors import CodecError, UnsupportedContentType
from ion.messaging.codec_fallback import known_object
from ion.messaging.envelope import JSON, MSGPACK, PROTOBUF

Decode = Callable[[bytes], Any]

# What the C codecs raise for content they cannot take: wrong types, surrogates in text, integers
# over 64 bits, nesting beyond the interpreter's limit, unhashable map keys.
FOREIGN = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)


class Codec(Protocol):
    """Reads and writes one family of content types."""

    def encode(self, content: Any, content_type: str) -> tuple[bytes, str]:
        """Return the bytes and the content type that tells how to read them.

        :raises CodecError: the content cannot be encoded so.
        """

    def decode(self, body: bytes, content_type: str) -> Any:
        """Return the content; an empty body is None.

        :raises CodecError: the bytes are not what the content type says.
        """


def _is_protobuf(content: Any) -> bool:
    return hasattr(content, "DESCRIPTOR") and hasattr(content, "SerializeToString")


class _Msgspec:
    """A codec of msgspec: ``module`` is ``msgspec.msgpack`` or ``msgspec.json``.

    :ivar pack: :meth:`encode`, of what msgspec knows; else it raises one of :data:`FOREIGN`.
    :ivar unpack: :meth:`decode` likewise; for those who count calls.
    """

    __slots__ = ("_content_type", "_name", "module", "pack", "unpack")

    def __init__(self, module: Any, name: str, content_type: str) -> None:
        self.module = module
        self._name = name
        self._content_type = content_type
        self.pack: Callable[[Any], bytes] = module.Encoder(enc_hook=known_object).encode
        self.unpack: Decode = module.Decoder().decode

    def encode(self, content: Any, content_type: str = "") -> tuple[bytes, str]:
        try:
            return self.pack(content), content_type or self._content_type
        except FOREIGN as error:
            if _is_protobuf(content):
                return protobuf_codec().encode(content, PROTOBUF)
            message = f"content cannot be written as {self._name}: {error}"
            raise CodecError(message) from error

    def decode(self, body: bytes, content_type: str = "") -> Any:
        if not body:
            return None
        try:
            return self.unpack(body)
        except FOREIGN as error:
            message = f"content is not {self._name}: {error}"
            raise CodecError(message, code=400, type="CodecError") from error


msgpack_codec = _Msgspec(msgspec.msgpack, "msgpack", MSGPACK)
_pack = msgpack_codec.pack
json_codec = _Msgspec(msgspec.json, "JSON", JSON)


def protobuf_codec() -> Codec:
    """Return the codec for ``application/x-protobuf``.

    :raises UnsupportedContentType: protobuf is not installed.
    """
    from ion.messaging.protobuf import codec

    return codec()


_BY_TYPE: dict[str, Codec] = {
    "": msgpack_codec,
    MSGPACK: msgpack_codec,
    "application/x-msgpack": msgpack_codec,
    "application/vnd.msgpack": msgpack_codec,
    JSON: json_codec,
    "text/json": json_codec,
}


def codec_for(content_type: str) -> Codec:
    """Return the codec for a content type, parameters allowed.

    :raises UnsupportedContentType: nobody here can read it; the message lists what can be read.
    """
    found = _BY_TYPE.get(content_type)
    if found is not None:
        return found
    plain = content_type.partition(";")[0].strip().lower()
    if plain == PROTOBUF:
        return protobuf_codec()
    found = _BY_TYPE.get(plain) if plain else None
    if found is None:
        message = (
            f"content type {content_type[:200]!r} cannot be read here; "
            f"use {MSGPACK}, {JSON} or {PROTOBUF}; type=<full name>"
        )
        raise UnsupportedContentType(message)
    return found


def encode(content: Any, content_type: str = MSGPACK) -> tuple[bytes, str]:
    """Return the bytes of ``content`` and their content type.

    A protobuf message is written as protobuf, whatever was asked for.

    :raises CodecError: the content cannot be encoded.
    """
    if content_type == MSGPACK:
        try:
            return _pack(content), MSGPACK
        except FOREIGN:
            pass  # it is protobuf, or that is said
    return codec_for(content_type).encode(content, content_type)


def decode(body: bytes, content_type: str = MSGPACK) -> Any:
    """Return the content of ``body``; an empty body is None.

    :raises CodecError: the bytes are not what the content type says.
    """
    return codec_for(content_type).decode(body, content_type)
