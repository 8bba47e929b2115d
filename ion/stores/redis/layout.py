"""What is kept where: the names of keys, records, and attributes as bytes that are in their order.

All keys of store ``things`` of system ``ion`` begin with ``{ion.things}:``, which a Redis Cluster
takes for their slot:

========== ==========  ============================================================
``m``      string      its 8-byte generation, then its attributes (msgpack; nil: plain)
``v:<key>`` string     8 bytes of revision, then the value
``k``      sorted set  all keys, in the order of their bytes
``a``      hash        key -> its attributes (index stores only)
``i:<name>`` sorted set  an attribute's value, in order, then the key
========== ==========  ============================================================

``{ion}:stores`` is the set of the names of stores, ``{ion}:schema`` the version of all this.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from ion.base.errors import Damaged
from ion.stores.limits import Kind
from ion.stores.store import Indices

SCHEMA = 1
REVISION = 8  # bytes
GENERATION = 8  # bytes
WIDTHS: dict[Kind, int] = {"str": -1, "int": 8, "float": 8, "bool": 1}  # -1: up to a zero byte

_NO_REVISION = b"\xff" * REVISION  # that no write gets
_SIGN = 1 << 63
_ALL = (1 << 64) - 1
_U64 = struct.Struct(">Q")
_F64 = struct.Struct(">d")


class Space:
    """One store's place.

    :ivar base: what all its keys begin with.
    :ivar generation: another one after it was dropped and made again.
    :ivar indices: declared attributes; None: it is a plain store.
    :ivar is_gone: somebody has dropped it.
    :ivar large: key -> the write to it that goes by a way of its own, and is under way.
    """

    __slots__ = ("base", "generation", "indices", "is_gone", "large", "meta", "name")

    def __init__(self, sysname: str, name: str, meta: bytes = b"") -> None:
        self.name = name
        self.base = f"{{{sysname}.{name}}}:".encode()
        self.is_gone = False
        self.large: dict[bytes, asyncio.Future[Any]] = {}
        self.generation = b""
        self.indices: Indices | None = None
        self.meta = b""
        if meta:
            self.learn(meta)

    def learn(self, meta: bytes) -> None:
        """Take note of what the store's ``m`` says.

        :raises Damaged: it says nothing that can be read.
        """
        try:
            indices = msgspec.msgpack.decode(meta[GENERATION:], type=dict[str, Kind] | None)
        except msgspec.MsgspecError as error:
            message = f"the description of store {self.name!r} in Redis cannot be read: {error}"
            raise Damaged(message, details={"store": self.name}) from error
        self.meta = meta
        self.generation = meta[:GENERATION]
        self.indices = indices


def meta_of(generation: bytes, indices: Indices | None) -> bytes:
    """Return what is kept of a store; :meth:`Space.learn` reads it."""
    return generation + msgspec.msgpack.encode(indices)


def revision_bytes(revision: int | None) -> bytes:
    """Return a revision as scripts compare it; empty: any."""
    if revision is None:
        return b""
    return revision.to_bytes(REVISION, "big") if 0 <= revision < _SIGN else _NO_REVISION


def attribute_bytes(value: Any, kind: str) -> bytes:
    """Return the value of an attribute: bytes in its order, none of which begins another."""
    match kind:
        case "str":
            return bytes(value, "utf-8") + b"\0"
        case "int":
            return _U64.pack(value + _SIGN)
        case "bool":
            return b"\1" if value else b"\0"
    (bits,) = _U64.unpack(_F64.pack(value + 0.0))  # -0.0 + 0.0 is 0.0
    return _U64.pack(bits ^ (_ALL if bits & _SIGN else _SIGN))


def attribute_value(data: bytes, kind: str) -> Any:
    """Return what :func:`attribute_bytes` made ``data`` of."""
    match kind:
        case "str":
            return data[:-1].decode()
        case "int":
            return int(_U64.unpack(data)[0]) - _SIGN
        case "bool":
            return data == b"\1"
    (bits,) = _U64.unpack(data)
    return _F64.unpack(_U64.pack(bits ^ (_SIGN if bits & _SIGN else _ALL)))[0]


def pack(attributes: Mapping[str, Any], indices: Indices) -> bytes:
    """Return attributes as they are kept; None becomes empty, which takes one away.

    Each is a byte of length and the name, two bytes of length and the value: scripts read it.
    """
    parts = []
    for name, value in attributes.items():
        data = b"" if value is None else attribute_bytes(value, indices[name])
        word = name.encode()
        parts.append(bytes([len(word)]) + word + len(data).to_bytes(2, "big") + data)
    return b"".join(parts)


def unpack(data: bytes, indices: Indices) -> dict[str, Any]:
    """Return the declared ones of kept attributes.

    :raises ValueError: these are none.
    """
    found = {}
    at = 0
    while at < len(data):
        start = at + 1 + data[at]
        name = data[at + 1 : start].decode()
        at = start + 2 + int.from_bytes(data[start : start + 2], "big")
        kind = indices.get(name)
        if kind is not None:
            try:
                found[name] = attribute_value(data[start + 2 : at], kind)
            except struct.error as error:
                raise ValueError(str(error)) from error
    return dict(sorted(found.items()))
