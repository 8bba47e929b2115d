"""A datastore in memory: private to who made it, or (``memory://NAME``) shared in this OS process.

A shared one lives as long as somebody has it open. No call waits, so that each is one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from ion.base.errors import ConfigurationError
from ion.stores.errors import closed, conflict, is_indexed, not_opened
from ion.stores.limits import (
    check_changes,
    check_indices,
    check_name,
    key_bytes,
    merged_indices,
)
from ion.stores.memory.store import MemoryStore, replaced
from ion.stores.memory.table import Row, Table
from ion.stores.store import Change, Indices, Read, UnitOfWork, Write
from ion.stores.unit_of_work import unit_of_work

_SCHEME = "memory://"
_shared: dict[str, dict[str, Table]] = {}  # what is open under a name
_open: dict[str, int] = {}


class MemoryDatastore:
    """See :class:`~ion.stores.store.Datastore`.

    :param url: ``memory://`` or ``memory://NAME``.
    """

    scheme = "memory"
    has_transactions = True

    def __init__(self, url: str = _SCHEME, *, timeout: float = 0.0, sysname: str = "") -> None:
        self.url = url
        self._name = url.removeprefix(_SCHEME)
        if "/" in self._name or "?" in self._name:
            message = f"{url!r}: a store in memory is memory:// or memory://NAME"
            raise ConfigurationError(message)
        self._tables: dict[str, Table] | None = None

    async def open(self) -> None:
        """See :meth:`Datastore.open`."""
        if self._tables is not None:
            return
        self._tables = _shared.setdefault(self._name, {}) if self._name else {}
        _open[self._name] = _open.get(self._name, 0) + 1

    async def close(self) -> None:
        """See :meth:`Datastore.close`."""
        if self._tables is None:
            return
        self._tables = None
        _open[self._name] -= 1
        if not _open[self._name]:
            del _open[self._name]
            _shared.pop(self._name, None)

    async def store(self, name: str) -> MemoryStore:
        """See :meth:`Datastore.store`."""
        table = self._opened().setdefault(check_name(name), Table(name, None))
        if table.indices is not None:
            raise is_indexed(name)
        return self._store(table)

    async def index_store(self, name: str, indices: Indices) -> MemoryStore:
        """See :meth:`Datastore.index_store`."""
        declared = check_indices(indices)
        table = self._opened().setdefault(check_name(name), Table(name, {}))
        table.indices = merged_indices(name, table.indices, declared)
        return self._store(table)

    async def names(self) -> list[str]:
        """See :meth:`Datastore.names`."""
        return sorted(self._opened())

    async def drop(self, name: str) -> None:
        """See :meth:`Datastore.drop`."""
        table = self._opened().pop(check_name(name), None)
        if table is not None:
            table.clear()

    async def commit(self, changes: Sequence[Change], reads: Sequence[Read] = ()) -> list[int]:
        """See :meth:`Datastore.commit`."""
        check_changes(changes, reads)
        for read in reads:
            table = self._table(read.store)
            found = table.revision(key_bytes(read.key))
            if found != read.revision:
                raise conflict(read.store, read.key, read.revision, found)
        return self._commit([(change.store, change.write) for change in changes])

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """See :meth:`Datastore.unit_of_work`."""
        return unit_of_work(self, self._indices(), pauses=True)

    def _commit(self, writes: Sequence[tuple[str, Write]]) -> list[int]:
        done: list[tuple[Table, bytes, Row | None]] = []
        revisions = []
        try:
            for name, write in writes:
                table = self._table(name)
                row, revision = replaced(table, write)
                key = key_bytes(write.key)
                done.append((table, key, table.set(key, row)))
                revisions.append(revision)
        except BaseException:
            for table, key, before in reversed(done):
                table.set(key, before)
            raise
        return revisions

    def _store(self, table: Table) -> MemoryStore:
        return MemoryStore(table, self._commit, self._check)

    def _table(self, name: str) -> Table:
        table = self._opened().get(name)
        if table is None:
            raise not_opened(name)
        return table

    def _indices(self) -> Mapping[str, Indices | None]:
        return {name: table.indices for name, table in self._opened().items()}

    def _check(self) -> None:
        self._opened()

    def _opened(self) -> dict[str, Table]:
        if self._tables is None:
            raise closed(self.url)
        return self._tables
