"""Values into elements: what is large becomes an element of its own, the rest stays where it is.

What is kept of a value is *frozen*: plain data in which large parts are links. Frozen values are
compared without looking behind their links: equal contents have equal links.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ion.base.errors import InvalidRequest
from ion.objects.chunking import (
    INLINE,
    PIECE,
    Entry,
    Ref,
    leaf_of,
    leaves,
    list_item,
    map_entry,
    node_of,
    nodes,
)
from ion.objects.element import MAX_DEPTH, Kind, Link, Reference, Typed, element, encoded, hash_of

FLUSH_BYTES = 1024 * 1024
FLUSH_COUNT = 4096
_SMALL = frozenset({type(None), bool, float})
BREATH = 500  # entries after which others have a turn


class Keeper(Protocol):
    """Who takes new elements."""

    async def keep(self, elements: Mapping[bytes, bytes]) -> None:
        """Put elements by their hashes, leaves first."""


class Sink:
    """Collects elements, and hands them on now and then.

    :ivar known: hashes of elements that are there; they are not handed on.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._fresh: dict[bytes, bytes] = {}
        self._size = 0
        self.known: set[bytes] = set()

    async def put(self, data: bytes) -> bytes:
        """Take an element; return its hash."""
        name = hash_of(data)
        await self.take(name, data)
        return name

    async def take(self, hash: bytes, data: bytes) -> None:
        """Take an element of that hash."""
        if hash in self.known or hash in self._fresh:
            return
        self._fresh[hash] = data
        self._size += len(data)
        if self._size >= FLUSH_BYTES or len(self._fresh) >= FLUSH_COUNT:
            await self.flush()

    async def flush(self) -> None:
        """Hand on what there is."""
        fresh, self._fresh, self._size = self._fresh, {}, 0
        if fresh:
            await self._keeper.keep(fresh)


async def freeze(value: Any, sink: Sink, depth: int = 0) -> Any:
    """Return a value frozen; its large parts go to the sink.

    :raises InvalidRequest: it is no plain data, or nested too deep.
    """
    if depth > MAX_DEPTH:
        message = f"a value is nested {MAX_DEPTH} deep at most"
        raise InvalidRequest(message)
    if type(value) in _SMALL:
        return value
    match value:
        case dict():
            return await _freeze_map(value, sink, depth)
        case list() | tuple():
            return await _freeze_list(value, sink, depth)
        case str():
            return await _freeze_text(value, sink)
        case bytes() | bytearray() | memoryview():
            return await _freeze_bytes(bytes(value), sink, is_text=False)
        case Typed() if len(value.data) > INLINE:
            return await _freeze_typed(value, sink)
        case None | bool() | int() | float() | Typed() | Reference():
            encoded(value)
            return value
    message = f"{type(value).__name__} cannot be kept in a repository: give plain data"
    raise InvalidRequest(message)


async def _freeze_map(value: Mapping[Any, Any], sink: Sink, depth: int) -> Any:
    if not all(type(key) is str for key in value):
        message = "the keys of a map in a repository are text"
        raise InvalidRequest(message)
    entries = []
    for key in sorted(value):
        entries.append(map_entry(checked_key(key), await freeze(value[key], sink, depth + 1)))
        if len(entries) % BREATH == 0:
            await asyncio.sleep(0)
    return await settle(entries, sink, is_map=True)


async def _freeze_list(value: Sequence[Any], sink: Sink, depth: int) -> Any:
    items = []
    for each in value:
        items.append(list_item(await freeze(each, sink, depth + 1)))
        if len(items) % BREATH == 0:
            await asyncio.sleep(0)
    return await settle(items, sink, is_map=False)


def checked_key(key: str) -> str:
    """Return a key of a map.

    :raises InvalidRequest: it is none: text of at most 1,024 bytes in UTF-8.
    """
    try:
        size = len(key.encode())
    except (UnicodeEncodeError, AttributeError):
        size = INLINE + 1
    if size > INLINE:
        message = f"a key of a map is text of at most {INLINE} bytes in UTF-8: {key[:50]!r}"
        raise InvalidRequest(message)
    return key


async def settle(entries: Sequence[Entry], sink: Sink, *, is_map: bool) -> Any:
    """Return a map or list of frozen entries, in order: as it is, or as a link."""
    if sum(entry.size for entry in entries) <= INLINE:
        if is_map:
            return {entry.key: entry.value for entry in entries}
        return [entry.value for entry in entries]
    refs = []
    for leaf in leaves(entries):
        ref, data = leaf_of(leaf, is_map=is_map)
        await sink.take(ref.hash, data)
        refs.append(ref)
        if len(refs) % BREATH == 0:
            await asyncio.sleep(0)
    return await top(refs, sink, is_map=is_map)


async def top(refs: Sequence[Ref], sink: Sink, *, is_map: bool) -> Link:
    """Put the nodes over leaves, and return the link to the uppermost."""
    while len(refs) > 1:
        above: list[Ref] = []
        for node in nodes(refs):
            ref, data = node_of(node, is_map=is_map)
            await sink.take(ref.hash, data)
            above.append(ref)
        refs = above
    return Link(refs[0].hash)


async def _freeze_text(value: str, sink: Sink) -> Any:
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        message = f"text that is no UTF-8 cannot be kept in a repository: {error}"
        raise InvalidRequest(message) from None
    return value if len(data) <= INLINE else await _freeze_bytes(data, sink, is_text=True)


async def _freeze_bytes(data: bytes, sink: Sink, *, is_text: bool) -> Any:
    if len(data) <= INLINE:
        return data
    rows = await _pieces(data, sink)
    return Link(await sink.put(element(Kind.BYTES_NODE, [is_text, rows])))


async def _freeze_typed(value: Typed, sink: Sink) -> Link:
    if len(value.data) <= PIECE:
        return Link(await sink.put(element(Kind.VALUE, value)))
    rows = await _pieces(value.data, sink)
    return Link(await sink.put(element(Kind.TYPED_NODE, [value.name, value.version, rows])))


async def _pieces(data: bytes, sink: Sink) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for start in range(0, len(data), PIECE):
        piece = data[start : start + PIECE]
        rows.append([len(piece), Link(await sink.put(element(Kind.VALUE, piece)))])
    return rows
