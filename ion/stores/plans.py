"""Statements kept for queries that differ only in their values.

Most queries compare some attributes with values, and have no cursor; others say, too, which
comparisons are to be false. For each set of comparisons, order and limit the query is checked and
compiled once; then only its values are checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from ion.stores.limits import attribute_value
from ion.stores.query import And, Compare, Not, Or, Predicate, Query, checked

MOST = 256  # kept; then it begins anew

P = TypeVar("P")


class Plans(Generic[P]):
    """What was made of queries of one table, as long as it has the same attributes.

    :param kinds: the attributes and their types.
    """

    __slots__ = ("_kept", "_kinds")

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._kept: dict[Any, P] = {}

    def recall(self, query: Query) -> tuple[Query, P, list[Any]] | None:
        """Return a query as it is checked, what was kept for it, and the values it compares with.

        :return: None: nothing is kept for it, and nothing is checked.
        :raises InvalidRequest: a value is none of its attribute.
        """
        terms = _terms(query)
        if terms is None:
            return None
        try:
            plan = self._kept.get(_shape(query, terms))
        except TypeError:  # what has no hash is no name
            return None
        if plan is None:
            return None
        values = []
        for term in terms:
            value = attribute_value(term.name, term.value, self._kinds)
            if value is not term.value or value is None:
                query = checked(query, self._kinds)  # as it is kept; or it is refused
            values.append(value)
        return query, plan, values

    def keep(self, query: Query, plan: P) -> None:
        """Keep what was made of a checked query, where it is for others, too.

        :param plan: takes the values that are compared with, in their order, and nothing else.
        """
        terms = _terms(query)
        if terms is None:
            return
        if len(self._kept) >= MOST:
            self._kept.clear()
        self._kept[_shape(query, terms)] = plan


def _terms(query: Query) -> Sequence[Compare] | None:
    """Return the comparisons that are a query; None: it is more than that."""
    where = query.where
    if query.cursor is not None or type(query.limit) is not int or type(query.order) is not tuple:
        return None
    if where is None:
        return ()
    if type(where) is Compare:
        return (where,)
    if type(where) is not And:
        return None
    if all(type(term) is Compare for term in where.terms):
        return where.terms or None  # type: ignore[return-value]
    return _excluding(where.terms)


def _excluding(terms: Sequence[Predicate]) -> _Excluding | None:
    """Return the comparisons of terms of which some say what is to be false: of all of these."""
    flat = _Excluding()
    for term in terms:
        if type(term) is Compare:
            flat.append(term)
            flat.shape += (0,)
            continue
        either = term.term if type(term) is Not else None
        if type(either) is not Or or not all(type(one) is Compare for one in either.terms):
            return None
        flat += either.terms  # type: ignore[arg-type]
        flat.shape += (len(either.terms),)
    return flat


class _Excluding(list[Compare]):
    """Comparisons, some of which are to be false.

    :ivar shape: of each term how many of them it excludes; 0: it is one, and is to be true.
    """

    shape: tuple[int, ...] = ()


def _shape(query: Query, terms: Sequence[Compare]) -> Any:
    if type(terms) is _Excluding:
        names = tuple([(term.name, term.op) for term in terms])
        return terms.shape, names, query.order, query.limit
    if len(terms) == 1:
        term = terms[0]
        return term.name, term.op, query.order, query.limit
    return tuple([(term.name, term.op) for term in terms]), query.order, query.limit
