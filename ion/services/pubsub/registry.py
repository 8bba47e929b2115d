"""The rows of the registry, found by its indexes, and changed by compare-and-set.

Who registers something under a parent writes the parent again in the same batch, as it was: where
the parent goes meanwhile, or something is registered under one that is to go, one of both fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import cast

import msgspec

from ion.base.errors import Damaged
from ion.process.exactly_once.storing import Storing
from ion.services.pubsub.model import Kind, Record, key_of
from ion.stores.ordering import position
from ion.stores.query import A, And, Predicate, Query, checked, cursor_of
from ion.stores.store import Entry, IndexStore, Indices, Page, Put

INDICES: Indices = {"kind": "str", "space": "str", "point": "str", "name": "str", "owner": "str"}
PAGE = 500
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class Row(msgspec.Struct, frozen=True):
    """A record with the revision that it has."""

    record: Record
    revision: int


class Registry:
    """The index store of what is registered.

    All calls raise :class:`~ion.base.errors.Unavailable` where the store is away.
    """

    def __init__(self, rows: IndexStore) -> None:
        self._rows = rows

    @classmethod
    async def open(cls, process: Storing, name: str) -> Registry:
        """Return the registry in the store of that name."""
        return cls(await process.index_store(name, INDICES))

    async def get(self, kind: Kind, name: str, point: str = "") -> Row | None:
        """Return a row, or None."""
        entry = await self._rows.entry(key_of(kind, name, point))
        return _row(entry) if entry is not None else None

    async def find(
        self,
        kind: Kind,
        *,
        space: str | None = None,
        point: str | None = None,
        owner: str | None = None,
        limit: int = PAGE,
        cursor: str | None = None,
    ) -> Page[Row]:
        """Return rows by name; None as a value is any.

        :raises InvalidRequest: the limit, or the cursor, is none.
        """
        asked = _query(kind, space=space, point=point, owner=owner)
        page = await self._rows.query(msgspec.structs.replace(asked, limit=limit, cursor=cursor))
        return Page([_row(entry) for entry in page.items], page.cursor)

    def cursor(self, last: Record, **asked: str | None) -> str:
        """Return what gives those after ``last`` of what :meth:`find` found."""
        query = checked(_query(last.kind, **asked), self._rows.indices)
        entry = Entry(last.key, b"", 0, {"name": last.name})
        return cursor_of(query, position(query, entry))

    async def all(
        self, kind: Kind, *, space: str | None = None, point: str | None = None
    ) -> AsyncIterator[Row]:
        """Give all rows, page by page."""
        cursor: str | None = None
        while True:
            page = await self.find(kind, space=space, point=point, cursor=cursor)
            for row in page.items:
                yield row
            cursor = page.cursor
            if cursor is None:
                return

    async def add(self, record: Record, parent: Row | None) -> Row:
        """Register something new under a parent that is to stay as it is.

        :raises Conflict: there is one of that name by now; or the parent has changed.
        """
        batch = [_put(record, 0)]
        if parent is not None:
            batch.append(_put(parent.record, parent.revision))
        return Row(record, (await self._write(batch))[0])

    async def change(self, row: Row, record: Record) -> Row:
        """Replace a row.

        :raises Conflict: somebody else has changed it.
        """
        return Row(record, (await self._write([_put(record, row.revision)]))[0])

    async def remove(self, record: Record) -> None:
        """Take a row out; nothing where it is gone."""
        await self._rows.remove(record.key)

    async def _write(self, batch: Sequence[Put]) -> list[int]:
        return await self._rows.write(batch)


def _query(kind: Kind, **asked: str | None) -> Query:
    terms: list[Predicate] = [A("kind") == kind]
    terms += [A(name) == value for name, value in asked.items() if value is not None]
    return Query(And(tuple(terms)), ("name",))


def _put(record: Record, revision: int) -> Put:
    index = {name: cast("str", getattr(record, name)) for name in INDICES}
    return Put(record.key, _encode(record), revision, index)


def _row(entry: Entry) -> Row:
    try:
        return Row(_decode(entry.value), entry.revision)
    except msgspec.DecodeError as error:
        message = f"the registry of exchange points holds what is no record: {entry.key!r}"
        raise Damaged(message) from error
