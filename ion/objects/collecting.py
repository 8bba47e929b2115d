"""Removing elements that no branch comes from any more, while others go on working.

It takes two steps, with a *grace* in between, so that nothing is locked:

1. :func:`condemn` marks what no head reaches, with the revision that it has.
2. :func:`sweep`, once the youngest mark is older than the grace, takes the marks off what came to
   be needed meanwhile, and removes the rest, each only where its revision is still that one.

In between, who puts a marked element again, or something that refers to it, takes the mark away
(:class:`~ion.objects.kept.KeptPeer`). So nothing that a head reaches is lost, as long as the grace
is longer than a commit made here, or one call of a push from afar, takes; a whole push may take as
long as it likes. All that is to be known stands in the store: who is killed leaves marks behind,
and the next one goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable

import msgspec

from ion.base.errors import Conflict, Damaged
from ion.objects.element import HASH, links_of
from ion.objects.kept import CONDEMNED, KeptPeer
from ion.stores.store import Entry, Put, Remove, Store, Write

GRACE = 3600.0  # seconds
MOST = 1_000_000  # elements that one round condemns; the next one takes the rest
_AT_A_TIME = 64  # elements that are read at once
_BATCH = 500

Clock = Callable[[], float]


class Collected(msgspec.Struct, frozen=True):
    """What a round has come to.

    :ivar removed: elements that are gone.
    :ivar spared: elements that were condemned, and are needed after all.
    :ivar condemned: elements that are condemned now.
    """

    removed: int = 0
    spared: int = 0
    condemned: int = 0


class _Mark(msgspec.Struct, frozen=True, array_like=True):
    """Stands with a condemned element: the revision that it had, and when it was condemned."""

    revision: int
    time: float


async def collect(home: KeptPeer, *, grace: float = GRACE, clock: Clock = time.time) -> Collected:
    """Sweep what was condemned long enough ago, and condemn what is not needed now.

    Call it again and again, each time after the grace: what one condemns the next one removes.

    :param grace: seconds; see the module.
    :raises Damaged: a head reaches what is not there, or no element; nothing is condemned then.
    """
    swept = await sweep(home, grace=grace, clock=clock)
    if swept.condemned:
        return swept
    count = await condemn(home, clock=clock)
    return Collected(swept.removed, swept.spared, count)


async def condemn(home: KeptPeer, *, clock: Clock = time.time) -> int:
    """Mark elements that no head reaches; return how many are marked now.

    Where there are marks already, these are to be swept first, and no more are added.

    :raises Damaged: a head reaches what is not there, or no element.
    """
    marks = await _marks(home)
    if marks:
        return len(marks)
    reached = await _reached(home)
    batch: list[Write] = []
    count = 0
    async for name in _names(home.elements):
        if name in reached or count >= MOST:
            continue
        entry = await home.elements.entry(name.hex())
        if entry is not None:
            mark = msgspec.msgpack.encode(_Mark(entry.revision, clock()))
            batch.append(Put(CONDEMNED + name.hex(), mark))
            count += 1
        if len(batch) >= _BATCH:
            await home.elements.write(batch)
            batch = []
    if batch:
        await home.elements.write(batch)
    return count


async def sweep(home: KeptPeer, *, grace: float = GRACE, clock: Clock = time.time) -> Collected:
    """Remove what is condemned and still not needed; nothing where a mark is younger than grace.

    :param grace: seconds; see the module.
    """
    marks = await _marks(home)
    if not marks:
        return Collected()
    if clock() - max(mark.time for mark in marks.values()) < grace:
        return Collected(condemned=len(marks))
    needed = await _needed(home, marks)
    for some in _batches(needed):
        await home.elements.write([Remove(CONDEMNED + name.hex()) for name in some])
    removed = 0
    for some in _batches(name for name in marks if name not in needed):
        removed += await _remove(home.elements, {name: marks[name] for name in some})
    return Collected(removed, len(marks) - removed)


async def _needed(home: KeptPeer, marks: dict[bytes, _Mark]) -> set[bytes]:
    """Return what is needed of what is condemned.

    That is what a head ends with, what was put again, and what is referred to by an element that is
    not condemned, or by one that is needed.
    """
    roots = {entry.value async for entry in _entries(home.heads_store) if entry.value in marks}
    async for entry in _entries(home.elements):
        name = _name(entry.key)
        if name is None:
            continue
        mark = marks.get(name)
        if mark is None:
            roots.update(each for each in links_of(entry.value) if each in marks)
        elif mark.revision != entry.revision:
            roots.add(name)
    needed = set(roots)
    waiting = list(roots)
    while waiting:
        some = waiting[-_AT_A_TIME:]
        del waiting[-_AT_A_TIME:]
        found = await home.elements.get_many([name.hex() for name in some])
        for data in found.values():
            fresh = [each for each in links_of(data) if each in marks and each not in needed]
            needed.update(fresh)
            waiting += fresh
    return needed


async def _remove(elements: Store, marks: dict[bytes, _Mark]) -> int:
    """Remove elements with their marks; return how many are gone."""
    try:
        await elements.write([write for item in marks.items() for write in _removal(*item)])
        return len(marks)
    except Conflict:
        gone = [await _remove_one(elements, *item) for item in marks.items()]
        return sum(gone)


async def _remove_one(elements: Store, name: bytes, mark: _Mark) -> bool:
    try:
        await elements.write(_removal(name, mark))
    except Conflict:
        if await elements.has(name.hex()):
            return False  # somebody put it again
        await elements.remove(CONDEMNED + name.hex())  # a collector was killed in between
    return True


def _removal(name: bytes, mark: _Mark) -> list[Write]:
    return [Remove(name.hex(), mark.revision), Remove(CONDEMNED + name.hex())]


async def _reached(home: KeptPeer) -> set[bytes]:
    """Return the hashes of all that heads reach."""
    seen = {entry.value async for entry in _entries(home.heads_store)}
    waiting = list(seen)
    while waiting:
        some = waiting[-_AT_A_TIME:]
        del waiting[-_AT_A_TIME:]
        found = await home.elements.get_many([name.hex() for name in some])
        for name in some:
            data = found.get(name.hex())
            if data is None:
                message = f"element {name.hex()} is needed, and not there: nothing is removed"
                raise Damaged(message, details={"hash": name.hex()})
            fresh = [each for each in links_of(data) if each not in seen]
            seen.update(fresh)
            waiting += fresh
    return seen


async def _marks(home: KeptPeer) -> dict[bytes, _Mark]:
    found: dict[bytes, _Mark] = {}
    async for entry in _entries(home.elements, CONDEMNED):
        try:
            name = bytes.fromhex(entry.key.removeprefix(CONDEMNED))
            found[name] = msgspec.msgpack.decode(entry.value, type=_Mark)
        except (ValueError, msgspec.MsgspecError) as error:
            message = f"{entry.key!r} is no mark of a condemned element"
            raise Damaged(message) from error
    return found


async def _entries(store: Store, prefix: str = "") -> AsyncIterator[Entry]:
    cursor: str | None = None
    while True:
        page = await store.scan(prefix, after=cursor)
        for entry in page.items:
            yield entry
        cursor = page.cursor
        if cursor is None:
            return


async def _names(elements: Store) -> AsyncIterator[bytes]:
    cursor: str | None = None
    while True:
        page = await elements.keys(after=cursor)
        for key in page.items:
            name = _name(key)
            if name is not None:
                yield name
        cursor = page.cursor
        if cursor is None:
            return


def _name(key: str) -> bytes | None:
    """Return the hash that a key is; None: it is that of a mark."""
    return bytes.fromhex(key) if len(key) == 2 * HASH and not key.startswith(CONDEMNED) else None


def _batches(names: Iterable[bytes]) -> list[list[bytes]]:
    listed = list(names)
    return [listed[start : start + _BATCH] for start in range(0, len(listed), _BATCH)]
