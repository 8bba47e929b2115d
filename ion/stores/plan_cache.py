"""Statements kept for queries that differ only in their values.

Most queries compare some attributes with values, and have no cursor; others say, too, what is to
be false. For each set of comparisons, order and limit the query is checked and compiled once; then
only its values are checked, and of these only what is not the very object that was checked before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from ion.stores.limits import attribute_value
from ion.stores.query import And, Compare, Not, Or, Predicate, Query, checked

MOST = 256  # kept; then it begins anew

P = TypeVar("P")


class PlanCache(Generic[P]):
    """What was made of queries of one table, as long as it has the same attributes.

    :param kinds: the attributes and their types.
    """

    __slots__ = ("_kept", "_kinds")

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._kept: dict[Any, _Kept[P]] = {}

    def recall(self, query: Query) -> tuple[Query, P, list[Any]] | None:
        """Return a query as it is checked, what was kept for it, and the values it compares with.

        :return: None: nothing is kept for it, and nothing is checked.
        :raises InvalidRequest: a value is none of its attribute.
        """
        terms = _terms(query)
        if terms is None:
            return None
        if len(terms) == 1 and type(terms[0]) is Compare:
            return self._recall_one(query, terms[0])
        try:
            kept = self._kept.get(_shape(query, terms))
        except TypeError:  # what has no hash is no name
            return None
        if kept is None:
            return None
        values = kept.values.copy()
        is_kept_so = True
        for place, term, was in zip(kept.places, terms, kept.terms):  # noqa: B905 - same shape
            if term is was:
                continue
            if type(term) is Compare:
                value = values[place] = attribute_value(term.name, term.value, self._kinds)
                is_kept_so = is_kept_so and value is term.value and value is not None
            else:  # equal to what was checked, as 1 and True are
                is_kept_so = False
        if not is_kept_so:
            query = checked(query, self._kinds)  # as it is kept; or it is refused
        return query, kept.plan, values

    def _recall_one(self, query: Query, term: Compare) -> tuple[Query, P, list[Any]] | None:
        """Return what is kept for a query that compares one attribute: the lean way to it."""
        try:
            kept = self._kept.get(((term.name, term.op), query.order, query.limit, query.index))
        except TypeError:  # what has no hash is no name
            return None
        if kept is None:
            return None
        if term is kept.terms[0]:
            return query, kept.plan, kept.values.copy()
        value = attribute_value(term.name, term.value, self._kinds)
        if value is not term.value or value is None:
            query = checked(query, self._kinds)  # as it is kept; or it is refused
        return query, kept.plan, [value]

    def keep(self, query: Query, plan: P) -> None:
        """Keep what was made of a checked query, where it is for others, too.

        :param plan: takes the values that are compared with, in their order, and nothing else.
        """
        terms = _terms(query)
        parts = [_values(term) for term in terms] if terms is not None else [None]
        if terms is None or None in parts:
            return
        if len(self._kept) >= MOST:
            self._kept.clear()
        self._kept[_shape(query, terms)] = _Kept(plan, terms, [part or [] for part in parts])


class _Kept(Generic[P]):
    """A plan, and the query that it was made of.

    :ivar terms: of that query.
    :ivar places: where the value of each term is, or the first of them, among all values.
    """

    __slots__ = ("places", "plan", "terms", "values")

    def __init__(self, plan: P, terms: Sequence[Predicate], parts: Sequence[list[Any]]) -> None:
        self.plan = plan
        self.terms = terms
        self.values = [value for part in parts for value in part]
        self.places = [sum(map(len, parts[:number])) for number in range(len(parts))]


def _terms(query: Query) -> Sequence[Predicate] | None:
    """Return what is to be true of a query, together; None: it goes on, or is none."""
    if type(query) is not Query:  # it is refused where it is checked
        return None
    where = query.where
    if query.cursor is not None or type(query.limit) is not int or type(query.order) is not tuple:
        return None
    if where is None:
        return ()
    return (where.terms or None) if type(where) is And else (where,)


def _values(term: Predicate) -> list[Any] | None:
    """Return the values that a term compares with, where it is of a sort that is kept."""
    if type(term) is Compare:
        return [term.value]
    either = term.term if type(term) is Not else None
    if type(either) is not Or or not all(type(one) is Compare for one in either.terms):
        return None
    return [one.value for one in either.terms if type(one) is Compare]


def _shape(query: Query, terms: Sequence[Predicate]) -> Any:
    """Return what queries have in common that one plan is for: all of what they exclude, too."""
    names = [(t.name, t.op) if type(t) is Compare else t for t in terms]
    return *names, query.order, query.limit, query.index
