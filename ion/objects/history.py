"""The graph of commits: what came before what, and where two of them part."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator

from ion.objects.commit import Commit, commit_of
from ion.objects.thawing import Get

Step = tuple[bytes, Commit]
_OURS, _THEIRS, _BEFORE = 1, 2, 4  # of whom a commit is an ancestor; of a common one


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
    """Return whether ``new`` comes from ``old``, or is the same.

    What is not long before is found without going through all that is.
    """
    if old == new:
        return True
    async for name, _ in ancestors(new, get):
        if name == old:
            return True
    return False


async def merge_bases(ours: bytes, theirs: bytes, get: Get) -> list[bytes]:
    """Return the best common ancestors of two commits: those that no other one comes from.

    There is none where they have nothing in common, and more than one after merges crosswise. Where
    there is one, hardly more than what is later is read, if clocks went right.
    """
    found = await _met(ours, theirs, get)
    return found if len(found) <= 1 else await _sifted(ours, theirs, get)


async def _met(ours: bytes, theirs: bytes, get: Get) -> list[bytes]:
    """Return common ancestors, all of the best ones among them.

    Both sides are gone through, the latest first, until all that is left comes before something
    that they have in common. That is right whatever the times say: what is found out too late of a
    commit is passed on once more.
    """
    sides: dict[bytes, int] = {}
    pending: set[bytes] = set()  # to be gone through, once more perhaps
    fresh: set[bytes] = set()  # those of them that are not known to come before a common one
    waiting: list[tuple[float, bytes, tuple[bytes, ...]]] = []
    found: list[bytes] = []

    async def mark(name: bytes, more: int) -> None:
        known = sides.get(name, 0)
        if known | more == known:
            return
        sides[name] = known | more
        pending.add(name)
        (fresh.discard if sides[name] & _BEFORE else fresh.add)(name)
        commit = await read_commit(name, get)
        heapq.heappush(waiting, (-commit.time, name, commit.parents))

    await mark(ours, _OURS)
    await mark(theirs, _THEIRS)
    while fresh:
        _, name, parents = heapq.heappop(waiting)
        if name not in pending:
            continue
        pending.discard(name)
        fresh.discard(name)
        known = sides[name]
        if known == _OURS | _THEIRS:
            found.append(name)
            known |= _BEFORE
        for parent in parents:
            await mark(parent, known)
    return [name for name in found if not sides[name] & _BEFORE]


async def _sifted(ours: bytes, theirs: bytes, get: Get) -> list[bytes]:
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
