"""Queries: what an index store is asked for, as data that can travel.

A predicate is a tree of comparisons::

    from ion.stores.query import A, Query

    deep = (A("kind") == "ctd") & (A("depth") > 100.0)
    await store.query(Query(deep, order=("-depth",), limit=20))

From elsewhere it comes as a map (:mod:`ion.stores.conditions`).

Contract, for all engines:

* Text is ordered by its code points, numbers by their value, False before True.
* A comparison with an attribute that is absent is false, ``!=`` too; so ``~(A("x") == 1)`` is true
  of what has no ``x``, and ``A("x") != 1`` is not. ``A("x").is_absent()`` is true of it.
* Order: by the attributes named, ``-name`` from the greatest; what has none comes first (with
  ``-``, last); what is equal, and all where nothing is named, by key.
* A cursor is that of one query, order included. What is written meanwhile may be seen or not; what
  is there, unchanged, all the while is seen once.
"""

from __future__ import annotations

import base64
import binascii
import operator
from binascii import b2a_base64, crc32
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from ion.base.errors import InvalidRequest
from ion.stores.limits import attribute_value, check_limit

Comparison = Literal["EQ", "NE", "LT", "LE", "GT", "GE"]
MAX_TERMS = 500  # comparisons and values in one query
MAX_DEPTH = 50
MAX_ORDER = 8
_MARK = 4  # bytes
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_encode = msgspec.msgpack.Encoder().encode
_NO_TRUTH = (
    "a predicate is asked of a store, and neither true nor false here: combine them by &, | and ~ "
    '(not by and, or, not), as (A("depth") > 1) & (A("depth") < 4), and ask for one of several '
    'by A("kind").is_in([...])'
)


class _Node(msgspec.Struct, frozen=True, tag_field="is", forbid_unknown_fields=True):
    def __bool__(self) -> bool:
        raise TypeError(_NO_TRUTH)

    def __and__(self, other: Predicate) -> And:
        return And((self, other))  # type: ignore[arg-type]

    def __or__(self, other: Predicate) -> Or:
        return Or((self, other))  # type: ignore[arg-type]

    def __invert__(self) -> Not:
        return Not(self)  # type: ignore[arg-type]


class Compare(_Node, frozen=True, tag="compare"):
    """An attribute compared with a value."""

    name: str
    op: Comparison
    value: str | int | float | bool


class In(_Node, frozen=True, tag="in"):
    """An attribute is one of some values."""

    name: str
    values: tuple[str | int | float | bool, ...]


class Prefix(_Node, frozen=True, tag="prefix"):
    """A text attribute begins with a text."""

    name: str
    text: str


class Absent(_Node, frozen=True, tag="absent"):
    """There is no such attribute."""

    name: str


class And(_Node, frozen=True, tag="and"):
    """All are true; so it is where there are none."""

    terms: tuple[Predicate, ...]


class Or(_Node, frozen=True, tag="or"):
    """One is true, at least."""

    terms: tuple[Predicate, ...]


class Not(_Node, frozen=True, tag="not"):
    """It is not true."""

    term: Predicate


Predicate = Compare | In | Prefix | Absent | And | Or | Not


class A:
    """An attribute, to be compared: ``A("depth") > 100.0``."""

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, value: Any) -> Compare:  # type: ignore[override]
        return Compare(self._name, "EQ", value)

    def __ne__(self, value: Any) -> Compare:  # type: ignore[override]
        return Compare(self._name, "NE", value)

    def __lt__(self, value: Any) -> Compare:
        return Compare(self._name, "LT", value)

    def __le__(self, value: Any) -> Compare:
        return Compare(self._name, "LE", value)

    def __gt__(self, value: Any) -> Compare:
        return Compare(self._name, "GT", value)

    def __ge__(self, value: Any) -> Compare:
        return Compare(self._name, "GE", value)

    def is_in(self, values: Iterable[Any]) -> In:
        """Be one of ``values``."""
        return In(self._name, tuple(values))

    def begins_with(self, text: str) -> Prefix:
        """Begin with ``text``."""
        return Prefix(self._name, text)

    def is_absent(self) -> Absent:
        """Be absent."""
        return Absent(self._name)

    def __bool__(self) -> bool:
        raise TypeError(_NO_TRUTH)


class Query(msgspec.Struct, frozen=True):
    """What an index store is asked for.

    :param where: None: everything.
    :param order: names of attributes, with ``-`` in front from the greatest.
    :param limit: entries of a page.
    :param cursor: of the page before; None: from the start.
    :param index: give the entries with their attributes; without, which costs less, an engine may
        give only those that they are ordered by.
    """

    where: Predicate | None = None
    order: tuple[str, ...] = ()
    limit: int = 100
    cursor: str | None = None
    index: bool = True


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: what a cursor holds.

    :ivar values: of the attributes ordered by; None: absent.
    :ivar key: of the last entry, as its bytes.
    """

    values: tuple[str | int | float | bool | None, ...]
    key: bytes


def checked(query: Query, indices: Mapping[str, str]) -> Query:
    """Return a query with its values as they are kept (ints are floats where floats are declared).

    :raises InvalidRequest: see :meth:`IndexStore.query`; or it is too large.
    """
    if not isinstance(query, Query):
        message = f"a query is a Query: Query({query!r}, ...), not its condition alone"
        raise InvalidRequest(message)
    where = query.where
    if where is not None:
        if sum(_sizes(where, 0)) > MAX_TERMS:
            message = f"a query has at most {MAX_TERMS} comparisons"
            raise InvalidRequest(message)
        where = _checked(where, indices)
    if isinstance(query.order, str):  # it would be taken letter by letter
        message = f"order is a sequence of attributes, ({query.order!r},) for one, not a text"
        raise InvalidRequest(message)
    names = [name.removeprefix("-") for name in query.order]
    if len(set(names)) < len(names) or len(names) > MAX_ORDER:
        message = f"order: each attribute once, and {MAX_ORDER} at most"
        raise InvalidRequest(message)
    for name in names:
        attribute_value(name, None, indices)
    check_limit(query.limit)
    query = msgspec.structs.replace(query, where=where)
    if query.cursor is not None:
        _check_cursor(query, names, indices)
    return query


def _check_cursor(query: Query, names: Sequence[str], indices: Mapping[str, str]) -> None:
    """Refuse a cursor with values that no attribute has: somebody has made it, or altered it."""
    place = position_of(query)
    if place is None:
        return
    for name, value in zip(names, place.values, strict=True):
        try:
            is_one = type(attribute_value(name, value, indices)) is type(value)
        except InvalidRequest:
            is_one = False
        if not is_one:
            raise _no_cursor()


def shown(query: Query, names: Sequence[str]) -> Sequence[str]:
    """Return those attributes that a checked query's entries are to have, of all of a store's."""
    if query.index:
        return names
    return [name.removeprefix("-") for name in query.order]


def _sizes(predicate: Predicate, depth: int) -> Iterator[int]:
    if depth > MAX_DEPTH:
        message = f"a query is nested {MAX_DEPTH} deep at most"
        raise InvalidRequest(message)
    match predicate:
        case And(terms) | Or(terms):
            yield 0 if terms else 1
            for term in terms:
                yield from _sizes(term, depth + 1)
        case Not(term):
            yield from _sizes(term, depth + 1)
        case In(_, values):
            yield max(1, len(values))
        case _:
            yield 1


def _checked(predicate: Predicate, indices: Mapping[str, str]) -> Predicate:
    """Return a predicate as it is kept: itself where it is so already."""
    match predicate:
        case Compare(name, op, value):
            kept = _value(name, value, indices)
            return predicate if kept is value else Compare(name, op, kept)
        case In(name, values):
            attribute_value(name, None, indices)
            return In(name, tuple(_value(name, value, indices) for value in values))
        case Prefix(name, text):
            attribute_value(name, None, indices)
            if indices[name] != "str":
                message = f"index attribute {name!r} is of type {indices[name]}: it has no prefix"
                raise InvalidRequest(message)
            return Prefix(name, _value(name, text, indices))
        case Absent(name):
            attribute_value(name, None, indices)
            return predicate
        case And(terms) | Or(terms):
            every = tuple([_checked(term, indices) for term in terms])
            if all(map(operator.is_, every, terms)):
                return predicate
            return And(every) if type(predicate) is And else Or(every)
        case Not(term):
            inner = _checked(term, indices)
            return predicate if inner is term else Not(inner)
    message = f"{predicate!r:.100} is no predicate of a query, as A('depth') > 100 is"
    raise InvalidRequest(message)


def _value(name: str, value: Any, indices: Mapping[str, str]) -> Any:
    checked = attribute_value(name, value, indices)
    if checked is None:
        message = f"{name!r} is compared with None: ask whether it is_absent()"
        raise InvalidRequest(message)
    return checked


def is_true(predicate: Predicate | None, index: Mapping[str, Any]) -> bool:
    """Return whether a checked predicate is true of an entry's attributes.

    This is the meaning; engines that have an index find the same entries by it.
    """
    match predicate:
        case None:
            return True
        case Compare(name, op, value):
            return name in index and _compare(index[name], op, value)
        case In(name, values):
            return name in index and index[name] in values
        case Prefix(name, text):
            return name in index and index[name].startswith(text)
        case Absent(name):
            return name not in index
        case And(terms):
            return all(is_true(term, index) for term in terms)
        case Or(terms):
            return any(is_true(term, index) for term in terms)
        case Not(term):
            return not is_true(term, index)


def _compare(left: Any, op: Comparison, right: Any) -> bool:
    match op:
        case "EQ":
            return bool(left == right)
        case "NE":
            return bool(left != right)
        case "LT":
            return bool(left < right)
        case "LE":
            return bool(left <= right)
        case "GT":
            return bool(left > right)
        case "GE":
            return bool(left >= right)


def cursor_of(query: Query, position: Position) -> str:
    """Return the cursor of a page of ``query`` that ended at ``position``."""
    return cursor_at(query, position.values, position.key)


def cursor_at(query: Query, values: Sequence[Any], key: bytes) -> str:
    """Return the cursor of a page of ``query`` that ended at a position with these parts."""
    data = _mark(query) + _encode((values, key))  # as a Position is encoded
    return b2a_base64(data, newline=False).translate(_URL_SAFE, b"=").decode()


def position_of(query: Query) -> Position | None:
    """Return where the page before ended; None for the first page.

    :raises InvalidRequest: the cursor is none, or of another query.
    """
    if query.cursor is None:
        return None
    try:
        data = base64.urlsafe_b64decode(query.cursor + "=" * (-len(query.cursor) % 4))
        position = msgspec.msgpack.decode(data[_MARK:], type=Position)
    except (ValueError, TypeError, binascii.Error, msgspec.MsgspecError):
        position = None
        data = b""
    if position is None or data[:_MARK] != _mark(query) or len(position.values) != len(query.order):
        raise _no_cursor()
    return position


def _no_cursor() -> InvalidRequest:
    message = "the cursor is not one of this query: give the one that its last page had"
    return InvalidRequest(message)


def _mark(query: Query) -> bytes:
    same = crc32(_encode((query.where, query.order)))
    return same.to_bytes(_MARK, "big")  # against mistakes, not malice
