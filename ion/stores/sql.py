"""Queries as SQL, for engines that speak it: a table a store, a column an attribute.

SQL's logic has three values, that of queries two. Where nothing is negated they agree: unknown
counts as false. Under a NOT each comparison is made false where it is unknown.

The columns are ``key``, ``value``, ``revision``, and ``a_<name>`` for each attribute. Names are
checked (:func:`ion.stores.limits.check_name`), and values are parameters: nothing is quoted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ion.stores.query import (
    Absent,
    And,
    Compare,
    In,
    Not,
    Or,
    Position,
    Predicate,
    Prefix,
    Query,
    position_of,
)

_SIGNS = {"EQ": "=", "NE": "<>", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}
Part = Literal["all", "present", "absent"]
_LAST = chr(0x10FFFF)
_BEFORE_SURROGATES = 0xD7FF
_AFTER_SURROGATES = 0xE000


class Compiler:
    """Compiles one query.

    :param mark: makes the mark of the n-th parameter, from 1: ``?``, or ``$1``.
    :ivar parameters: in the order of their marks.
    """

    def __init__(self, mark: Callable[[int], str]) -> None:
        self._mark = mark
        self.parameters: list[Any] = []

    def where(self, query: Query, *, paged: bool, part: Part = "all") -> str:
        """Return the condition of a checked query; with ``paged``, after its cursor, too.

        :param part: one of those of :func:`parts_of`, or all of them.
        :raises InvalidRequest: the cursor is not one of this query.
        """
        conditions = []
        if query.where is not None:
            conditions.append(self._condition(query.where, strict=False))
        start = position_of(query) if paged else None
        if start is not None:
            conditions.append(self._part(query.order, start, part))
        return " AND ".join(conditions) or "TRUE"

    def parameter(self, value: Any) -> str:
        """Add a parameter, and return its mark."""
        self.parameters.append(value)
        return self._mark(len(self.parameters))

    def _condition(self, predicate: Predicate, *, strict: bool) -> str:
        match predicate:
            case And(terms):
                return self._joined(terms, "AND", "TRUE", strict=strict)
            case Or(terms):
                return self._joined(terms, "OR", "FALSE", strict=strict)
            case Not(term):
                return f"(NOT {self._condition(term, strict=True)})"
            case Absent(name):
                return f"(a_{name} IS NULL)"
            case Compare(name, op, value):
                test = f"a_{name} {_SIGNS[op]} {self.parameter(value)}"
            case In(name, values):
                test = self._in(name, values)
            case Prefix(name, text):
                test = self._prefix(name, text)
        return f"COALESCE({test}, FALSE)" if strict else f"({test})"

    def _joined(
        self, terms: tuple[Predicate, ...], word: str, nothing: str, *, strict: bool
    ) -> str:
        parts = [self._condition(term, strict=strict) for term in terms]
        return f"({f' {word} '.join(parts)})" if parts else nothing

    def _in(self, name: str, values: tuple[Any, ...]) -> str:
        marks = ", ".join(self.parameter(value) for value in values)
        return f"a_{name} IN ({marks})" if marks else "FALSE"

    def _prefix(self, name: str, text: str) -> str:
        if not text:
            return f"a_{name} IS NOT NULL"
        least = f"a_{name} >= {self.parameter(text)}"
        end = after_text(text)
        return least if end is None else f"{least} AND a_{name} < {self.parameter(end)}"

    def _part(self, order: tuple[str, ...], start: Position, part: Part) -> str:
        """Return the condition of what comes after ``start``, in a part of the order."""
        if part == "all":
            return self._after(order, start)
        column, value = f"a_{order[0].removeprefix('-')}", start.values[0]
        rest = Position(start.values[1:], start.key)
        if (value is None) is not (part == "absent"):  # the part after that of the start
            return f"{column} IS {'NOT ' if part == 'present' else ''}NULL"
        if value is None:
            return f"{column} IS NULL AND {self._after(order[1:], rest)}"
        # Said once more, as a range, for the engine to begin with in its index.
        sign = "<=" if order[0].startswith("-") else ">="
        first = f"{column} {sign} {self.parameter(value)}"
        beyond = f"{column} {sign[0]} {self.parameter(value)}"
        same = f"{column} = {self.parameter(value)}"
        return f"{first} AND ({beyond} OR ({same} AND {self._after(order[1:], rest)}))"

    def _after(self, order: tuple[str, ...], start: Position) -> str:
        """Return the condition of all that comes after ``start``."""
        if not order:
            return f"(key > {self.parameter(start.key)})"
        name, value = order[0].removeprefix("-"), start.values[0]
        rest = Position(start.values[1:], start.key)
        beyond = self._beyond(name, value, is_descending=order[0].startswith("-"))
        same = f"a_{name} IS NULL" if value is None else f"a_{name} = {self.parameter(value)}"
        further = self._after(order[1:], rest)
        return f"({beyond} OR ({same} AND {further}))"

    def _beyond(self, name: str, value: Any, *, is_descending: bool) -> str:
        if value is None:
            return "FALSE" if is_descending else f"a_{name} IS NOT NULL"
        if is_descending:
            return f"a_{name} < {self.parameter(value)} OR a_{name} IS NULL"
        return f"a_{name} > {self.parameter(value)}"


def parts_of(query: Query) -> tuple[Part, ...]:
    """Return the parts of an order in which the rest of a page is found, one after the other.

    Each is a range of an index; together, they are none.

    :raises InvalidRequest: the cursor is not one of this query.
    """
    start = position_of(query)
    if start is None or not query.order:
        return ("all",)
    is_descending, is_absent = query.order[0].startswith("-"), start.values[0] is None
    if is_descending:
        return ("absent",) if is_absent else ("present", "absent")
    return ("absent", "present") if is_absent else ("present",)


def order_by(query: Query) -> str:
    """Return the columns that a query is ordered by; what has no attribute comes first."""
    columns = [
        f"a_{name[1:]} DESC NULLS LAST" if name.startswith("-") else f"a_{name} ASC NULLS FIRST"
        for name in query.order
    ]
    return ", ".join([*columns, "key"])


def after_text(text: str) -> str | None:
    """Return the least text that is greater than all that begin with ``text``; None: none is."""
    stripped = text.rstrip(_LAST)
    if not stripped:
        return None
    last = ord(stripped[-1])
    following = _AFTER_SURROGATES if last == _BEFORE_SURROGATES else last + 1
    return stripped[:-1] + chr(following)
