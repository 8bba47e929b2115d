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
from ion.stores.ordering import page_of, sort_key
from ion.stores.query import Position, Query, cursor_of, is_true, position_of
from ion.stores.redis.layout import Space, unpack
from ion.stores.redis.pipeline import Pipeline
from ion.stores.redis.planning import ALL, Part, Walk, by_index, by_key, by_order, needed
from ion.stores.redis.scripts import FETCH, SCAN, WALK
from ion.stores.store import Entry, Indices, Page

_CHUNK = 1000  # entries looked at in one step
_FIRST_CHUNK = 50

Decode = Callable[[bytes, bytes | None, bytes], Entry]


class _Found(msgspec.Struct, frozen=True):
    """What may be in a page.

    :ivar attributes: as they are kept.
    :ivar index: those of them that the query asks for, decoded.
    """

    key: bytes
    attributes: bytes
    index: dict[str, Any]


class Finder:
    """Finds entries of one store.

    :param pipeline: that it asks by.
    :param decode: makes an entry of key, record and attributes.
    """

    def __init__(self, space: Space, pipeline: Pipeline, decode: Decode) -> None:
        self._space = space
        self._indices = space.indices or {}
        self._needed: Indices = {}
        self._pipeline = pipeline
        self._decode = decode

    async def page(self, query: Query) -> Page[Entry]:
        """Return a page of a checked query."""
        self._needed = needed(query, self._indices)
        while True:
            start = position_of(query)
            walk = await self._cheapest(query, start)
            if walk.is_exact and walk.is_whole:
                return await self._scanned(query, walk.parts[0])
            best = await self._best(query, walk, start)
            page = await self._fetched(query, best)
            if page.items or page.cursor is None:
                return page
            query = msgspec.structs.replace(query, cursor=page.cursor)  # all were written meanwhile

    async def count(self, query: Query) -> int:
        """Return how many entries a checked query is true of."""
        query = msgspec.structs.replace(query, cursor=None, order=())
        self._needed = needed(query, self._indices)
        walks = [by_key(query, None), *by_index(query, self._indices, None)]
        sizes = await self._sizes(walks)
        size, walk = min(zip(sizes, walks, strict=True), key=_first)
        if walk.is_whole:
            return size
        count = 0
        async for chunk in self._walked(walk, _CHUNK):
            count += sum(is_true(query.where, one.index) for one in chunk)
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
        if ordered is not None and not ordered.from_end and start is None and sizes[-1] < total:
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
        return self._pipeline.command(b"ZLEXCOUNT", key, *part.bounds())

    # walking

    async def _scanned(self, query: Query, part: Part) -> Page[Entry]:
        """Return the page that is at the beginning of a part: all of it is found, and in order."""
        if part.is_empty():
            return Page([])
        width = part.width(self._indices)
        count, size = b"%d" % (query.limit + 1), b"%d" % PAGE_BYTES
        words = [part.sorted_set, *part.bounds(), count, size, b"%d" % width]
        found = await self._pipeline.script(SCAN, self._space.base, words)
        rows = zip(found[::3], found[1::3], found[2::3], strict=True)
        return page_of(query, [self._decode(_key(m, width), r, a) for m, r, a in rows])

    async def _best(self, query: Query, walk: Walk, start: Position | None) -> list[_Found]:
        """Return what may be in a page, in order, and one more, where there is one."""
        if walk.is_exact:
            return await self._first_of(query, walk)
        best, is_settled = await self._best_of(query, walk, start)
        if walk.from_end and not is_settled and walk.parts[0].term is None:
            # All of the index was walked; now comes what has no such attribute.
            best, _ = await self._best_of(query, Walk((ALL,)), start)
        return best

    async def _first_of(self, query: Query, walk: Walk) -> list[_Found]:
        best: list[_Found] = []
        async for chunk in self._walked(walk, query.limit + 1):
            best += [one for one in chunk if is_true(query.where, one.index)]
            if len(best) > query.limit:
                break
        return best[: query.limit + 1]

    async def _best_of(
        self, query: Query, walk: Walk, start: Position | None
    ) -> tuple[list[_Found], bool]:
        """Return the first of all that a walk finds, and whether nothing else can come before."""
        order = sort_key(query)
        least = order(start) if start is not None else None
        best: list[tuple[Any, _Found]] = []
        async for chunk in self._walked(walk, query.limit + 2):
            ranked = [(order(_position(query, one)), one) for one in chunk]
            best += [
                (rank, one)
                for rank, one in ranked
                if (least is None or least < rank) and is_true(query.where, one.index)
            ]
            best = heapq.nsmallest(query.limit + 1, best, key=_rank)
            # What is equal in the first attribute to the last one may still come before it.
            is_full = walk.is_ordered and len(best) > query.limit
            if is_full and ranked[-1][0][0] > best[-1][0][0]:
                return [one for _, one in best], True
        return [one for _, one in best], len(best) > query.limit

    async def _walked(self, walk: Walk, size: int) -> AsyncIterator[list[_Found]]:
        """Yield chunks of what is in the parts; ``size`` may be all that is wanted."""
        size = min(max(size, _FIRST_CHUNK), _CHUNK)
        for number, part in enumerate(walk.parts):
            before = [one.term for one in walk.parts[:number]]
            async for chunk in self._walked_part(part, size, from_end=walk.from_end):
                yield (
                    [one for one in chunk if not any(is_true(term, one.index) for term in before)]
                    if before
                    else chunk
                )

    async def _walked_part(
        self, part: Part, size: int, *, from_end: bool
    ) -> AsyncIterator[list[_Found]]:
        width = part.width(self._indices)
        low, high = part.bounds()
        while not part.is_empty():
            bounds = (high, low) if from_end else (low, high)
            count = b"%d" % size
            words = [part.sorted_set, b"1" if from_end else b"0", *bounds, count, b"%d" % width]
            found = await self._pipeline.script(WALK, self._space.base, words)
            members = found[::2]
            if members:
                yield [
                    _Found(_key(member, width), attributes, self._unpacked(attributes))
                    for member, attributes in zip(members, found[1::2], strict=True)
                ]
            if len(members) < size:
                return
            if from_end:
                high = b"(" + members[-1]
            else:
                low = b"(" + members[-1]
            size = min(4 * size, _CHUNK)

    def _unpacked(self, attributes: bytes) -> dict[str, Any]:
        try:
            return unpack(attributes, self._needed)
        except (ValueError, IndexError) as error:
            message = f"attributes in store {self._space.name!r} cannot be read"
            raise Damaged(message, details={"store": self._space.name}) from error

    # reading the page

    async def _fetched(self, query: Query, best: list[_Found]) -> Page[Entry]:
        """Return the page of candidates, without those that were written meanwhile."""
        wanted = best[: query.limit]
        entries: list[Entry] = []
        done = size = 0
        while done < len(wanted) and size < PAGE_BYTES:
            keys = [one.key for one in wanted[done : done + _CHUNK]]
            words = [b"%d" % (PAGE_BYTES - size), *keys]
            found = await self._pipeline.script(FETCH, self._space.base, words)
            for record, attributes in zip(found[::2], found[1::2], strict=True):
                one = wanted[done]
                done += 1
                size += len(record or b"")
                if record is not None and attributes == one.attributes:
                    entries.append(self._decode(one.key, record, attributes))
        cursor = None
        if done < len(best):
            cursor = cursor_of(query, _position(query, wanted[done - 1]))
        return Page(entries, cursor)


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


def _rank(pair: tuple[Any, _Found]) -> Any:
    return pair[0]


def _position(query: Query, found: _Found) -> Position:
    return Position(
        tuple(found.index.get(name.removeprefix("-")) for name in query.order), found.key
    )


def _key(member: bytes, width: int) -> bytes:
    return member[member.index(b"\0") + 1 :] if width < 0 else member[width:]
