"""Which entries a query need look at: parts of one index, or all keys.

An index, and the set of all keys, is walked in the order of bytes; a part of it is from ``least``
up to, without it, ``end``. A walk finds at least the entries that the query is true of.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ion.stores.limits import Kind, after_prefix
from ion.stores.query import And, Compare, In, Not, Or, Position, Predicate, Prefix, Query
from ion.stores.redis.layout import WIDTHS, attribute_bytes
from ion.stores.store import Indices


class Part(msgspec.Struct, frozen=True):
    """A part of an index.

    :ivar name: of the attribute; "": all keys.
    :ivar end: None: up to the last.
    :ivar term: what is true of its entries; None: it is all of it.
    """

    name: str
    least: bytes = b""
    end: bytes | None = None
    term: Predicate | None = None

    @property
    def sorted_set(self) -> bytes:
        """The name of its sorted set, within the store."""
        return b"i:" + self.name.encode() if self.name else b"k"

    def width(self, indices: Indices) -> int:
        """Return the bytes of a value in it; -1: up to a zero byte."""
        return WIDTHS[indices[self.name]] if self.name else 0

    def bounds(self) -> tuple[bytes, bytes]:
        """Return its bounds as Redis takes them, from the least."""
        return b"[" + self.least, b"+" if self.end is None else b"(" + self.end

    def is_empty(self) -> bool:
        """Tell whether nothing can be in it."""
        return self.end is not None and self.least >= self.end


class Walk(msgspec.Struct, frozen=True):
    """Parts that are looked at, one after the other.

    An entry may be in several: it counts in the first.

    :ivar is_ordered: whether entries come in the order of the query's first attribute.
    :ivar is_exact: whether they come in the order of the query, from its cursor on.
    :ivar from_end: whether it is walked from its end.
    :ivar is_whole: whether the query is true of all that is found.
    """

    parts: tuple[Part, ...]
    is_ordered: bool = False
    is_exact: bool = False
    from_end: bool = False
    is_whole: bool = False


ALL = Part("")


def by_key(query: Query, start: Position | None) -> Walk:
    """Return the walk over all keys; in order where the query has none of its own."""
    if query.order:
        return Walk((ALL,), is_whole=query.where is None)
    least = _next(start.key) if start is not None else b""
    is_whole = query.where is None
    return Walk((Part("", least),), is_ordered=True, is_exact=True, is_whole=is_whole)


def by_index(query: Query, indices: Indices, start: Position | None) -> Iterator[Walk]:
    """Yield the walks over indices that find all that the query is true of."""
    is_whole = isinstance(query.where, Compare | Prefix)
    terms = query.where.terms if isinstance(query.where, And) else (query.where,)
    for term in terms:
        parts = _parts(term, indices) if term is not None else None
        if parts is not None:
            yield _walk(query, parts, start, indices, is_whole=is_whole)


def by_order(query: Query, indices: Indices, start: Position | None) -> Walk | None:
    """Return the walk over the index of the attribute by which the query is ordered, if any.

    It does not find what has no such attribute.
    """
    if not query.order or (start is not None and start.values[0] is None):
        return None
    name = query.order[0].removeprefix("-")
    return _walk(query, (Part(name),), start, indices, is_whole=query.where is None)


def needed(query: Query, indices: Indices) -> Indices:
    """Return those of the attributes that a query asks for."""
    names = {name.removeprefix("-") for name in query.order}
    if query.where is not None:
        names.update(_names(query.where))
    return {name: indices[name] for name in names}


def _names(predicate: Predicate) -> Iterator[str]:
    match predicate:
        case And(terms) | Or(terms):
            for term in terms:
                yield from _names(term)
        case Not(term):
            yield from _names(term)
        case _:
            yield predicate.name


def _walk(
    query: Query,
    parts: tuple[Part, ...],
    start: Position | None,
    indices: Indices,
    *,
    is_whole: bool,
) -> Walk:
    """Return a walk over parts, in the order of the query where that is that of one part."""
    if len(parts) != 1:
        return Walk(parts, is_whole=is_whole)
    part = parts[0]
    if not query.order:
        is_exact = _is_one_value(part, indices)
        if is_exact and start is not None:
            part = msgspec.structs.replace(part, least=_next(part.least + start.key))
        return Walk((part,), is_ordered=is_exact, is_exact=is_exact, is_whole=is_whole)
    from_end = query.order[0].startswith("-")
    if query.order[0].removeprefix("-") != part.name:
        return Walk((part,), is_whole=is_whole)
    is_exact = len(query.order) == 1 and not from_end  # what is equal comes by key
    if start is not None:
        part = _begun(part, start, indices[part.name], from_end=from_end, is_exact=is_exact)
    return Walk((part,), True, is_exact, from_end, is_whole)


def _is_one_value(part: Part, indices: Indices) -> bool:
    """Tell whether all in it have the same value, and so are in the order of their keys."""
    return isinstance(part.term, Compare) and part.term.op == "EQ" and part.name in indices


def _begun(part: Part, start: Position, kind: Kind, *, from_end: bool, is_exact: bool) -> Part:
    """Return what is left of a part where pages have come as far as ``start``."""
    value = start.values[0]
    if value is None:  # those without the attribute come first, from the end last
        return msgspec.structs.replace(part, end=part.least) if from_end else part
    here = attribute_bytes(value, kind)
    if is_exact:
        return msgspec.structs.replace(part, least=max(part.least, _next(here + start.key)))
    if not from_end:
        return msgspec.structs.replace(part, least=max(part.least, here))
    end = after_prefix(here)
    ends = [one for one in (part.end, end) if one is not None]
    return msgspec.structs.replace(part, end=min(ends) if ends else None)


def _parts(term: Predicate, indices: Indices) -> tuple[Part, ...] | None:
    """Return the parts of an index where a term is true; None: no index says."""
    match term:
        case Compare(name, op, value):
            if op == "NE":
                return None
            here = attribute_bytes(value, indices[name])
            return (Part(name, *_range(here, op), term),)
        case In(name, values):
            equal = (Compare(name, "EQ", value) for value in dict.fromkeys(values))
            return tuple(part for one in equal for part in _parts(one, indices) or ())
        case Prefix(name, text):
            begins = text.encode()
            return (Part(name, begins, after_prefix(begins), term),)
        case Or(terms):
            return _united(terms, indices)
        case And(terms):
            options = (_parts(one, indices) for one in terms)
            return next((parts for parts in options if parts is not None), None)
    return None


def _united(terms: tuple[Predicate, ...], indices: Indices) -> tuple[Part, ...] | None:
    parts: list[Part] = []
    for one in terms:
        found = _parts(one, indices)
        if found is None:
            return None
        parts += found
    return tuple(parts)


def _range(here: bytes, op: str) -> tuple[bytes, bytes | None]:
    after = after_prefix(here)
    match op:
        case "LT":
            return b"", here
        case "LE":
            return b"", after
        case "GT":
            return (b"", b"") if after is None else (after, None)
        case "GE":
            return here, None
    return here, after


def _next(data: bytes) -> bytes:
    """Return the least bytes that are greater."""
    return data + b"\0"
