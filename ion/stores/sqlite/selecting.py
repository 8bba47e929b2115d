"""Pages of entries: the statements that find them, and how they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from ion.stores.compiling import Compiler, order_by, parts_of
from ion.stores.limits import PAGE_BYTES, after_prefix, check_limit, key_bytes, prefix_bytes
from ion.stores.ordering import page_by_key, page_of
from ion.stores.query import Query
from ion.stores.sqlite.table import Table
from ion.stores.store import Entry, Page

FEW = 200  # entries of a page that may be read on the event loop
Row = tuple[Any, ...]


class Selection:
    """A page that is to be read: by one statement, or several, one after the other.

    :param conditions: of each statement, with its parameters.
    :param page: makes the page of entries in order, of which there may be one too many.
    """

    def __init__(
        self,
        table: Table,
        conditions: list[tuple[str, list[Any]]],
        order: str,
        limit: int,
        page: Callable[[list[Entry]], Page[Entry]],
    ) -> None:
        self._form = table.form
        self._limit = limit
        self._page = page
        self._parameters = [parameters for _, parameters in conditions]
        self._tails = [
            f" FROM {table.sql} WHERE {condition} ORDER BY {order} LIMIT ?"
            for condition, _ in conditions
        ]

    @property
    def shape(self) -> str | None:
        """What selections that take about as long have in common; None: they are not brief."""
        return self._tails[0] if self._limit <= FEW else None

    def small(self, connection: sqlite3.Connection) -> Page[Entry] | None:
        """Read the page, without large values; None: it has some."""
        rows: list[Row] = []
        for tail, parameters in zip(self._tails, self._parameters, strict=True):
            left = self._limit + 1 - len(rows)
            rows += connection.execute(self._form.small + tail, (*parameters, left)).fetchall()
            if len(rows) > self._limit:
                break
        try:
            return self._page(self._form.entries(rows))
        except TypeError:  # what stands for a large value has no length
            return None

    def whole(self, connection: sqlite3.Connection) -> Page[Entry]:
        """Read the page."""
        rows: list[Row] = []
        size = 0
        for tail, parameters in zip(self._tails, self._parameters, strict=True):
            left = self._limit + 1 - len(rows)
            for row in connection.execute(self._form.select + tail, (*parameters, left)):
                rows.append(row)
                if size >= PAGE_BYTES:
                    break
                size += len(row[1])
            if size >= PAGE_BYTES or len(rows) > self._limit:
                break
        return self._page(self._form.entries(rows))


def of_query(table: Table, query: Query) -> Selection:
    """Return the page of a checked query.

    :raises InvalidRequest: the cursor is not one of this query.
    """
    conditions = []
    for part in parts_of(query):
        compiler = Compiler(_mark)
        conditions.append((compiler.where(query, paged=True, part=part), compiler.parameters))
    page: Callable[[list[Entry]], Page[Entry]] = lambda entries: page_of(query, entries)  # noqa: E731
    return Selection(table, conditions, order_by(query), query.limit, page)


def of_scan(table: Table, prefix: str, after: str | None, limit: int) -> Selection:
    """Return the page of a scan; errors as :meth:`Store.scan`."""
    conditions = [key_range(prefix, after)]
    check_limit(limit)
    page: Callable[[list[Entry]], Page[Entry]] = lambda entries: page_by_key(entries, limit)  # noqa: E731
    return Selection(table, conditions, "key", limit, page)


def count_of(table: Table, query: Query) -> tuple[str, list[Any]]:
    """Return the statement that counts what a checked query finds."""
    compiler = Compiler(_mark)
    condition = compiler.where(query, paged=False)
    return f"SELECT count(*) FROM {table.sql} WHERE {condition}", compiler.parameters


def key_range(prefix: str, after: str | None) -> tuple[str, list[Any]]:
    """Return the condition of keys with a prefix, greater than ``after``."""
    least = prefix_bytes(prefix)
    end = after_prefix(least)
    conditions, parameters = ["key >= ?"], [least]
    if end is not None:
        conditions.append("key < ?")
        parameters.append(end)
    if after is not None:
        conditions.append("key > ?")
        parameters.append(key_bytes(after))
    return " AND ".join(conditions), parameters


def _mark(_: int) -> str:
    return "?"
