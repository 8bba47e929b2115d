"""Rows as entries, for engines with a column an attribute: made ready once a table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from ion.stores.limits import key_text
from ion.stores.store import Entry

Rows = Sequence[Sequence[Any]]


def entries_of(names: Sequence[str], bools: Collection[str] = ()) -> Callable[[Rows], list[Entry]]:
    """Return what makes entries of rows: key (bytes), value, revision, and attributes.

    :param names: of the attributes, in the order of their columns.
    :param bools: those for which the engine has 0 and 1.
    """
    first, second = (*names, "", "")[:2]

    def none(rows: Rows) -> list[Entry]:
        return [Entry(key.decode(), value, revision) for key, value, revision in rows]

    def one(rows: Rows) -> list[Entry]:
        return [
            Entry(
                key.decode(),
                value,
                revision,
                {} if a is None else {first: a},
            )
            for key, value, revision, a in rows
        ]

    def two(rows: Rows) -> list[Entry]:
        return [
            Entry(
                key.decode(),
                value,
                revision,
                _present(names, (a, b)) if a is None or b is None else {first: a, second: b},
            )
            for key, value, revision, a, b in rows
        ]

    few = {0: none, 1: one, 2: two}.get(len(names))
    if few is None or bools:
        return lambda rows: _many(rows, names, bools)

    def made(rows: Rows) -> list[Entry]:
        try:
            return few(rows)
        except UnicodeDecodeError:  # a key may be any bytes, though hardly one is
            return _many(rows, names, bools)

    return made


def _many(rows: Rows, names: Sequence[str], bools: Collection[str]) -> list[Entry]:
    """Return entries of rows column by column."""
    if not rows:
        return []
    keys, values, revisions, *columns = zip(*rows, strict=True)
    indices: list[dict[str, Any]] = [{} for _ in rows]
    for name, column in zip(names, columns, strict=True):
        cells = map(_bool, column) if name in bools else column
        for index, value in zip(indices, cells, strict=True):
            if value is not None:
                index[name] = value
    return list(map(Entry, map(key_text, keys), values, revisions, indices))


def _present(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    pairs = zip(names, values, strict=True)
    return {name: value for name, value in pairs if value is not None}


def _bool(value: int | None) -> bool | None:
    return None if value is None else bool(value)
