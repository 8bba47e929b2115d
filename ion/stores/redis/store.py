"""A store in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ion.base.errors import Damaged, InvalidRequest, Unavailable
from ion.stores.errors import conflict, not_there
from ion.stores.limits import (
    PAGE_BYTES,
    after_prefix,
    check_attributes,
    check_batch,
    check_limit,
    check_many,
    check_value,
    key_bytes,
    key_text,
    new_revision,
    prefix_bytes,
)
from ion.stores.ordering import page_by_key
from ion.stores.query import Query, checked
from ion.stores.redis.finding import Finder
from ion.stores.redis.layout import REVISION, Space, pack, revision_bytes, unpack
from ion.stores.redis.pipeline import Pipeline
from ion.stores.redis.pipelines import Pipelines
from ion.stores.redis.scripts import CLEAR, FETCH, PUT, SCAN, WRITE, Script
from ion.stores.store import (
    ABSENT,
    Attributes,
    Entry,
    Indices,
    Page,
    Put,
    Reindex,
    Remove,
    Write,
)

_LARGE = 64 * 1024  # bytes of values; more goes by a pipeline where small calls do not wait for it
_AT_A_TIME = 500  # keys


class RedisStore:
    """A store and, where attributes are declared, an index store. Every call is one step, but those
    that say so.
    """

    def __init__(self, space: Space, pipelines: Pipelines) -> None:
        self.name = space.name
        self._space = space
        self._pipelines = pipelines
        self._main = pipelines.main(space)

    @property
    def indices(self) -> Indices:
        """The declared attributes and their types."""
        return self._space.indices or {}

    async def get(self, key: str) -> bytes | None:
        """See :meth:`Store.get`."""
        record = await self._main.get(self._space, key_bytes(key))
        return self._parted(key, record)[1] if record is not None else None

    async def entry(self, key: str) -> Entry | None:
        """See :meth:`Store.entry`."""
        data = key_bytes(key)
        if self._space.indices is None:
            record, attributes = await self._main.get(self._space, data), b""
        else:
            words = [b"1", data]
            record, attributes = await self._main.script(FETCH, self._space.base, words)
        return self._entry(data, record, attributes) if record is not None else None

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """See :meth:`Store.get_many`; in steps."""
        check_many(keys)
        wanted = {key_bytes(key): key for key in keys}
        found: dict[str, bytes] = {}
        left = list(wanted)
        async with self._in_time():
            while left:
                words = [b"%d" % PAGE_BYTES, *left[:_AT_A_TIME]]
                records = (await self._side().script(FETCH, self._space.base, words))[::2]
                there = {wanted[d]: r for d, r in zip(left, records, strict=False) if r is not None}
                found.update({key: self._parted(key, there[key])[1] for key in there})
                left = left[len(records) :]
        return found

    async def has(self, key: str) -> bool:
        """See :meth:`Store.has`."""
        return bool(await self._main.command(b"STRLEN", self._space.base + b"v:" + key_bytes(key)))

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        revision: int | None = None,
        index: Attributes | None = None,
    ) -> int:
        """See :meth:`IndexStore.put`."""
        space = self._space
        if revision is not None or index or space.indices is not None:
            return (await self._write([Put(key, value, revision, index)]))[0][0]
        data = key_bytes(key)
        check_value(value, key)
        becomes = new_revision()
        record = b"".join((becomes.to_bytes(REVISION, "big"), value))
        if space.large:
            await self._turn([data])
        if len(record) > _LARGE:
            words = [space.generation, data, record]
            done = await self._aside(PUT, words, len(record), [data])
        else:
            done = await self._main.put(space, data, record)
        if done != b"OK":
            raise self._gone()
        return becomes

    async def update_index(
        self, key: str, index: Attributes, *, revision: int | None = None
    ) -> int:
        """See :meth:`IndexStore.update_index`."""
        return (await self._write([Reindex(key, index, revision)]))[0][0]

    async def remove(self, key: str, *, revision: int | None = None) -> bool:
        """See :meth:`Store.remove`."""
        return bool((await self._write([Remove(key, revision)]))[1])

    async def write(self, batch: Sequence[Write]) -> list[int]:
        """See :meth:`Store.write`."""
        check_batch(batch)
        return (await self._write(batch))[0]

    async def scan(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[Entry]:
        """See :meth:`Store.scan`."""
        bounds = _range(prefix, after)
        count = b"%d" % (check_limit(limit) + 1)
        words = [b"k", *bounds, count, b"%d" % PAGE_BYTES, b"0"]
        found = await self._side().script(SCAN, self._space.base, words)
        entries = [
            self._entry(data, record, attributes)
            for data, record, attributes in zip(found[::3], found[1::3], found[2::3], strict=True)
        ]
        return page_by_key(entries, limit)

    async def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int = 1000
    ) -> Page[str]:
        """See :meth:`Store.keys`."""
        count = b"%d" % (check_limit(limit) + 1)
        least, end = _range(prefix, after)
        space = self._space.base + b"k"
        found = await self._side().command(b"ZRANGEBYLEX", space, least, end, b"LIMIT", b"0", count)
        keys = [key_text(data) for data in found[:limit]]
        return Page(keys, keys[-1] if len(found) > limit else None)

    async def clear(self) -> None:
        """See :meth:`Store.clear`; in steps: what is put meanwhile may stay, and where it fails,
        some may be removed.
        """
        async with self._in_time():
            if not await cleared(self._space, self._side(), self._space.generation):
                raise self._gone()

    async def query(self, query: Query) -> Page[Entry]:
        """See :meth:`IndexStore.query`; in steps."""
        query = checked(query, self.indices)
        async with self._in_time():
            return await Finder(self._space, self._side(), self._entry).page(query)

    async def count(self, query: Query) -> int:
        """See :meth:`IndexStore.count`; in steps."""
        query = checked(query, self.indices)
        async with self._in_time():
            return await Finder(self._space, self._side(), self._entry).count(query)

    async def _turn(self, keys: Sequence[bytes]) -> None:
        """Wait for writes to these keys that go by another pipeline; who asked may have gone.

        Else one that was given up could be done after one that was acknowledged.
        """
        large = self._space.large
        while under_way := {large[key] for key in keys if key in large}:
            await asyncio.wait(under_way)

    async def _aside(self, script: Script, words: list[bytes], size: int, keys: list[bytes]) -> Any:
        """Run a script that writes by a pipeline where small calls do not wait for it."""
        large = self._space.large
        done: asyncio.Future[Any]
        if self._main.count:
            done = asyncio.ensure_future(self._behind(keys[0], script, words, size))
        else:
            done = self._side().script(script, self._space.base, words, size)
        large.update(dict.fromkeys(keys, done))

        def is_over(done: asyncio.Future[Any]) -> None:
            for key in keys:
                if large.get(key) is done:
                    del large[key]
            done.cancelled() or done.exception()  # seen: who asked may have gone

        done.add_done_callback(is_over)
        return await asyncio.shield(done)

    async def _behind(self, key: bytes, script: Script, words: list[bytes], size: int) -> Any:
        """Run a script by another pipeline when all is done that small calls have begun before it.

        Some of these may have been given up, as large ones may.
        """
        await self._main.command(b"STRLEN", self._space.base + b"v:" + key)  # it has its turn
        return await self._side().script(script, self._space.base, words, size)

    def _side(self) -> Pipeline:
        return self._pipelines.side(self._space)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """End a call of many steps at its time limit, too; each step has one of its own."""
        limit = self._main.timeout
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError:
            message = (
                f"a call to store {self.name!r} in Redis takes more than {limit:g} s: "
                "it is overloaded, or must look at too much; does an index fit the query?"
            )
            raise Unavailable(message, details={"store": self.name}) from None

    async def _write(self, batch: Sequence[Write]) -> tuple[list[int], int]:
        """Do all writes, or none; return their revisions, and how many were removed."""
        words = [self._space.generation]
        revisions = []
        size = 0
        for write in batch:
            some, revision = self._words(write)
            words += some
            size += len(some[3])
            revisions.append(revision)
        if not batch:
            return [], 0
        if self._space.large:
            await self._turn(words[2::5])
        if size <= _LARGE and len(batch) <= _AT_A_TIME:
            done = await self._main.script(WRITE, self._space.base, words, size)
        else:
            done = await self._aside(WRITE, words, size, words[2::5])
        if done == b"GONE":
            raise self._gone()
        if not isinstance(done, list):
            return revisions, done
        write = batch[done[1]]
        if done[0] == b"N":
            raise not_there(self.name, write.key)
        found = int.from_bytes(done[2], "big")
        raise conflict(self.name, write.key, write.revision or ABSENT, found)

    def _words(self, write: Write) -> tuple[list[bytes], int]:
        """Return a write as the script takes it, and the revision that it leaves."""
        key = key_bytes(write.key)
        expected = revision_bytes(write.revision)
        if isinstance(write, Remove):
            return [b"R", key, expected, b"", b""], ABSENT
        revision = write.becomes or new_revision()
        data = revision.to_bytes(REVISION, "big")
        if isinstance(write, Put):
            check_value(write.value, write.key)
            attributes = check_attributes(write.index or {}, self.indices)
            record = b"".join((data, write.value))
            return [b"P", key, expected, record, pack(attributes, self.indices)], revision
        kept = {**dict.fromkeys(write.index), **check_attributes(write.index, self.indices)}
        return [b"I", key, expected, data, pack(kept, self.indices)], revision

    def _entry(self, key: bytes, record: bytes | None, attributes: bytes) -> Entry:
        text = key_text(key)
        revision, value = self._parted(text, record)
        try:
            index = unpack(attributes, self.indices)
        except (ValueError, IndexError) as error:
            message = f"the attributes of {text[:50]!r} in store {self.name!r} cannot be read"
            raise Damaged(message, details={"store": self.name, "key": text}) from error
        return Entry(text, value, revision, index)

    def _parted(self, key: str, record: bytes | None) -> tuple[int, bytes]:
        """Return the revision and the value of a record."""
        if record is None or len(record) < REVISION:
            what = "is listed, but not there: it was evicted or removed by another program"
            if record is not None:
                what = "is no value of a store: another program has written it"
            message = f"{key[:50]!r} of store {self.name!r} {what}; put it again, or remove it"
            raise Damaged(message, details={"store": self.name, "key": key})
        return int.from_bytes(record[:REVISION], "big"), record[REVISION:]

    def _gone(self) -> InvalidRequest:
        self._space.is_gone = True
        message = f"store {self.name!r} was dropped meanwhile: open it with the datastore again"
        return InvalidRequest(message, details={"store": self.name})


async def cleared(space: Space, pipeline: Pipeline, generation: bytes) -> bool:
    """Remove all that is in a store, in steps; return False where it is of another generation.

    :param generation: empty: it was dropped.
    """
    after = b"-"
    while True:
        last = await pipeline.script(CLEAR, space.base, [generation, after, b"%d" % _AT_A_TIME])
        if not isinstance(last, list):
            return False
        if not last:
            return True
        after = b"(" + last[0]


def _range(prefix: str, after: str | None) -> tuple[bytes, bytes]:
    """Return the bounds of keys, as Redis takes them."""
    least = prefix_bytes(prefix)
    end = after_prefix(least)
    first = b"[" + least
    if after is not None and (start := key_bytes(after)) >= least:
        first = b"(" + start
    return first, b"+" if end is None else b"(" + end
