"""Frozen values back into values: all of one, or only what is asked for."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ion.base.errors import Damaged
from ion.objects.chunking import Entry, Ref, entries_of, refs_of
from ion.objects.element import MAX_DEPTH, Kind, Link, Typed, decoded

Get = Callable[[bytes], Awaitable[bytes]]

_MAPS = (Kind.MAP_LEAF, Kind.MAP_NODE)
_LISTS = (Kind.LIST_LEAF, Kind.LIST_NODE)
_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
_LEVELS = 40  # of nodes over each other: far more than what is kept here ever has
LEAVES_AT_A_TIME = 20
_AT_A_TIME = 32  # elements that are read side by side


class Nothing:
    """Stands for what is not there."""

    def __repr__(self) -> str:
        return "<nothing>"


NOTHING = Nothing()


async def opened(frozen: Any, get: Get) -> tuple[Kind | None, Any]:
    """Return kind and body of what a link stands for; None and the value itself for all else."""
    if isinstance(frozen, Link):
        return decoded(await get(frozen.hash))
    return None, frozen


async def thaw(frozen: Any, get: Get, depth: int = 0) -> Any:
    """Return a whole value.

    :raises NotFound: an element of it is not there.
    :raises Damaged: one is not what it should be.
    """
    if type(frozen) in _ATOMS:
        return frozen
    if depth > MAX_DEPTH:
        message = f"a value is nested over {MAX_DEPTH} deep"
        raise Damaged(message)
    kind, body = await opened(frozen, get)
    if kind in _MAPS or (kind is None and isinstance(body, dict)):
        found = {}
        async for entry in map_entries(frozen, get):
            found[entry.key] = await thaw(entry.value, get, depth + 1)
        return found
    if kind in _LISTS or (kind is None and isinstance(body, list)):
        return [await thaw(entry.value, get, depth + 1) async for entry in list_items(frozen, get)]
    if kind in (Kind.BYTES_NODE, Kind.TYPED_NODE):
        return await _thaw_pieces(kind, body, get)
    if kind in (None, Kind.VALUE):
        return body
    message = f"{frozen!r} is no value, but a {kind.name.lower()}"
    raise Damaged(message)


async def _thaw_pieces(kind: Kind, body: Any, get: Get) -> bytes | str | Typed:
    try:
        *marks, rows = body
        links = [link.hash for _, link in rows]
        parts: list[bytes] = []
        for start in range(0, len(links), _AT_A_TIME):
            found = await asyncio.gather(*map(get, links[start : start + _AT_A_TIME]))
            parts += [decoded(data)[1] for data in found]
        data = b"".join(parts)
        if kind is Kind.TYPED_NODE:
            name, version = marks
            return Typed(str(name), int(version), data)
        (is_text,) = marks
        return data.decode() if is_text else data
    except (TypeError, ValueError, AttributeError) as error:
        message = f"an element is no {kind.name.lower()} although it says so"
        raise Damaged(message) from error


async def is_map(frozen: Any, get: Get) -> bool:
    """Return whether a frozen value is a map."""
    kind, body = await opened(frozen, get)
    return kind in _MAPS or (kind is None and isinstance(body, dict))


async def leaf_refs(
    frozen: Link, get: Get, seen: set[bytes] | None = None, level: int = 0
) -> list[Ref]:
    """Return references to the leaves of a map or list that is a link, in order.

    :param seen: takes the hashes of nodes and leaves.
    :raises Damaged: it is no map or list.
    """
    kind, body = decoded(await get(frozen.hash))
    if seen is not None:
        seen.add(frozen.hash)
    if kind in (Kind.MAP_LEAF, Kind.LIST_LEAF):
        entries = entries_of(kind, body)
        first = entries[0].key if entries else ""
        size = sum(entry.size for entry in entries)
        return [Ref(first, len(entries), size, frozen.hash)]
    if kind not in (Kind.MAP_NODE, Kind.LIST_NODE) or level > _LEVELS:
        message = f"{frozen!r} is no map or list, but a {kind.name.lower()}"
        raise Damaged(message)
    refs = refs_of(kind, body)
    if await _are_leaves(refs[0], get):
        if seen is not None:
            seen.update(ref.hash for ref in refs)
        return refs
    below = [await leaf_refs(Link(ref.hash), get, seen, level + 1) for ref in refs]
    return [ref for some in below for ref in some]


async def _are_leaves(ref: Ref, get: Get) -> bool:
    return decoded(await get(ref.hash))[0] in (Kind.MAP_LEAF, Kind.LIST_LEAF)


async def leaf_entries(ref: Ref, get: Get) -> list[Entry]:
    """Return the entries of a leaf."""
    kind, body = decoded(await get(ref.hash))
    return entries_of(kind, body)


async def map_entries(frozen: Any, get: Get) -> AsyncIterator[Entry]:
    """Iterate the entries of a map, in the order of keys; their values are frozen."""
    if isinstance(frozen, dict):
        for key in sorted(frozen):
            yield Entry(key, frozen[key])
        return
    async for entry in _entries(frozen, get):
        yield entry


async def _entries(frozen: Link, get: Get) -> AsyncIterator[Entry]:
    refs = await leaf_refs(frozen, get)
    for start in range(0, len(refs), LEAVES_AT_A_TIME):
        some = refs[start : start + LEAVES_AT_A_TIME]
        for data in await asyncio.gather(*(get(ref.hash) for ref in some)):
            for entry in entries_of(*decoded(data)):
                yield entry


async def list_items(frozen: Any, get: Get) -> AsyncIterator[Entry]:
    """Iterate the items of a list; they are frozen."""
    if isinstance(frozen, list):
        for value in frozen:
            yield Entry("", value, is_item=True)
        return
    async for entry in _entries(frozen, get):
        yield entry


async def lookup(frozen: Any, key: str, get: Get) -> Any:
    """Return the frozen value of a key of a map, or NOTHING; of a list, that of an index."""
    kind, body = await opened(frozen, get)
    while kind in (Kind.MAP_NODE, Kind.LIST_NODE):
        refs = refs_of(kind, body)
        if kind is Kind.MAP_NODE:
            position = bisect.bisect_right([ref.first for ref in refs], key) - 1
            if position < 0:
                return NOTHING
        else:
            position, key = _part(refs, key)
            if position < 0:
                return NOTHING
        kind, body = decoded(await get(refs[position].hash))
    if kind is Kind.MAP_LEAF:
        return next((e.value for e in entries_of(kind, body) if e.key == key), NOTHING)
    if kind is None and isinstance(body, dict):
        return body.get(key, NOTHING)
    if isinstance(body, list) and kind in (None, Kind.LIST_LEAF) and _is_index(key):
        return body[int(key)] if int(key) < len(body) else NOTHING
    return NOTHING


def _part(refs: list[Ref], key: str) -> tuple[int, str]:
    """Return which reference an index is below, and its index there; -1: none."""
    if not _is_index(key):
        return -1, key
    index = int(key)
    for position, ref in enumerate(refs):
        if index < ref.count:
            return position, str(index)
        index -= ref.count
    return -1, key


def _is_index(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) < 19  # noqa: PLR2004 - of 64 bits
