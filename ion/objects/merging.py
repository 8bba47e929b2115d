"""Three-way merge: what either side changed is taken; what both did differently is a conflict.

Maps are merged key by key, as deep as they go; typed messages field by field, where their type is
known (:mod:`ion.objects.registry`). All else is one value: a list that both sides changed is a
conflict. Nobody wins by being later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ion.base.errors import Damaged, InvalidRequest
from ion.objects.chunking import Entry
from ion.objects.editing import Below, Edit, Path, Put, Removed, Set
from ion.objects.element import MAX_DEPTH, Kind, Link, Typed, same
from ion.objects.thawing import NOTHING, Get, leaf_entries, leaf_refs, opened, thaw
from ion.objects.types import MergeTyped

MAX_CONFLICTS = 10_000

DISPUTED = Typed("", 0, b"disputed")  # in a base: what those that it was made of do not agree on


class Conflict(msgspec.Struct, frozen=True):
    """What both sides changed, each in its own way.

    :ivar path: from the root.
    :ivar base: the value before; NOTHING: there was none.
    :ivar ours: NOTHING: we have removed it.
    :ivar theirs: likewise.
    :ivar field: of the typed message at ``path``, where the conflict is within one.
    """

    path: Path
    base: Any
    ours: Any
    theirs: Any
    field: str = ""


class Merged(msgspec.Struct):
    """What a merge comes to.

    :ivar changes: that make theirs of ours, where they do not conflict.
    :ivar conflicts: in the order of their paths; ours stays there.
    """

    changes: Below
    conflicts: list[Conflict]


async def merge(
    base: Any, ours: Any, theirs: Any, get: Get, *, typed: MergeTyped | None = None
) -> Merged:
    """Merge frozen values that are maps.

    :param base: what both come from; an empty map where nothing is in common.
    :param typed: merges typed messages (base, or None; ours; theirs) to one, in which ours stays
        where they conflict, and these: (field, base, ours, theirs); None: their type is not known.
    :raises InvalidRequest: there are more than :data:`MAX_CONFLICTS`.
    """
    work = _Merge(get, typed)
    changes = await work.maps(base, ours, theirs, ())
    work.conflicts.sort(key=lambda conflict: (conflict.path, conflict.field))
    return Merged(changes, work.conflicts)


class _Merge:
    def __init__(self, get: Get, typed: MergeTyped | None) -> None:
        self._get = get
        self._typed = typed
        self.conflicts: list[Conflict] = []

    async def maps(self, base: Any, ours: Any, theirs: Any, path: Path) -> Below:
        """Return the changes of theirs that ours is to have.

        :raises Damaged: they are nested deeper than anything that is committed here.
        """
        if len(path) > MAX_DEPTH:
            message = f"a value is nested over {MAX_DEPTH} deep"
            raise Damaged(message)
        mine = await differing(base, ours, self._get)
        other = await differing(base, theirs, self._get)
        result = Below({})
        for key, (before, after) in other.items():
            own = mine[key][1] if key in mine else before
            edit = await self._one(before, own, after, (*path, key))
            if edit is not None:
                result.changes[key] = edit
        return result

    async def _one(self, base: Any, ours: Any, theirs: Any, path: Path) -> Edit | None:
        """Return the change that ours is to have at ``path``, or None."""
        if same(ours, theirs):
            return None
        if same(ours, base):
            return Removed() if theirs is NOTHING else Put(theirs)
        if await self._are_maps(ours, theirs):
            before = base if await self._are_maps(base) else {}
            below = await self.maps(before, ours, theirs, path)
            return below if below.changes else None
        messages = [await self._message(side) for side in (base, ours, theirs)]
        if self._typed is not None and messages[1] and messages[2] and messages[0] != DISPUTED:
            merged = self._typed(messages[0], messages[1], messages[2])
            if merged is not None:
                for field, before, own, other in merged[1]:
                    self._add(Conflict(path, before, own, other, field))
                return Set(merged[0]) if merged[0] != messages[1] else None
        self._add(Conflict(path, *[await self._thawed(side) for side in (base, ours, theirs)]))
        return None

    async def _message(self, value: Any) -> Typed | None:
        """Return the typed message that a frozen value is, or None."""
        if isinstance(value, Link):
            kind, body = await opened(value, self._get)
            value = await thaw(value, self._get) if kind is Kind.TYPED_NODE else body
        return value if isinstance(value, Typed) else None

    async def _are_maps(self, *values: Any) -> bool:
        for value in values:
            kind, body = await opened(value, self._get) if value is not NOTHING else (None, None)
            is_map = isinstance(body, dict) if kind is None else kind in _MAPS
            if not is_map:
                return False
        return True

    async def _thawed(self, value: Any) -> Any:
        if value is NOTHING or value == DISPUTED:
            return NOTHING
        return await thaw(value, self._get)

    def _add(self, conflict: Conflict) -> None:
        if len(self.conflicts) >= MAX_CONFLICTS:
            message = f"there are more than {MAX_CONFLICTS} conflicts: merge in smaller steps"
            raise InvalidRequest(message)
        self.conflicts.append(conflict)


_MAPS = (Kind.MAP_LEAF, Kind.MAP_NODE)


async def differing(old: Any, new: Any, get: Get) -> dict[str, tuple[Any, Any]]:
    """Return the keys whose values differ between two frozen maps, with both values, frozen.

    Leaves that both have are not read.
    """
    if same(old, new):
        return {}
    before, after = await _unshared(old, new, get)
    return {
        key: (before.get(key, NOTHING), after.get(key, NOTHING))
        for key in sorted({*before, *after})
        if not same(before.get(key, NOTHING), after.get(key, NOTHING))
    }


async def _unshared(old: Any, new: Any, get: Get) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the entries of two maps that are not in leaves that both have."""
    sides: list[dict[str, Any]] = []
    leaves = [await leaf_refs(m, get) if isinstance(m, Link) else [] for m in (old, new)]
    shared = {ref.hash for ref in leaves[0]} & {ref.hash for ref in leaves[1]}
    for frozen, refs in zip((old, new), leaves, strict=True):
        entries = [
            entry
            for ref in refs
            if ref.hash not in shared
            for entry in await leaf_entries(ref, get)
        ]
        if not isinstance(frozen, Link):
            entries = [Entry(key, value) for key, value in frozen.items()]
        sides.append({entry.key: entry.value for entry in entries})
    return sides[0], sides[1]
