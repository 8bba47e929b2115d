"""Queries that are asked again and again, each time with another value: made ready once.

An engine that answers at once where it can (SQLite) may have a way that is leaner than
:meth:`~ion.stores.store.IndexStore.query`: it need not look again at what is the same each time.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import msgspec

from ion.stores.limits import MAX_KEY
from ion.stores.query import And, Compare, Query

_INT64 = 2**63


class Finder(Protocol):
    """Finds what one query does, with another value in its first comparison."""

    def find(self, value: Any) -> tuple[list[bytes], str | None] | None:
        """Return the values of the page, and its cursor; None: ask by ``query``, as always.

        So it is where it cannot be told at once, or ``value`` is not plainly one of the attribute.

        :raises Unavailable: the engine is away.
        :raises Damaged: its file is corrupt.
        """


@runtime_checkable
class Prepares(Protocol):
    """An index store that makes queries ready."""

    def finder(self, query: Query) -> Finder | None:
        """Return what finds as a query does that was asked before; None: there is no leaner way.

        :param query: its condition is all of some terms (:class:`~ion.stores.query.And`), of which
            the first is a comparison; it has no cursor.
        """


def is_plain(value: Any) -> bool:
    """Return whether a value is, without doubt, one that an attribute of its type may have."""
    if value.__class__ is str:
        return value.isascii() and len(value) <= MAX_KEY and "\0" not in value
    if value.__class__ is int:
        return -_INT64 <= value < _INT64
    return bool(value == value)  # noqa: PLR0124 - it is no NaN


def with_value(query: Query, value: Any) -> Query:
    """Return a query with another value in its first comparison."""
    assert isinstance(query.where, And)
    first, *rest = query.where.terms
    assert isinstance(first, Compare)
    return msgspec.structs.replace(query, where=And((Compare(first.name, first.op, value), *rest)))
