"""Changes to frozen values: only what is changed is read and written again.

A change is a tree as deep as its paths: each node a value that is set, a removal, or changes of
what is below. The result is the one that freezing the whole changed value would have, bit for bit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from ion.base.errors import InvalidRequest, NotFound
from ion.objects.chunking import INLINE, Entry, Ref, is_cut, leaf_of, leaves, map_entry
from ion.objects.element import MAX_DEPTH, Link
from ion.objects.freezing import BREATH, Sink, checked_key, freeze, settle, top
from ion.objects.thawing import (
    LEAVES_AT_A_TIME,
    NOTHING,
    Get,
    is_map,
    leaf_entries,
    leaf_refs,
    lookup,
)

Path = tuple[str, ...]
MANY = 64  # leaves: where a map has fewer, it is settled anew


class Set(msgspec.Struct, frozen=True):
    """A value takes the place of what was there."""

    value: Any


class Put(msgspec.Struct, frozen=True):
    """A frozen value takes the place of what was there; its elements are there."""

    frozen: Any


class Removed(msgspec.Struct, frozen=True):
    """What was there is there no more.

    :ivar is_sure: False: whether anything was there does not matter.
    """

    is_sure: bool = True


class Below(msgspec.Struct):
    """Changes of the entries of a map."""

    changes: dict[str, Edit]


class Anew(Below):
    """Entries of a map that takes the place of what was there.

    :ivar frozen: what it begins with.
    """

    frozen: Any = {}


Edit = Set | Put | Removed | Below


def add(root: Below, path: Path, edit: Edit) -> None:
    """Add a change to others, which it may replace.

    :raises InvalidRequest: the path is empty, or leads into a value that was set before.
    """
    if not path:
        message = "a path has one step at least"
        raise InvalidRequest(message)
    if len(path) > MAX_DEPTH:
        message = f"a value is nested {MAX_DEPTH} deep at most"
        raise InvalidRequest(message)
    for step in path:
        checked_key(step)
    node = root
    for step in path[:-1]:
        node = _entered(node, step, path)
    last = path[-1]
    if isinstance(edit, Removed) and not isinstance(node.changes.get(last), Removed | None):
        edit = Removed(is_sure=False)  # it takes back what was set before
    node.changes[last] = edit


def _entered(node: Below, step: str, path: Path) -> Below:
    """Return the changes below a step, to be added to."""
    before = node.changes.get(step)
    match before:
        case Below():
            return before
        case None:
            after = Below({})
        case Removed():
            after = Anew({})
        case Put(frozen):
            after = Anew({}, frozen)
        case Set(value) if isinstance(value, Mapping):
            after = Anew({checked_key(key): Set(each) for key, each in value.items()})
        case _:
            message = f"{'/'.join(path)!r}: {step!r} is no map"
            raise InvalidRequest(message)
    node.changes[step] = after
    return after


async def edited(frozen: Any, edit: Edit, get: Get, sink: Sink, depth: int = 0) -> Any:
    """Return a frozen value with a change; NOTHING where it is removed.

    :param depth: of the value, in what it is within.
    :raises InvalidRequest: it is to be changed within, and is no map; or a value is no plain data.
    :raises NotFound: what is to be removed is not there.
    """
    match edit:
        case Removed():
            return NOTHING
        case Set(value):
            return await freeze(value, sink, depth)
        case Put(kept):
            return kept
        case Below(changes):
            base = {} if frozen is NOTHING else frozen
            if isinstance(edit, Anew):
                base = edit.frozen
            if not await is_map(base, get):
                message = f"what is to have {next(iter(changes), '')!r} is no map"
                raise InvalidRequest(message)
            return await _edited_map(base, changes, get, sink, depth)


async def _edited_map(
    frozen: Any, changes: Mapping[str, Edit], get: Get, sink: Sink, depth: int
) -> Any:
    news: dict[str, Any] = {}
    for count, (key, change) in enumerate(changes.items()):
        before: Any = NOTHING
        if isinstance(change, Below) or (isinstance(change, Removed) and change.is_sure):
            before = await lookup(frozen, key, get)
        if before is NOTHING and isinstance(change, Removed) and change.is_sure:
            message = f"there is no {key!r} to be removed"
            raise NotFound(message, details={"key": key})
        news[key] = await edited(before, change, get, sink, depth + 1)
        if count % BREATH == 0:
            await asyncio.sleep(0)
    if isinstance(frozen, Link):
        refs = await leaf_refs(frozen, get, sink.known)
        if len(refs) > MANY:
            return await _recut(refs, news, get, sink)
        entries = [entry for ref in refs for entry in await leaf_entries(ref, get)]
    else:
        entries = [map_entry(key, frozen[key]) for key in sorted(frozen)]
    return await settle(_merged(entries, news), sink, is_map=True)


def _merged(entries: list[Entry], news: Mapping[str, Any]) -> list[Entry]:
    """Return entries with those that are new, in order."""
    kept = [entry for entry in entries if entry.key not in news]
    fresh = [map_entry(key, value) for key, value in news.items() if value is not NOTHING]
    return sorted([*kept, *fresh], key=lambda entry: entry.key) if fresh else kept


async def _recut(refs: list[Ref], news: Mapping[str, Any], get: Get, sink: Sink) -> Any:
    """Change the leaves that are touched, and those behind them until the cuts are where they were.

    Where a leaf begins, nothing before it matters any more: what comes after is cut as always.
    """
    result: list[Ref] = []
    rest = sorted(news.items(), reverse=True)
    position = 0
    pending: list[Entry] = []  # the end of what was changed, which has no cut yet
    while position < len(refs):
        ref = refs[position]
        following = refs[position + 1].first if position + 1 < len(refs) else None
        own = {}
        while rest and (following is None or rest[-1][0] < following):
            key, value = rest.pop()
            own[key] = value
        position += 1
        if not own and not pending:
            result.append(ref)
            continue
        entries = [*pending, *_merged(await leaf_entries(ref, get), own)]
        cut = list(leaves(entries))
        pending = cut.pop() if cut and following is not None and not _is_whole(cut[-1]) else []
        result += [await _put(leaf, sink) for leaf in cut]
        if position % LEAVES_AT_A_TIME == 0:
            await asyncio.sleep(0)
    if sum(ref.size for ref in result) > INLINE:
        return await top(result, sink, is_map=True)
    entries = await leaf_entries_of(result, get, sink)
    return await settle(entries, sink, is_map=True)


def _is_whole(leaf: list[Entry]) -> bool:
    """Return whether a leaf ends where it must, whatever comes after it."""
    return is_cut(sum(entry.size for entry in leaf), leaf[-1])


async def _put(leaf: list[Entry], sink: Sink) -> Ref:
    ref, data = leaf_of(leaf, is_map=True)
    await sink.take(ref.hash, data)
    return ref


async def leaf_entries_of(refs: list[Ref], get: Get, sink: Sink) -> list[Entry]:
    """Return the entries of leaves, of which some may be on their way only."""
    await sink.flush()
    return [entry for ref in refs for entry in await leaf_entries(ref, get)]


def steps(path: str | Path) -> Path:
    """Return a path: ``"a/b"`` and ``("a", "b")`` are the same; a key may hold a slash there only.

    :raises InvalidRequest: it is none.
    """
    if isinstance(path, str):
        path = tuple(path.split("/"))
    if not path or not all(isinstance(step, str) and step for step in path):
        message = f"{path!r} is no path: give steps that are no empty text"
        raise InvalidRequest(message)
    return path
