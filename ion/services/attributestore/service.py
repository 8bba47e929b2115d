"""The attribute store: one index store of its container's datastore, for the whole system.

Its app's ``config`` says which: ``namespace``, the name of the store, and ``indices``, the declared
attributes and their types. All instances on one datastore share what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ion.base.errors import ConfigurationError, Conflict, InvalidRequest
from ion.process.service import Service
from ion.process.storeerrors import answering
from ion.services.attributestore import model
from ion.services.attributestore.model import PutRow, ReindexRow, Row, Rows, RowWrite
from ion.stores.conditions import predicate_of
from ion.stores.limits import check_many
from ion.stores.query import Query, checked
from ion.stores.store import IndexStore, Indices, Put, Reindex, Write

NAMESPACE = "attributes"
LIMIT = 100
AT_ONCE = 50  # reads of many that go on together, which the engines do in few steps


class AttributeStoreService(Service, name="attributestore", version="0.1.0"):
    """Keeps values under keys, with attributes by which they are found.

    :param namespace: name of the store; the app's ``config``, else ``attributes``, by default.
    :param indices: attribute -> ``str``, ``int``, ``float`` or ``bool``; the app's by default.
    """

    _rows: IndexStore

    def __init__(self, namespace: str | None = None, indices: Indices | None = None) -> None:
        self._namespace = namespace
        self._indices = indices

    async def on_init(self) -> None:
        """Open the store.

        :raises ConfigurationError: its name, or an attribute, is none, or of another type than
            the store has it.
        """
        config = self.app_config
        namespace = self._namespace or config.get("namespace") or NAMESPACE
        indices = self._indices if self._indices is not None else config.get("indices") or {}
        if not isinstance(indices, dict) or model.IS_TEXT in indices:
            message = f"indices: a map of attributes and types, without {model.IS_TEXT!r}"
            raise ConfigurationError(message)
        try:
            self._rows = await self.index_store(namespace, {**indices, model.IS_TEXT: "bool"})
        except InvalidRequest as error:
            message = f"the store of attributes cannot be opened: {error}"
            raise ConfigurationError(message) from error

    @property
    def _most(self) -> int:
        return self._endpoint.max_content // 2  # base64 in JSON, headers, and some air

    async def op_get(self, key: Any) -> Any:
        """Return a value, as it was put; None where there is none."""
        with answering():
            entry = await self._rows.entry(model.key_of(key))
            return model.value_of(entry) if entry is not None else None

    async def op_entry(self, key: Any) -> Row | None:
        """Return a value with its revision and attributes, or None."""
        with answering():
            entry = await self._rows.entry(model.key_of(key))
            return model.row_of(entry) if entry is not None else None

    async def op_get_many(self, keys: list[Any]) -> list[Row]:
        """Return those of the keys that are there, in their order; 413 where they are too large."""
        with answering():
            check_many(keys)
            asked = model.Asked(self._most)
            names = list(dict.fromkeys(model.key_of(key) for key in keys))
            for start in range(0, len(names), AT_ONCE):
                some = names[start : start + AT_ONCE]
                for entry in await asyncio.gather(*map(self._rows.entry, some)):
                    asked.take(entry)
            return asked.rows

    async def op_has(self, key: Any) -> bool:
        """Return whether there is a value."""
        with answering():
            return await self._rows.has(model.key_of(key))

    async def op_put(
        self,
        key: Any,
        value: Any,
        index: dict[str, Any] | None = None,
        revision: int | None = None,
        becomes: int | None = None,
    ) -> int:
        """Keep a value with its attributes; return its revision.

        With ``revision`` it is compare-and-set: 409 Conflict where another one is there (0: where
        anything is). With ``becomes``, the revision that it gets, a repeat of the same is no other.
        """
        with answering():
            put = model.write_of(PutRow(key, value, index or {}, revision, becomes))
            return (await self._write([put]))[0]

    async def op_compare_and_set(
        self,
        key: Any,
        value: Any,
        revision: int,
        index: dict[str, Any] | None = None,
        becomes: int | None = None,
    ) -> int:
        """Replace the value of that revision (0: of none yet); 409 Conflict where it is another."""
        return await self.op_put(key, value, index, revision, becomes)

    async def op_remove(self, key: Any, revision: int | None = None) -> bool:
        """Remove a value; return whether there was one. ``revision`` as for put."""
        with answering():
            return await self._rows.remove(model.key_of(key), revision=revision)

    async def op_update_index(
        self,
        key: Any,
        index: dict[str, Any],
        revision: int | None = None,
        becomes: int | None = None,
    ) -> int:
        """Change attributes of a value, which stays; return its new revision. 404 without it."""
        with answering():
            write = model.write_of(ReindexRow(key, index, revision, becomes))
            return (await self._write([write]))[0]

    async def op_write(self, batch: list[RowWrite]) -> list[int]:
        """Do all writes, or none; return their revisions, 0 for a removal."""
        with answering():
            return await self._write([model.write_of(row) for row in batch])

    async def op_scan(self, prefix: Any = "", after: Any = None, limit: int = LIMIT) -> Rows:
        """Return rows whose keys begin with ``prefix``, in order; ``after``: a page's cursor.

        A page is cut where one answer holds no more.
        """
        with answering():
            start = model.key_of(after) if after is not None else None
            page = await self._rows.scan(model.prefix_of(prefix), after=start, limit=limit)
            return model.scanned(page, self._most)

    async def op_keys(self, prefix: Any = "", after: Any = None, limit: int = 1000) -> list[Any]:
        """Return keys, as :meth:`op_scan` does rows; the last one is where to go on ``after``."""
        with answering():
            start = model.key_of(after) if after is not None else None
            limit = min(limit, max(self._most // 1100, 1))
            page = await self._rows.keys(model.prefix_of(prefix), after=start, limit=limit)
            return [model.travelling(key) for key in page.items]

    async def op_query(
        self,
        where: Any = None,
        order: list[str] | None = None,
        limit: int = LIMIT,
        cursor: str | None = None,
    ) -> Rows:
        """Return rows that a predicate is true of; 400 for an attribute that is not declared.

        ``where`` is a map, such as ``{"kind": "ctd", "depth": {"GT": 100}}``, or a tree; see
        :func:`~ion.stores.conditions.predicate_of`. A page is cut where one answer holds no more.
        """
        with answering():
            query = Query(predicate_of(where), tuple(order or ()), limit, cursor)
            query = checked(query, self._rows.indices)
            return model.found(query, await self._rows.query(query), self._most)

    async def op_count(self, where: Any = None) -> int:
        """Return how many rows a predicate is true of."""
        with answering():
            return await self._rows.count(Query(predicate_of(where)))

    async def op_indices(self) -> dict[str, str]:
        """Return the declared attributes and their types."""
        indices = self._rows.indices
        return {name: kind for name, kind in indices.items() if name != model.IS_TEXT}

    async def _write(self, batch: Sequence[Write]) -> list[int]:
        """Do a batch; where it comes again, since its answer was lost, its revisions tell so."""
        try:
            return await self._rows.write(batch)
        except Conflict:
            if not await self._is_done(batch):
                raise
        return [getattr(write, "becomes", None) or 0 for write in batch]

    async def _is_done(self, batch: Sequence[Write]) -> bool:
        for write in batch:
            if isinstance(write, Put | Reindex) and write.becomes is not None:
                entry = await self._rows.entry(write.key)
                return entry is not None and entry.revision == write.becomes
        return False
