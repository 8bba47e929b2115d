"""What a datastore with units of work does, in a few dicts: the model that engines are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ion.base.errors import Conflict, IonError, NotFound
from ion.stores.limits import key_bytes
from ion.stores.store import ABSENT, Entry, Put, Reindex, Remove, Write

Errors = set[type[IonError]]


class Row(msgspec.Struct, frozen=True):
    """What is kept of a key."""

    value: bytes
    revision: int
    index: Mapping[str, Any]


class Model:
    """Some stores, and at most one open unit of work.

    :ivar rows: store -> key -> what is there.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.rows: dict[str, dict[str, Row]] = {name: {} for name in names}
        self.unit: UnitModel | None = None

    def row(self, name: str, key: str) -> Row | None:
        """Return what is there."""
        return self.rows[name].get(key)

    def revision(self, name: str, key: str) -> int:
        """Return the revision of what is there."""
        row = self.row(name, key)
        return row.revision if row is not None else ABSENT

    def errors(self, name: str, batch: Sequence[Write]) -> Errors:
        """Return the errors that a batch may fail with; none: it is done."""
        return {
            error
            for write in batch
            if (error := _error(write, self.row(name, write.key), self.revision(name, write.key)))
        }

    def do(self, name: str, batch: Sequence[Write], revisions: Sequence[int]) -> None:
        """Do a batch, of which the engine has returned the revisions."""
        for write, revision in zip(batch, revisions, strict=True):
            row = _after(write, self.row(name, write.key), revision)
            self._set(name, write.key, row)

    def _set(self, name: str, key: str, row: Row | None) -> None:
        if row is None:
            self.rows[name].pop(key, None)
        else:
            self.rows[name][key] = row

    def commit(self, unit: UnitModel) -> None:
        """Do what a unit has written."""
        for (name, key), row in unit.own.items():
            self._set(name, key, row)

    def entries(self, name: str) -> list[Entry]:
        """Return all entries of a store, in order."""
        return in_order(self.rows[name])


class UnitModel:
    """A unit of work on a model.

    :ivar is_stale: it has seen that what it had read was changed: it can only conflict.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.own: dict[tuple[str, str], Row | None] = {}
        self.reads: dict[tuple[str, str], int] = {}
        self.is_stale = False

    def row(self, name: str, key: str) -> Row | None:
        """Return what is there, as the unit sees it."""
        if (name, key) in self.own:
            return self.own[name, key]
        return self._model.row(name, key)

    def revision(self, name: str, key: str) -> int:
        """Return the revision that the unit takes a key to be of."""
        if (name, key) not in self.own and (name, key) in self.reads:
            return self.reads[name, key]
        row = self.row(name, key)
        return row.revision if row is not None else ABSENT

    def read(self, name: str, key: str) -> bool:
        """Take down that the engine was asked for a key; return whether it had not changed."""
        if (name, key) in self.own:
            return True
        found = self._model.revision(name, key)
        self.is_stale |= self.reads.setdefault((name, key), found) != found
        return not self.is_stale

    def read_for_remove(self, name: str, key: str) -> None:
        """Take down that a removal has asked whether there is something."""
        if (name, key) not in self.reads:
            self.read(name, key)

    def errors(self, name: str, batch: Sequence[Write]) -> Errors:
        """Return the errors that a batch may fail with; none: it is done."""
        for write in batch:
            is_known = (name, write.key) in self.reads
            if isinstance(write, Reindex) or (write.revision is not None and not is_known):
                self.read(name, write.key)
        if self.is_stale:
            return {Conflict}
        return {
            error
            for write in batch
            if (error := _error(write, self.row(name, write.key), self.revision(name, write.key)))
        }

    def do(self, name: str, batch: Sequence[Write], revisions: Sequence[int]) -> None:
        """Do a batch, of which the unit has returned the revisions."""
        for write, revision in zip(batch, revisions, strict=True):
            self.own[name, write.key] = _after(write, self.row(name, write.key), revision)

    def entries(self, name: str) -> list[Entry]:
        """Return all entries of a store as the unit sees them, in order."""
        rows: dict[str, Row | None] = dict(self._model.rows[name])
        rows.update({key: row for (store, key), row in self.own.items() if store == name})
        return in_order({key: row for key, row in rows.items() if row is not None})

    @property
    def is_used(self) -> bool:
        """Whether it has read or written anything."""
        return bool(self.own or self.reads)

    @property
    def conflicts(self) -> bool:
        """Whether its end must conflict."""
        return any(
            self._model.revision(name, key) != revision
            for (name, key), revision in self.reads.items()
        )


def in_order(rows: Mapping[str, Row]) -> list[Entry]:
    """Return rows as entries in the order of their keys."""
    return [
        Entry(key, rows[key].value, rows[key].revision, rows[key].index)
        for key in sorted(rows, key=key_bytes)
    ]


def _error(write: Write, row: Row | None, revision: int) -> type[IonError] | None:
    if write.revision is not None and write.revision != revision:
        return Conflict
    return NotFound if isinstance(write, Reindex) and row is None else None


def _after(write: Write, row: Row | None, revision: int) -> Row | None:
    if isinstance(write, Remove):
        assert revision == ABSENT
        return None
    if isinstance(write, Put):
        return Row(write.value, revision, _present(write.index or {}))
    assert row is not None
    return Row(row.value, revision, _present({**row.index, **write.index}))


def _present(index: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in index.items() if value is not None}
