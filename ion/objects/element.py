"""Elements: immutable pieces of objects, known by their hash.

An element is bytes, and its name is their SHA-256. It is written in msgpack as ``[kind, body]``, in
one way only, so that equal contents have equal names. What it refers to are *links*: the hashes
of other elements. As a hash cannot be known before its element is, there are no cycles.

Values are plain data: None, bool, int of 64 bits, float, str, bytes, lists, maps with text for
keys; and :class:`Typed` and :class:`Reference`. :class:`Link` is for what is kept alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any

import msgspec

from ion.base.errors import Damaged, InvalidRequest

HASH = 32  # bytes
MAX_ELEMENT = 512 * 1024  # bytes; leaves and nodes are far smaller as a rule
MAX_DEPTH = 100  # of values within each other

_LINK, _TYPED, _REFERENCE = 1, 2, 3
_NESTED = MAX_DEPTH + 10  # an element wraps what it has
_ATOMS = frozenset({type(None), bool, int, float, str, bytes})


class Kind(IntEnum):
    """What the body of an element is."""

    VALUE = 0  # a value
    MAP_LEAF = 1  # [[key, value], ...], in the order of keys
    MAP_NODE = 2  # [[first key, entries, bytes, link], ...]
    LIST_LEAF = 3  # [value, ...]
    LIST_NODE = 4  # [[items, bytes, link], ...]
    BYTES_NODE = 5  # [is text, [[bytes, link], ...]]; its leaves are values
    COMMIT = 6  # see :class:`ion.objects.commit.Commit`
    TYPED_NODE = 7  # [name, version, [[bytes, link], ...]]: a large typed message


class Link:
    """Stands for a value that is an element of its own."""

    __slots__ = ("hash",)

    def __init__(self, hash: bytes) -> None:
        self.hash = hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Link) and other.hash == self.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"<Link {self.hash.hex()[:12]}>"


class Typed(msgspec.Struct, frozen=True):
    """A typed message, encoded: what it is, and its bytes; see :mod:`ion.objects.registry`.

    :ivar name: of its type.
    :ivar version: of its type.
    """

    name: str
    version: int
    data: bytes


class Reference(msgspec.Struct, frozen=True):
    """Points to another repository: to a branch as it is then, or to one commit of it.

    :ivar commit: in hexadecimal; "": the branch's head.
    """

    repository: str
    branch: str = "main"
    commit: str = ""


def _ext(value: Any) -> Any:
    if type(value) is Link:
        return msgspec.msgpack.Ext(_LINK, value.hash)
    message = f"{type(value).__name__} cannot be kept in a repository: give plain data"
    raise InvalidRequest(message)


_encoder = msgspec.msgpack.Encoder(order="sorted", enc_hook=_ext)


def _prepared(value: Any, depth: int = 0) -> Any:
    """Return a value with its structs as what they are written as; refuse what is no plain data."""
    if type(value) in _ATOMS:
        return value
    if depth > _NESTED:
        message = f"a value is nested {MAX_DEPTH} deep at most"
        raise InvalidRequest(message)
    match value:
        case Typed(name, version, data):
            packed = _encoder.encode([name, version, data])
            return msgspec.msgpack.Ext(_TYPED, packed)
        case Reference(repository, branch, commit):
            return msgspec.msgpack.Ext(_REFERENCE, _encoder.encode([repository, branch, commit]))
        case dict():
            if not all(type(key) is str for key in value):
                message = "the keys of a map in a repository are text"
                raise InvalidRequest(message)
            return {key: _prepared(each, depth + 1) for key, each in value.items()}
        case list() | tuple():
            return [_prepared(each, depth + 1) for each in value]
        case _:
            return value


def encoded(value: Any) -> bytes:
    """Return a value as it is written.

    :raises InvalidRequest: it is no plain data, or nested too deep.
    """
    try:
        return _encoder.encode(_prepared(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        message = f"it cannot be kept in a repository: {error}"
        raise InvalidRequest(message) from error


def element(kind: Kind, body: Any) -> bytes:
    """Return an element.

    :raises InvalidRequest: its body is no plain data, or it is over :data:`MAX_ELEMENT` bytes.
    """
    return _checked(encoded([int(kind), body]))


def joined(kind: Kind, parts: Iterable[bytes]) -> bytes:
    """Return an element whose body is a list of what is encoded already."""
    return _checked(_encoder.encode([int(kind), [msgspec.Raw(part) for part in parts]]))


def _checked(data: bytes) -> bytes:
    if len(data) > MAX_ELEMENT:
        message = f"an element has at most {MAX_ELEMENT} bytes, not {len(data)}"
        raise InvalidRequest(message)
    return data


def same(one: Any, other: Any) -> bool:
    """Return whether two frozen values are the same, as they are written.

    That is not ``==``: 1, 1.0 and True are three, and what is no number is the same as itself.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, float | list | dict):
        return encoded(one) == encoded(other)
    return bool(one == other)


def hash_of(data: bytes) -> bytes:
    """Return the name of an element."""
    return hashlib.sha256(data).digest()


def _from_ext(code: int, data: memoryview) -> Any:
    if code == _LINK and len(data) == HASH:
        return Link(bytes(data))
    if code == _TYPED:
        return Typed(*msgspec.msgpack.decode(data, type=tuple[str, int, bytes]))
    if code == _REFERENCE:
        return Reference(*msgspec.msgpack.decode(data, type=tuple[str, str, str]))
    message = f"unknown extension {code}"
    raise ValueError(message)


_decoder = msgspec.msgpack.Decoder(tuple[int, Any], ext_hook=_from_ext)


def decoded(data: bytes) -> tuple[Kind, Any]:
    """Return kind and body of an element.

    :raises Damaged: it is none.
    """
    try:
        kind, body = _decoder.decode(data)
        return Kind(kind), body
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"element {hash_of(data).hex()} cannot be read: {error}"
        raise Damaged(message) from error


def links_of(data: bytes) -> list[bytes]:
    """Return the hashes that an element refers to, each once, in order.

    :raises Damaged: it is none.
    """
    return list(dict.fromkeys(link.hash for link in _links(decoded(data)[1])))


def _links(body: Any) -> Iterator[Link]:
    waiting = [body]  # no recursion: what came from afar may be nested as deep as it likes
    while waiting:
        value = waiting.pop()
        if isinstance(value, Link):
            yield value
        elif isinstance(value, dict):
            waiting += reversed(value.values())
        elif isinstance(value, list):
            waiting += reversed(value)


def verified(hash: bytes, data: bytes) -> bytes:
    """Return an element that came from somewhere.

    :raises Damaged: it is not the one of that hash.
    """
    if hash_of(data) != hash:
        message = f"element {hash.hex()} is not what its hash says: it was altered on its way"
        raise Damaged(message, details={"hash": hash.hex()})
    return data
