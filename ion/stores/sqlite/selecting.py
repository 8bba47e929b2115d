"""Pages of entries: the statements that find them, and how they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ion.stores.limits import PAGE_BYTES, after_prefix, check_limit, key_bytes, prefix_bytes
from ion.stores.ordering import cursor_after, page_by_key, page_of
from ion.stores.prepared import is_plain, with_value
from ion.stores.query import And, Compare, Predicate, Prefix, Query, checked, shown
from ion.stores.sql import Compiler, order_by, parts_of
from ion.stores.sqlite.reader import INLINE, Executes, Reader
from ion.stores.sqlite.table import Form, Plan, Table
from ion.stores.store import Entry, Page

FEW = 200  # entries of a page that may be read on the event loop
_PAGE = PAGE_BYTES
_SURELY = PAGE_BYTES // INLINE  # entries with small values that no page is too small for
SORTED = 2_000  # rows, at most, that are found by another index and then put in order of keys
Row = tuple[Any, ...]
Statement = tuple[str, list[Any]]


class Selection:
    """A page that is to be read: by one statement, or several, one after the other.

    :param form: of the table.
    :param limit: entries of the page.
    :param page: makes the page of entries in order, of which there may be one too many.
    """

    __slots__ = ("_form", "_limit", "_page", "_probes", "_statements", "_table")

    def __init__(
        self, table: Table, form: Form, limit: int, page: Callable[[list[Entry]], Page[Entry]]
    ) -> None:
        self._table = table
        self._form = form
        self._limit = limit
        self._page = page
        self._statements: list[Statement] = []
        self._probes: list[tuple[str, Statement]] = []

    def add(self, condition: str, parameters: list[Any], order: str = "key") -> None:
        """Read, next, what a condition is true of."""
        tail = f"WHERE {condition} ORDER BY {order} LIMIT ?"
        self.add_statement(f" FROM {self._table.sql} {tail}", parameters)

    def add_statement(self, tail: str, parameters: list[Any]) -> None:
        """Read, next, what a statement finds, given from FROM on."""
        self._statements.append((tail, parameters))

    def plan(self, attributes: Sequence[str]) -> Plan | None:
        """Return what may be kept for other parameters; None: with these it reads another way.

        :param attributes: that entries have then.
        """
        if len(self._statements) != 1 or self._probes:
            return None
        return Plan(self._table, self._form, self._statements[0][0], attributes)

    def probe(self, name: str, condition: str, parameters: list[Any]) -> None:
        """Read by the index of an attribute, where a condition on it finds few rows there."""
        sql = f"SELECT 1 FROM {self._table.sql} WHERE {condition} LIMIT 1 OFFSET {SORTED}"
        self._probes.append((name, (sql, parameters)))

    def statements(self, on: Executes) -> list[Statement]:
        """Return the statements, from FROM on, with all parameters but the limit."""
        for name, (sql, parameters) in self._probes:
            if on.execute(sql, parameters).fetchone() is None:
                table = self._table.sql
                by = f"{table} INDEXED BY {self._table.index(name)}"
                return [(tail.replace(table, by, 1), found) for tail, found in self._statements]
        return self._statements

    @property
    def shape(self) -> str | None:
        """What selections that take about as long have in common; None: they are not brief."""
        return self._statements[0][0] if self._limit <= FEW else None

    def small(self, on: Executes) -> Page[Entry]:
        """Read the page, where its values are small."""
        most = self._limit + 1
        rows: list[Row] = []
        for tail, parameters in self.statements(on):
            left = (*parameters, most - len(rows))
            rows += on.execute(self._form.select + tail, left).fetchall()
            if len(rows) == most:
                break
        return self._page(self._form.entries(rows))

    def whole(self, connection: sqlite3.Connection) -> Page[Entry]:
        """Read the page."""
        rows: list[Row] = []
        size = 0
        for tail, parameters in self.statements(connection):
            left = self._limit + 1 - len(rows)
            for row in connection.execute(self._form.select + tail, (*parameters, left)):
                rows.append(row)
                if size >= PAGE_BYTES:
                    break
                size += len(row[1])
            if size >= PAGE_BYTES or len(rows) > self._limit:
                break
        return self._page(self._form.entries(rows))


class Known:
    """The page of a query that differs from one that was read before in values only: a lean way."""

    __slots__ = ("_plan", "_query", "_values", "shape")

    def __init__(self, query: Query, plan: Plan, values: list[Any]) -> None:
        self._query = query
        self._plan = plan
        self._values = values
        self.shape = plan.tail if query.limit <= FEW else None

    def small(self, on: Executes) -> Page[Entry]:
        """See :meth:`Selection.small`."""
        parameters = (*self._values, self._query.limit + 1)
        return _page(self._query, self._plan, on.execute(self._plan.sql, parameters).fetchall())

    def whole(self, connection: sqlite3.Connection) -> Page[Entry]:
        """See :meth:`Selection.whole`."""
        query, plan = self._query, self._plan
        selection = Selection(plan.table, plan.form, query.limit, partial(page_of, query))
        selection.add_statement(plan.tail, self._values)
        return selection.whole(connection)

    def statements(self, on: Executes) -> list[Statement]:
        """See :meth:`Selection.statements`."""
        return [(self._plan.tail, self._values)]


def known_page(reader: Reader, query: Query, plan: Plan, values: list[Any]) -> Page[Entry] | None:
    """Return the page of a recalled query of at most ``FEW``; None: it takes a thread.

    :raises Unavailable: (so do the others) as :meth:`Reader.brief`.
    """
    rows = reader.rows(plan.tail, plan.sql, (*values, query.limit + 1))
    return _page(query, plan, rows) if rows is not None else None


class Prepared:
    """See :class:`ion.stores.prepared.Finder`.

    :param values: that the query compares with.
    """

    __slots__ = ("_form", "_kind", "_plan", "_query", "_reader", "_rest", "_table")

    def __init__(self, reader: Reader, query: Query, plan: Plan, values: list[Any]) -> None:
        self._reader = reader
        self._query = query
        self._plan = plan
        self._table = plan.table
        self._form = plan.form
        self._kind = type(values[0])
        self._rest = (*values[1:], query.limit + 1)

    def find(self, value: Any) -> tuple[list[bytes], str | None] | None:
        """See :meth:`ion.stores.prepared.Finder.find`."""
        reader, plan = self._reader, self._plan
        if reader.in_a_row > reader.due and reader.is_turn_of_others():
            return None
        if self._table.form is not self._form:
            return None
        if value.__class__ is not self._kind or not is_plain(value):
            return None
        rows = reader.rows(plan.tail, plan.sql, (value, *self._rest))
        if rows is None:
            return None
        values = [row[1] for row in rows]
        if len(rows) < self._rest[-1] and (len(rows) <= _SURELY or sum(map(len, values)) < _PAGE):
            return values, None
        page = _page(with_value(self._query, value), plan, rows)
        return [entry.value for entry in page.items], page.cursor


def _page(query: Query, plan: Plan, rows: list[Row]) -> Page[Entry]:
    limit = query.limit
    if limit > _SURELY:
        return page_of(query, plan.entries(rows))
    if len(rows) <= limit:
        return Page(plan.entries(rows))
    rows.pop()
    entries = plan.entries(rows)
    return Page(entries, cursor_after(query, entries[-1]))


def of_query(table: Table, query: Query) -> Selection | Known:
    """Return the page of a query.

    :raises InvalidRequest: see :meth:`IndexStore.query`.
    """
    form = table.form
    known = form.plans.recall(query)
    if known is None:
        return _made(table, form, checked(query, form.kinds))
    return Known(*known)


def _made(table: Table, form: Form, query: Query) -> Selection:
    """Return the page of a checked query, and keep how it is read for others like it."""
    selection = Selection(table, form, query.limit, partial(page_of, query))
    order = order_by(query)
    for part in parts_of(query):
        compiler = Compiler(_mark)
        condition = compiler.where(query, paged=True, part=part)
        selection.add(condition, compiler.parameters, order)
    for name, terms in _ranges(query).items():
        compiler = Compiler(_mark)
        condition = compiler.where(Query(And(tuple(terms))), paged=False)
        selection.probe(name, condition, compiler.parameters)
    plan = selection.plan(shown(query, form.attributes))
    if plan is not None:
        form.plans.keep(query, plan)
    return selection


def _ranges(query: Query) -> dict[str, list[Predicate]]:
    """Return the ranges by which a query that is ordered by key may be read, by attribute.

    The engine knows how many rows an index has for one value, not within a range: it would rather
    go through all keys, in the hope that the page is full soon. So it is to look.
    """
    if query.order or query.where is None:
        return {}
    terms = query.where.terms if isinstance(query.where, And) else (query.where,)
    flat = [t for term in terms for t in (term.terms if isinstance(term, And) else (term,))]
    if any(isinstance(term, Compare) and term.op == "EQ" for term in flat):
        return {}
    ranges: dict[str, list[Predicate]] = {}
    for term in flat:
        if isinstance(term, Prefix) or (isinstance(term, Compare) and term.op != "NE"):
            ranges.setdefault(term.name, []).append(term)
    return ranges


def of_scan(table: Table, prefix: str, after: str | None, limit: int) -> Selection:
    """Return the page of a scan; errors as :meth:`Store.scan`."""
    check_limit(limit)
    selection = Selection(table, table.form, limit, lambda entries: page_by_key(entries, limit))
    selection.add(*key_range(prefix, after))
    return selection


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
