"""Changes to frozen values: only what is changed is read and written again.

A change is a tree as deep as its paths: each node a value that is set, a removal, or changes of
what is below. The result is the one that freezing the whole changed value would have, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ion.base.errors import InvalidRequest, NotFound
from ion.objects.chunking import LEAF_BYTES, Entry, Ref, leaf_of, leaves, map_entry
from ion.objects.element import Link
from ion.objects.freezing import Sink, checked_key, freeze, settle, top
from ion.objects.thawing import NOTHING, Get, is_map, leaf_entries, leaf_refs, lookup

Path = tuple[str, ...]
MANY = 64  # leaves: where a map has fewer, it is settled anew


class Set(msgspec.Struct, frozen=True):
    """A value takes the place of what was there."""

    value: Any


class Put(msgspec.Struct, frozen=True):
    """A frozen value takes the place of what was there; its elements are there."""

    frozen: Any


class Removed(msgspec.Struct, frozen=True):
    """What was there is there no more."""


class Below(msgspec.Struct):
    """Changes of the entries of a map."""

    changes: dict[str, Edit]


Edit = Set | Put | Removed | Below


def add(root: Below, path: Path, edit: Edit) -> None:
    """Add a change to others, which it may replace.

    :raises InvalidRequest: the path is empty, or leads into a value that was set before.
    """
    if not path:
        message = "a path has one step at least"
        raise InvalidRequest(message)
    node = root
    for step in path[:-1]:
        below = node.changes.get(step)
        if isinstance(below, Removed) or below is None:
            below = node.changes[step] = Below({}) if below is None else _emptied()
        if isinstance(below, Set) and isinstance(below.value, Mapping):
            changes: dict[str, Edit] = {key: Set(value) for key, value in below.value.items()}
            below = node.changes[step] = Anew(changes)
        if not isinstance(below, Below):
            message = f"{'/'.join(path)!r}: {step!r} is no map"
            raise InvalidRequest(message)
        node = below
    last = checked_key(path[-1])
    node.changes[last] = edit


class Anew(Below):
    """Entries of a map that takes the place of what was there."""


def _emptied() -> Anew:
    return Anew({})


async def edited(frozen: Any, edit: Edit, get: Get, sink: Sink) -> Any:
    """Return a frozen value with a change; NOTHING where it is removed.

    :raises InvalidRequest: it is to be changed within, and is no map; or a value is no plain data.
    :raises NotFound: what is to be removed is not there.
    """
    match edit:
        case Removed():
            return NOTHING
        case Set(value):
            return await freeze(value, sink)
        case Put(kept):
            return kept
        case Anew(changes):
            return await _edited_map({}, changes, get, sink)
        case Below(changes):
            base = {} if frozen is NOTHING else frozen
            if not await is_map(base, get):
                message = f"what is to have {next(iter(changes))!r} is no map"
                raise InvalidRequest(message)
            return await _edited_map(base, changes, get, sink)


async def _edited_map(frozen: Any, changes: Mapping[str, Edit], get: Get, sink: Sink) -> Any:
    news: dict[str, Any] = {}
    for key, change in changes.items():
        before = await lookup(frozen, key, get)
        if before is NOTHING and isinstance(change, Removed):
            message = f"there is no {key!r} to be removed"
            raise NotFound(message, details={"key": key})
        news[key] = await edited(before, change, get, sink)
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
    rest = dict(sorted(news.items()))
    position = 0
    pending: list[Entry] = []  # the end of what was changed, which has no cut yet
    while position < len(refs):
        ref = refs[position]
        following = refs[position + 1].first if position + 1 < len(refs) else None
        own = _own(rest, following)
        position += 1
        if not own and not pending:
            result.append(ref)
            continue
        for key in own:
            del rest[key]
        entries = [*pending, *_merged(await leaf_entries(ref, get), own)]
        cut = list(leaves(entries))
        pending = cut.pop() if cut and following is not None and not _is_cut(cut[-1]) else []
        result += [await _put(leaf, sink) for leaf in cut]
    if pending:
        result.append(await _put(pending, sink))
    if len(result) > 1:
        return await top(result, sink, is_map=True)
    entries = await leaf_entries_of(result, get, sink)
    return await settle(entries, sink, is_map=True)


def _own(news: Mapping[str, Any], following: str | None) -> dict[str, Any]:
    """Return those that come before a key; of sorted ones."""
    found: dict[str, Any] = {}
    for key, value in news.items():
        if following is not None and key >= following:
            break
        found[key] = value
    return found


def _is_cut(leaf: list[Entry]) -> bool:
    """Return whether a leaf ends where it must, whatever comes after it."""
    return leaf[-1].ends or sum(entry.size for entry in leaf) >= LEAF_BYTES


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
