"""The order of query results, for engines that sort them here."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterable
from typing import Any

from ion.stores.limits import PAGE_BYTES
from ion.stores.query import Position, Query, cursor_at, cursor_of, position_of
from ion.stores.store import Entry, Page

_Key = Callable[[Position], Any]


def sorted_after(query: Query, found: Iterable[Entry]) -> Page[Entry]:
    """Return the page of a checked query out of all entries that it is true of, in any order."""
    order = sort_key(query)
    start = position_of(query)
    least = order(start) if start is not None else None
    rest = ((order(position(query, entry)), entry) for entry in found)
    if least is not None:
        rest = ((rank, entry) for rank, entry in rest if least < rank)
    chosen = [e for _, e in heapq.nsmallest(query.limit + 1, rest, key=lambda pair: pair[0])]
    return page_of(query, chosen)


def page_of(query: Query, entries: list[Entry]) -> Page[Entry]:
    """Return a page of entries in order, of which one more than ``limit`` was looked for."""
    page = _fitting(entries, query.limit)
    if len(page) == len(entries):
        return Page(page)
    return Page(page, cursor_after(query, page[-1]))


def cursor_after(query: Query, entry: Entry) -> str:
    """Return the cursor of a page that ends with an entry."""
    order = query.order
    if len(order) != 1:
        return cursor_of(query, position(query, entry))
    name = order[0]
    value = entry.index.get(name[1:] if name[0] == "-" else name)
    return cursor_at(query, (value,), entry.key.encode("utf-8", "surrogateescape"))


def page_by_key(entries: list[Entry], limit: int) -> Page[Entry]:
    """Return a page of a scan; as :func:`page_of`, its cursor is the last key."""
    page = _fitting(entries, limit)
    return Page(page, None if len(page) == len(entries) else page[-1].key)


def _fitting(entries: list[Entry], limit: int) -> list[Entry]:
    if sum([len(entry.value) for entry in entries]) < PAGE_BYTES:
        return entries if len(entries) <= limit else entries[:limit]
    size = taken = 0
    for entry in entries[:limit]:
        taken += 1
        size += len(entry.value)
        if size >= PAGE_BYTES:
            break
    return entries[:taken]


def position(query: Query, entry: Entry) -> Position:
    """Return where an entry stands in the order of a query."""
    get = entry.index.get
    key = entry.key.encode("utf-8", "surrogateescape")
    return Position(tuple([get(n[1:] if n[0] == "-" else n) for n in query.order]), key)


def sort_key(query: Query) -> _Key:
    """Return what positions are ordered by: comparable with ``<``."""
    descends = [name.startswith("-") for name in query.order]

    def rank(place: Position) -> Any:
        ranks = []
        for value, is_descending in zip(place.values, descends, strict=True):
            # code points, as UTF-8 is ordered; what is absent comes first
            one: tuple[Any, ...] = (0,) if value is None else (1, value)
            ranks.append(_Descending(one) if is_descending else one)
        return (*ranks, place.key)

    return rank


@functools.total_ordering
class _Descending:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.value == other.value

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    def __hash__(self) -> int:
        return hash(self.value)
