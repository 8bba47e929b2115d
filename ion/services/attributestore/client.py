"""The typed client of the attribute store: as an index store that is somewhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ion.process.client import ServiceClient
from ion.process.storeerrors import heard
from ion.services.attributestore.model import (
    PutRow,
    ReindexRow,
    RemoveRow,
    Row,
    Rows,
    RowWrite,
    Value,
    key_of,
    travelling,
)
from ion.stores.conditions import Where
from ion.stores.limits import new_revision
from ion.stores.store import Attributes


class AttributeStoreClient(ServiceClient, service="attributestore"):
    """Keeps values under keys, and finds them by their attributes.

    All calls raise :class:`~ion.base.errors.InvalidRequest` for a key, value or attribute that the
    store cannot take, and :class:`~ion.base.errors.Unavailable` where it is away; a put may be
    tried again with the same ``becomes``.
    """

    async def get(self, key: str, *, timeout: float | None = None) -> Value | None:
        """Return a value, bytes or text as it was put; None where there is none."""
        answer: Value | None = await self._ask("get", {"key": travelling(key)}, timeout)
        return answer

    async def entry(self, key: str, *, timeout: float | None = None) -> Row | None:
        """Return a value with its revision and attributes, or None."""
        row = await self._ask("entry", {"key": travelling(key)}, timeout, Row | None)
        return _near(row) if row is not None else None

    async def get_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> dict[str, Value]:
        """Return the values of those of the keys that are there.

        :raises ContentTooLarge: they do not fit in one answer.
        """
        content = {"keys": [travelling(key) for key in keys]}
        rows = await self._ask("get_many", content, timeout, list[Row])
        return {key_of(row.key): row.value for row in rows}

    async def has(self, key: str, *, timeout: float | None = None) -> bool:
        """Return whether there is a value."""
        answer: bool = await self._ask("has", {"key": travelling(key)}, timeout, bool)
        return answer

    async def put(
        self,
        key: str,
        value: Value,
        *,
        index: Attributes | None = None,
        revision: int | None = None,
        becomes: int | None = None,
        timeout: float | None = None,
    ) -> int:
        """Keep a value with its attributes, which replace those that it had; return its revision.

        :param revision: of what it is to replace (0: nothing); None: of anything.
        :param becomes: the revision that it gets; made here by default, so that a message that
            the broker delivers twice is no conflict with itself.
        :raises Conflict: something of another revision is there, or nothing; ``details`` holds
            ``expected``, and ``revision`` where it is known.
        """
        row = PutRow(travelling(key), value, dict(index or {}), revision, becomes or new_revision())
        content = {name: getattr(row, name) for name in row.__struct_fields__}
        answer: int = await self._ask("put", content, timeout, int)
        return answer

    async def compare_and_set(
        self,
        key: str,
        value: Value,
        revision: int,
        *,
        index: Attributes | None = None,
        timeout: float | None = None,
    ) -> int:
        """Replace the value of that revision (0: of none yet); as :meth:`put`."""
        return await self.put(key, value, index=index, revision=revision, timeout=timeout)

    async def remove(
        self, key: str, *, revision: int | None = None, timeout: float | None = None
    ) -> bool:
        """Remove a value; return whether there was one.

        :raises Conflict: as :meth:`put`.
        """
        content = {"key": travelling(key), "revision": revision}
        answer: bool = await self._ask("remove", content, timeout, bool)
        return answer

    async def update_index(
        self,
        key: str,
        index: Attributes,
        *,
        revision: int | None = None,
        timeout: float | None = None,
    ) -> int:
        """Change attributes of a value, which stays; return its new revision.

        :param index: those that change; None takes one away.
        :raises NotFound: there is no such key.
        :raises Conflict: as :meth:`put`.
        """
        content = {
            "key": travelling(key),
            "index": dict(index),
            "revision": revision,
            "becomes": new_revision(),
        }
        answer: int = await self._ask("update_index", content, timeout, int)
        return answer

    async def write(self, batch: Sequence[RowWrite], *, timeout: float | None = None) -> list[int]:
        """Do all writes of a batch, or, where one fails, none; return their revisions.

        :param batch: ``PutRow``, ``RemoveRow`` and ``ReindexRow``, each key once.
        :raises Conflict: as :meth:`put`.
        :raises NotFound: a reindex of a key that is not there.
        """
        content = {"batch": [_ready(row) for row in batch]}
        answer: list[int] = await self._ask("write", content, timeout, list[int])
        return answer

    async def scan(
        self,
        prefix: str = "",
        *,
        after: str | None = None,
        limit: int = 100,
        timeout: float | None = None,
    ) -> Rows:
        """Return rows whose keys begin with ``prefix``, in the order of their keys.

        :param after: a key: those that are greater. A page's ``cursor`` is its last key.
        """
        content = {
            "prefix": travelling(prefix),
            "after": travelling(after) if after is not None else None,
            "limit": limit,
        }
        rows = await self._ask("scan", content, timeout, Rows)
        cursor = key_of(rows.cursor) if rows.cursor is not None else None
        return Rows([_near(row) for row in rows.items], cursor)

    async def query(
        self,
        where: Where | None = None,
        *,
        order: Sequence[str] = (),
        limit: int = 100,
        cursor: str | None = None,
        timeout: float | None = None,
    ) -> Rows:
        """Return rows that a predicate is true of: ``A("depth") > 100`` (:mod:`ion.stores.query`),
        or a map (:mod:`ion.stores.conditions`).

        :raises InvalidRequest: an attribute is not declared, or the cursor is of another query.
        """
        content = {
            "where": where,
            "order": [order] if isinstance(order, str) else list(order),
            "limit": limit,
            "cursor": cursor,
        }
        rows = await self._ask("query", content, timeout, Rows)
        return Rows([_near(row) for row in rows.items], rows.cursor)

    async def find(
        self,
        where: Where | None = None,
        *,
        order: Sequence[str] = (),
        timeout: float | None = None,
    ) -> AsyncIterator[Row]:
        """Iterate all rows that a predicate is true of, a page at a time; as :meth:`query`."""
        cursor: str | None = None
        while True:
            rows = await self.query(where, order=order, cursor=cursor, timeout=timeout)
            for row in rows.items:
                yield row
            if rows.cursor is None:
                return
            cursor = rows.cursor

    async def count(self, where: Where | None = None, *, timeout: float | None = None) -> int:
        """Return how many rows a predicate is true of."""
        answer: int = await self._ask("count", {"where": where}, timeout, int)
        return answer

    async def indices(self, *, timeout: float | None = None) -> Mapping[str, str]:
        """Return the declared attributes and their types."""
        answer: dict[str, str] = await self._ask("indices", {}, timeout, dict[str, str])
        return answer

    async def _ask(self, op: str, content: Any, timeout: float | None, returns: Any = Any) -> Any:
        with heard():
            return await self._call(op, content, timeout=timeout, returns=returns)


def _near(row: Row) -> Row:
    return Row(key_of(row.key), row.value, row.revision, row.index)


def _ready(row: RowWrite) -> RowWrite:
    """Return a write as it travels; it gets its revision here (see :meth:`put`)."""
    match row:
        case PutRow(key, value, index, revision, becomes):
            return PutRow(travelling(key), value, index, revision, becomes or new_revision())
        case ReindexRow(key, index, revision, becomes):
            return ReindexRow(travelling(key), index, revision, becomes or new_revision())
        case RemoveRow(key, revision):
            return RemoveRow(travelling(key), revision)
