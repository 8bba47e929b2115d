"""The graph of commits: what came before what, and where two of them part."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator

from ion.objects.commit import Commit, commit_of
from ion.objects.thawing import Get

Step = tuple[bytes, Commit]


async def read_commit(hash: bytes, get: Get) -> Commit:
    """Return a commit.

    :raises NotFound: there is none of that hash.
    :raises Damaged: it is none.
    """
    return commit_of(await get(hash))


async def ancestors(start: bytes, get: Get) -> AsyncIterator[Step]:
    """Iterate a commit and all that came before it: the latest first, none before one after it.

    Commits that say an earlier time than one that they come from are told after that one's others.
    """
    first = await read_commit(start, get)
    waiting = [(-first.time, start, first)]
    seen = {start}
    while waiting:
        _, name, commit = heapq.heappop(waiting)
        yield name, commit
        for parent in commit.parents:
            if parent not in seen:
                seen.add(parent)
                before = await read_commit(parent, get)
                heapq.heappush(waiting, (-before.time, parent, before))


async def as_of(head: bytes, time: float, get: Get) -> bytes | None:
    """Return the last commit of a branch that is not after a time, or None.

    A branch is its head, that one's first parent, and so on: what was merged came with the merge.
    """
    name: bytes | None = head
    while name is not None:
        commit = await read_commit(name, get)
        if commit.time <= time:
            return name
        name = commit.parents[0] if commit.parents else None
    return None


async def is_before(old: bytes, new: bytes, get: Get) -> bool:
    """Return whether ``new`` comes from ``old``, or is the same."""
    seen = {new}
    waiting = [new]
    while waiting:
        name = waiting.pop()
        if name == old:
            return True
        for parent in (await read_commit(name, get)).parents:
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return False


async def merge_bases(ours: bytes, theirs: bytes, get: Get) -> list[bytes]:
    """Return the best common ancestors of two commits: those that no other one comes from.

    There is none where they have nothing in common, and more than one after merges crosswise.
    """
    parents: dict[bytes, tuple[bytes, ...]] = {}
    mine = await _all_before(ours, get, parents)
    common = mine & await _all_before(theirs, get, parents)
    covered: set[bytes] = set()
    for name in common:
        covered.update(parent for parent in parents[name] if parent in common)
    return sorted(common - _closure(covered, parents))


async def _all_before(
    start: bytes, get: Get, parents: dict[bytes, tuple[bytes, ...]]
) -> set[bytes]:
    seen = {start}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in parents:
            parents[name] = (await read_commit(name, get)).parents
        fresh = [parent for parent in parents[name] if parent not in seen]
        seen.update(fresh)
        waiting += fresh
    return seen


def _closure(starts: set[bytes], parents: dict[bytes, tuple[bytes, ...]]) -> set[bytes]:
    seen = set(starts)
    waiting = list(starts)
    while waiting:
        fresh = [parent for parent in parents[waiting.pop()] if parent not in seen]
        seen.update(fresh)
        waiting += fresh
    return seen
