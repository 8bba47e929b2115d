"""Queries over Redis: what may be found is read in chunks, and decided here by ``is_true``.

Memory is bounded by a page and a chunk, whatever there is. Of what is written meanwhile, a query
sees some and some not.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from ion.base.errors import Damaged
from ion.stores.limits import PAGE_BYTES
from ion.stores.ordering import sort_key
from ion.stores.query import Position, Query, cursor_of, is_true, position_of
from ion.stores.redis.lane import Lane
from ion.stores.redis.layout import Space, unpack
from ion.stores.redis.planning import ALL, Part, Walk, by_index, by_key, by_order
from ion.stores.redis.scripts import FETCH, WALK
from ion.stores.store import Entry, Page

_CHUNK = 1000  # entries looked at in one step
_FIRST_CHUNK = 50

Decode = Callable[[bytes, bytes | None, bytes], Entry]


class _Candidate(msgspec.Struct, frozen=True):
    """What may be in a page.

    :ivar attributes: as they are kept.
    """

    rank: Any
    position: Position
    attributes: bytes


class Finder:
    """Finds entries of one store.

    :param lane: that it asks by.
    :param decode: makes an entry of key, record and attributes.
    """

    def __init__(self, space: Space, lane: Lane, decode: Decode) -> None:
        self._space = space
        self._indices = space.indices or {}
        self._lane = lane
        self._decode = decode

    async def page(self, query: Query) -> Page[Entry]:
        """Return a page of a checked query."""
        while True:
            best = await self._best(query, position_of(query))
            page = await self._fetched(query, best)
            if page.items or page.cursor is None:
                return page
            query = msgspec.structs.replace(query, cursor=page.cursor)  # all were written meanwhile

    async def count(self, query: Query) -> int:
        """Return how many entries a checked query is true of."""
        query = msgspec.structs.replace(query, cursor=None, order=())
        walks = [by_key(query, None), *by_index(query, self._indices, None)]
        sizes = await self._sizes(walks)
        size, walk = min(zip(sizes, walks, strict=True), key=_first)
        if walk.is_whole:
            return size
        count = 0
        async for chunk in self._walked(walk, _CHUNK):
            count += sum(is_true(query.where, index) for _, _, index in chunk)
        return count

    # choosing a walk

    async def _cheapest(self, query: Query, start: Position | None) -> Walk:
        """Return the walk that is likely to look at the least."""
        every = by_key(query, start)
        found = list(by_index(query, self._indices, start))
        if query.where is None and every.is_ordered:
            return every
        if len(found) == 1 and found[0].is_ordered:
            return found[0]
        ordered = by_order(query, self._indices, start)
        walks = [every, *found, *([ordered] if ordered is not None else [])]
        sizes = await self._sizes([Walk((ALL,)), *walks])
        total = sizes[0]
        if ordered is not None and not ordered.from_end and sizes[-1] < total:
            walks.pop()  # what has no such attribute must come first, and is not in it
        # One that is in order ends with the page: it finds one in ``total / least``, or fewer.
        least = min(sizes)
        wanted = 2 * query.limit * total / max(least, 1)
        costs = [
            min(size, wanted) if walk.is_ordered else size
            for size, walk in zip(sizes[1:], walks, strict=False)
        ]
        return walks[costs.index(min(costs))]

    async def _sizes(self, walks: Sequence[Walk]) -> list[int]:
        """Return how many entries walks look at."""
        parts = {part for walk in walks for part in walk.parts}
        asked = {part: self._size(part) for part in parts if not part.is_empty()}
        sizes = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
        return [sum(sizes.get(part, 0) for part in walk.parts) for walk in walks]

    def _size(self, part: Part) -> asyncio.Future[Any]:
        key = self._space.base + part.sorted_set
        return self._lane.command(b"ZLEXCOUNT", key, *part.bounds())

    # walking

    async def _best(self, query: Query, start: Position | None) -> list[_Candidate]:
        """Return the candidates of a page, in order, and one more, where there is one."""
        walk = await self._cheapest(query, start)
        best, is_settled = await self._best_of(query, walk, start)
        if walk.from_end and not is_settled and walk.parts[0].term is None:
            # All of the index was walked; now comes what has no such attribute.
            best, _ = await self._best_of(query, Walk((ALL,)), start)
        return best

    async def _best_of(
        self, query: Query, walk: Walk, start: Position | None
    ) -> tuple[list[_Candidate], bool]:
        """Return the first candidates of a walk, and whether nothing else can come before."""
        order = sort_key(query)
        least = order(start) if start is not None else None
        names = [name.removeprefix("-") for name in query.order]
        best: list[_Candidate] = []
        first = min(max(query.limit + 1, _FIRST_CHUNK), _CHUNK)
        async for chunk in self._walked(walk, first):
            rank: Any = ()
            for key, attributes, index in chunk:
                place = Position(tuple(index.get(name) for name in names), key)
                rank = order(place)
                if (least is None or least < rank) and is_true(query.where, index):
                    best.append(_Candidate(rank, place, attributes))
            best = heapq.nsmallest(query.limit + 1, best, key=_rank)
            # equal in the first attribute, the rest of it may still come before
            is_full = walk.is_ordered and len(best) > query.limit
            if is_full and (not query.order or rank[0] > best[-1].rank[0]):
                return best, True
        return best, len(best) > query.limit

    async def _walked(
        self, walk: Walk, size: int
    ) -> AsyncIterator[list[tuple[bytes, bytes, dict[str, Any]]]]:
        """Yield chunks of what is in the parts: key, attributes, and these decoded."""
        for number, part in enumerate(walk.parts):
            before = [one.term for one in walk.parts[:number]]
            async for chunk in self._walked_part(part, size, from_end=walk.from_end):
                yield (
                    [one for one in chunk if not any(is_true(term, one[2]) for term in before)]
                    if before
                    else chunk
                )

    async def _walked_part(
        self, part: Part, size: int, *, from_end: bool
    ) -> AsyncIterator[list[tuple[bytes, bytes, dict[str, Any]]]]:
        width = part.width(self._indices)
        low, high = part.bounds()
        while not part.is_empty():
            bounds = (high, low) if from_end else (low, high)
            count = b"%d" % size
            words = [part.sorted_set, b"1" if from_end else b"0", *bounds, count, b"%d" % width]
            found = await self._lane.script(WALK, self._space.base, words)
            members = found[::2]
            if members:
                yield [
                    (_key(member, width), attributes, self._unpacked(attributes))
                    for member, attributes in zip(members, found[1::2], strict=True)
                ]
            if len(members) < size:
                return
            if from_end:
                high = b"(" + members[-1]
            else:
                low = b"(" + members[-1]
            size = _CHUNK

    def _unpacked(self, attributes: bytes) -> dict[str, Any]:
        try:
            return unpack(attributes, self._indices)
        except (ValueError, IndexError) as error:
            message = f"attributes in store {self._space.name!r} cannot be read"
            raise Damaged(message, details={"store": self._space.name}) from error

    # reading the page

    async def _fetched(self, query: Query, best: list[_Candidate]) -> Page[Entry]:
        """Return the page of candidates, without those that were written meanwhile."""
        wanted = best[: query.limit]
        entries: list[Entry] = []
        done = size = 0
        while done < len(wanted) and size < PAGE_BYTES:
            keys = [one.position.key for one in wanted[done : done + _CHUNK]]
            words = [b"%d" % (PAGE_BYTES - size), *keys]
            found = await self._lane.script(FETCH, self._space.base, words)
            for record, attributes in zip(found[::2], found[1::2], strict=True):
                one = wanted[done]
                done += 1
                size += len(record or b"")
                if record is not None and attributes == one.attributes:
                    entries.append(self._decode(one.position.key, record, attributes))
        cursor = None
        if done < len(best):
            cursor = cursor_of(query, wanted[done - 1].position)
        return Page(entries, cursor)


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


def _rank(candidate: _Candidate) -> Any:
    return candidate.rank


def _key(member: bytes, width: int) -> bytes:
    return member[member.index(b"\0") + 1 :] if width < 0 else member[width:]
