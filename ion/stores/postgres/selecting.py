"""Scans and queries as SQL."""

from __future__ import annotations

from typing import Any, NamedTuple

from ion.stores.entries import entries_of
from ion.stores.limits import PAGE_BYTES, after_prefix, key_bytes, prefix_bytes
from ion.stores.postgres.table import Plan, Shape, columns_of
from ion.stores.query import Position, Query, shown
from ion.stores.sql import Compiler, order_by

Statement = tuple[str, list[Any]]


class PageStatement(NamedTuple):
    """Two ways of reading a page, with the same parameters.

    :ivar lean: gives None for a value that, were all as large, would make the page too large.
    :ivar whole: where ``lean`` has: each value, up to what ends the page.
    """

    lean: str
    whole: str
    parameters: list[Any]


class _Compiler(Compiler):
    def __init__(self) -> None:
        super().__init__(lambda number: f"${number}")

    def _in(self, name: str, values: tuple[Any, ...]) -> str:
        """One parameter for all: so the statement is the same for any number of them."""
        return f"a_{name} = ANY({self.parameter(list(values))})"

    def _after(self, order: tuple[str, ...], start: Position) -> str:
        """Say where to begin, too: an OR alone is no range of an index."""
        after = super()._after(order, start)
        if not order or start.values[0] is None or order[0].startswith("-"):
            return after
        return f"(a_{order[0]} >= {self.parameter(start.values[0])} AND {after})"


def query_of(shape: Shape, query: Query) -> PageStatement:
    """Return the statements of a checked query's page, and keep them for others like it.

    :raises InvalidRequest: the cursor is not one of this query.
    """
    compiler = _Compiler()
    condition = compiler.where(query, paged=True)
    order, limit = order_by(query), query.limit
    page = _page(shape, condition, compiler.parameters, order, limit)
    attributes = shown(query, shape.attributes)
    lean = _lean(shape, columns_of(attributes), condition, order, limit)
    shape.plans.keep(query, Plan(lean, entries_of(attributes)))
    return page


def count_of(shape: Shape, query: Query) -> Statement:
    """Return the statement that counts what a checked query finds."""
    compiler = _Compiler()
    condition = compiler.where(query, paged=False)
    return f"SELECT count(*) FROM {shape.sql} WHERE {condition}", compiler.parameters


def scan_of(shape: Shape, prefix: str, after: str | None, limit: int) -> PageStatement:
    """Return the statements of a scan's page."""
    condition, parameters = _range(prefix, after)
    return _page(shape, condition, parameters, "key", limit)


def keys_of(shape: Shape, prefix: str, after: str | None, limit: int) -> Statement:
    """Return the statement of a page of keys."""
    condition, parameters = _range(prefix, after)
    sql = f"SELECT key FROM {shape.sql} WHERE {condition} ORDER BY key LIMIT {limit + 1}"
    return sql, parameters


def _range(prefix: str, after: str | None) -> Statement:
    compiler = _Compiler()
    least = prefix_bytes(prefix)
    end = after_prefix(least)
    conditions = [f"key >= {compiler.parameter(least)}"]
    if end is not None:
        conditions.append(f"key < {compiler.parameter(end)}")
    if after is not None:
        conditions.append(f"key > {compiler.parameter(key_bytes(after))}")
    return " AND ".join(conditions), compiler.parameters


def _page(
    shape: Shape, condition: str, parameters: list[Any], order: str, limit: int
) -> PageStatement:
    """Return a page and one more; beyond :data:`PAGE_BYTES`, values are not read, and empty.

    To sum up sizes takes the server as long as to find some rows: seldom is it needed.
    """
    columns = f"key, value, revision{shape.columns}"
    tail = f"FROM {shape.sql} WHERE {condition} ORDER BY {order} LIMIT {limit + 1}"
    lean = _lean(shape, shape.columns, condition, order, limit)
    whole = (
        "SELECT key, CASE WHEN sum(octet_length(value)) OVER page - octet_length(value) "
        f"< {PAGE_BYTES} THEN value ELSE '' END, revision{shape.columns} "
        f"FROM (SELECT {columns} {tail}) AS found "
        f"WINDOW page AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING) ORDER BY {order}"
    )
    return PageStatement(lean, whole, parameters)


def _lean(shape: Shape, columns: str, condition: str, order: str, limit: int) -> str:
    """Return the statement of a page, with None for values that could make it too large."""
    share = PAGE_BYTES // (limit + 1)
    return (
        f"SELECT key, CASE WHEN octet_length(value) <= {share} THEN value END, revision{columns} "
        f"FROM {shape.sql} WHERE {condition} ORDER BY {order} LIMIT {limit + 1}"
    )
