"""Elements and heads of repositories in the stores of a datastore: a peer that is here.

Elements nobody refers to any more are removed in two steps (:mod:`ion.objects.collecting`). In
between, those that are condemned count as missing. Who puts one again, or something that refers to
it, or lets a branch end with it, takes the mark away, from all that it refers to first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from ion.base.errors import Conflict, Damaged, InvalidRequest, NotFound
from ion.objects.cache import Cache
from ion.objects.commit import commit_of
from ion.objects.element import HASH, MAX_ELEMENT, hash_of, links_of, verified
from ion.objects.names import checked_branch, checked_repository
from ion.objects.peer import BATCH_BYTES, MAX_ASKED
from ion.objects.transfer import leaves_first
from ion.stores.store import ABSENT, Datastore, Entry, Put, Remove, Store, Write

CACHE_BYTES = 16 * 1024 * 1024
MAX_KEPT = 4000  # elements that are put at once
READ_AT_ONCE = 16  # elements, of which not all may fit in an answer
CONDEMNED = "condemned/"  # of keys: elements that are to be removed


class KeptPeer:
    """See :class:`~ion.objects.peer.Peer`; made by :meth:`open`."""

    def __init__(self, elements: Store, heads: Store) -> None:
        self.elements = elements
        self.heads_store = heads
        self._cache = Cache(CACHE_BYTES)

    @classmethod
    async def open(cls, datastore: Datastore, name: str = "objects") -> KeptPeer:
        """Open the stores of elements and heads; made where there are none yet."""
        elements = await datastore.store(f"{name}_elements")
        return cls(elements, await datastore.store(f"{name}_heads"))

    # elements

    async def get(self, hash: bytes) -> bytes:
        """Return an element.

        :raises NotFound: it is not there.
        :raises Damaged: it is not what its hash says.
        """
        data = self._cache.get(hash)
        if data is None:
            data = await self.elements.get(hash.hex())
            if data is None:
                raise _absent(hash)
            self._cache.put(hash, verified(hash, data))
        return data

    async def has(self, hash: bytes) -> bool:
        """Return whether an element is there, and stays."""
        return not await self.missing([hash])

    async def missing(self, hashes: Sequence[bytes]) -> list[bytes]:
        """See :meth:`Elements.missing`."""
        _check_hashes(hashes)
        condemned = await self._condemned(hashes)  # first: what is swept meanwhile is absent then
        gone = (await self._absent(hashes)).union(condemned)
        return [each for each in hashes if each in gone]

    async def _absent(self, hashes: Sequence[bytes]) -> set[bytes]:
        there = await asyncio.gather(*(self.elements.has(each.hex()) for each in hashes))
        return {each for each, is_there in zip(hashes, there, strict=True) if not is_there}

    async def _condemned(self, hashes: Collection[bytes]) -> list[bytes]:
        page = await self.elements.keys(CONDEMNED, limit=1)
        if not page.items:
            return []
        marks = (self.elements.has(CONDEMNED + each.hex()) for each in hashes)
        there = await asyncio.gather(*marks)
        return [each for each, is_there in zip(hashes, there, strict=True) if is_there]

    async def fetch(self, hashes: Sequence[bytes]) -> list[bytes]:
        """See :meth:`Elements.fetch`."""
        _check_hashes(hashes)
        found: list[bytes] = []
        size = 0
        for start in range(0, len(hashes), READ_AT_ONCE):
            for each, data in zip(
                hashes[start:], await self._read(hashes[start : start + READ_AT_ONCE]), strict=False
            ):
                if data is None and not found:
                    raise _absent(each)
                size += len(data or b"")
                if data is None or (found and size > BATCH_BYTES):
                    return found
                found.append(data)
        return found

    async def _read(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        """Return elements, those that are not there as None."""
        kept = {each: self._cache.get(each) for each in hashes}
        rest = [each.hex() for each, data in kept.items() if data is None]
        for key, data in (await self.elements.get_many(rest) if rest else {}).items():
            name = bytes.fromhex(key)
            kept[name] = verified(name, data)
            self._cache.put(name, data)
        return [kept[each] for each in hashes]

    async def offer(self, elements: Sequence[bytes]) -> None:
        """See :meth:`Elements.offer`."""
        offered: dict[bytes, bytes] = {}
        needed: dict[bytes, None] = {}
        for data in elements:
            if len(data) > MAX_ELEMENT:
                message = f"an element has at most {MAX_ELEMENT} bytes, not {len(data)}"
                raise InvalidRequest(message)
            needed.update((h, None) for h in links_of(data) if h not in offered)
            offered[hash_of(data)] = data
        await self.secure(list(needed))
        await self.keep(offered)

    async def secure(self, needed: Sequence[bytes]) -> None:
        """See to it that elements are there, and stay, with all that they refer to.

        :raises Conflict: one is not there.
        """
        for start in range(0, len(needed), MAX_ASKED):
            some = needed[start : start + MAX_ASKED]
            await self._revive(await self._condemned_of(some))

    async def _condemned_of(self, needed: Sequence[bytes]) -> list[bytes]:
        """Return those that are condemned, of elements that all are to be there.

        :raises Conflict: one is not.
        """
        condemned = await self._condemned(needed)  # first: what is swept meanwhile is absent then
        absent = await self._absent(needed)
        if absent:
            raise _open_end([each for each in needed if each in absent])
        return condemned

    async def _revive(self, condemned: list[bytes]) -> None:
        """Put condemned elements again, and all that is condemned below them, leaves first.

        A sweep that is under way may have taken some of that already.

        :raises Conflict: one is not there any more.
        """
        links: dict[bytes, list[bytes]] = {}
        waiting = condemned
        while waiting:
            name = waiting.pop()
            if name not in links:
                below = links_of(await self._needed(name))
                links[name] = await self._condemned_of(below)
                waiting += links[name]
        for name in leaves_first(links):
            await self.keep({name: await self._needed(name)})

    async def _needed(self, name: bytes) -> bytes:
        data = await self.elements.get(name.hex())
        if data is None:
            raise _open_end([name])
        return data

    async def keep(self, elements: Mapping[bytes, bytes]) -> None:
        """Put elements by their hashes, which are right; what they refer to is there."""
        names = list(elements)
        for start in range(0, len(names), MAX_KEPT):
            some = names[start : start + MAX_KEPT]
            batch: list[Write] = [Put(name.hex(), elements[name]) for name in some]
            marks = await self._condemned(some)
            await self.elements.write([*batch, *[Remove(CONDEMNED + m.hex()) for m in marks]])

    # heads

    async def heads(self, repository: str) -> dict[str, bytes]:
        """See :meth:`Peer.heads`."""
        prefix = f"{checked_repository(repository)}/"
        found: dict[str, bytes] = {}
        cursor: str | None = None
        while True:
            page = await self.heads_store.scan(prefix, after=cursor)
            for entry in page.items:
                found[entry.key.removeprefix(prefix)] = _head(entry)
            cursor = page.cursor
            if cursor is None:
                return found

    async def set_head(
        self, repository: str, branch: str, expected: bytes | None, commit: bytes
    ) -> None:
        """See :meth:`Peer.set_head`."""
        key = f"{checked_repository(repository)}/{checked_branch(branch)}"
        data = await self.elements.get(commit.hex())
        if data is None:
            message = f"there is no commit {commit.hex()}: put its elements first"
            raise NotFound(message, details={"hash": commit.hex()})
        entry = await self.heads_store.entry(key)
        now = _head(entry) if entry is not None else None
        if now != expected:
            raise _stale(repository, branch, expected, now, commit)
        await self.secure([commit, *commit_of(data).parents])
        revision = entry.revision if entry is not None else ABSENT
        try:
            await self.heads_store.put(key, commit, revision=revision)
        except Conflict:
            theirs = await self.heads_store.get(key)
            raise _stale(repository, branch, expected, theirs, commit) from None

    async def remove_head(self, repository: str, branch: str) -> bool:
        """Remove a branch; its commits stay until they are collected."""
        key = f"{checked_repository(repository)}/{checked_branch(branch)}"
        return await self.heads_store.remove(key)


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if len(hashes) > MAX_ASKED or any(len(each) != HASH for each in hashes):
        message = f"give at most {MAX_ASKED} hashes, of {HASH} bytes each"
        raise InvalidRequest(message)


def _absent(hash: bytes) -> NotFound:
    return NotFound(f"there is no element {hash.hex()}", details={"hash": hash.hex()})


def _open_end(missing: list[bytes]) -> Conflict:
    message = (
        f"element {missing[0].hex()} is referred to, and not there: elements are put leaves first"
    )
    return Conflict(message, details={"missing": [each.hex() for each in missing[:100]]})


def _head(entry: Entry) -> bytes:
    if len(entry.value) != HASH:
        message = f"the head {entry.key!r} is no hash of a commit"
        raise Damaged(message)
    return entry.value


def _stale(
    repository: str, branch: str, expected: bytes | None, now: bytes | None, ours: bytes
) -> Conflict:
    theirs = now.hex() if now is not None else None
    message = (
        f"branch {branch!r} of {repository!r} ends with {theirs or 'nothing'} by now, not with "
        f"{expected.hex() if expected is not None else 'nothing'}: pull, merge, and push again"
    )
    details = {
        "expected": expected.hex() if expected is not None else None,
        "theirs": theirs,
        "ours": ours.hex(),
    }
    return Conflict(message, details=details)
