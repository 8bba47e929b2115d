"""What is kept of one stream: its granules, each once and in their order, by offset.

In one write of a batch stand the granules, what has come of their publishers, and the head: where
the stream ends. The head's revision makes it compare-and-set, so that of two who believe to be the
one that keeps the stream, one fails; what has come tells which granules are there already. So it
needs no transactions but those of :meth:`Store.write`, and every engine will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from ion.base import clock
from ion.base.errors import Conflict, IonError, Unavailable
from ion.process.granules.granule import Granule
from ion.process.granules.names import store_of
from ion.process.granules.tracking import MAX_PUBLISHERS, Seen
from ion.stores.query import A, Query
from ion.stores.store import ABSENT, Datastore, Entry, IndexStore, Put, Remove, Write

INDICES = {"high": "float"}
HEAD = "head"
AHEAD = 86_400.0  # seconds that the clock of a publisher may be ahead
MOST_REMOVED = 1000  # granules at a time
SILENT = 7 * 86_400.0  # seconds after which what came of a publisher is forgotten
MOST_KNOWN = 10_000  # publishers; beyond, the longest silent are forgotten before that,
RECENT = 3600.0  # but none that has spoken within so many seconds
_GRANULE = "g/"
_PUBLISHER = "p/"


class End(msgspec.Struct, frozen=True):
    """Where a stream ends.

    :ivar first: offset of the oldest granule that is kept, or of the next; last: of the newest
        that ever was.
    :ivar high: the latest publishing time so far; one that is further ahead of the clock than
        :data:`AHEAD` counts as that far: else nothing that comes after would ever be too old.
    :ivar bytes: of all granules that ever were.
    """

    first: int = 1
    last: int = 0
    high: float = 0.0
    bytes: int = 0


_encode = msgspec.msgpack.Encoder().encode
_end = msgspec.msgpack.Decoder(End).decode
_seen = msgspec.msgpack.Decoder(Seen).decode


class Log:
    """What is kept of one stream.

    All calls raise :class:`~ion.base.errors.Unavailable` where the store is away.

    :ivar end: where it ends, as far as is known here.
    """

    def __init__(self, store: IndexStore) -> None:
        self._store = store
        self._revision = ABSENT
        self._writing = asyncio.Lock()
        self._publishers: dict[str, Seen] = {}
        self.end = End()

    @classmethod
    async def open(cls, datastore: Datastore, stream: str) -> Log:
        """Open what is kept of a stream; nothing, where nothing is."""
        log = cls(await datastore.index_store(store_of(stream), INDICES))  # type: ignore[arg-type]
        await log.refresh()
        return log

    async def refresh(self) -> End:
        """Look where it ends now."""
        entry = await self._store.entry(HEAD)
        revision = entry.revision if entry is not None else ABSENT
        if revision != self._revision:
            self._publishers.clear()
        self._revision = revision
        self.end = _end(entry.value) if entry is not None else End()
        return self.end

    async def append(
        self, granules: Sequence[tuple[Granule, bytes]], most: int | None = None
    ) -> int:
        """Keep granules after all others, those that are there already left out.

        :param most: how many are kept in all; the oldest go.
        :return: how many were new.
        :raises Conflict: somebody else keeps the stream; look again.
        """
        async with self._writing:
            return await self._append(granules, most)

    async def _append(self, granules: Sequence[tuple[Granule, bytes]], most: int | None) -> int:
        end = self.end
        now = clock.now()
        latest = now + AHEAD
        writes: list[Write] = []
        changed: dict[str, Seen] = {}
        for granule, body in granules:
            seen = changed.get(granule.publisher) or await self._publisher(granule.publisher)
            if seen is None:
                changed[granule.publisher] = Seen(granule.number, 1, now)
            else:
                changed[granule.publisher] = seen = Seen(seen.last, seen.mask, now)
                if seen.take(granule.number) is None:
                    continue
            high = max(end.high, min(granule.time, latest))
            end = End(end.first, end.last + 1, high, end.bytes + len(body))
            writes.append(Put(_key(end.last), body, ABSENT, {"high": high}))
        new = len(writes)
        if new:
            await self._write(end, writes, changed, most)
        return new

    async def _write(
        self, end: End, writes: list[Write], changed: dict[str, Seen], most: int | None
    ) -> None:
        if most is not None and end.last - end.first >= most:
            first = min(end.last - most + 1, end.first + MOST_REMOVED)
            there = range(end.first, min(first, self.end.last + 1))
            writes = [write for write in writes if write.key >= _key(first)]
            writes += [Remove(_key(offset)) for offset in there]
            end = msgspec.structs.replace(end, first=first)
        writes += [Put(_PUBLISHER + name, _encode(seen)) for name, seen in changed.items()]
        await self._commit(end, writes)
        if len(self._publishers) > MAX_PUBLISHERS:
            self._publishers.clear()
        self._publishers.update(changed)

    async def _commit(self, end: End, writes: list[Write]) -> None:
        writes.append(Put(HEAD, _encode(end), self._revision))
        try:
            revisions = await self._store.write(writes)
        except IonError:
            self._publishers.clear()  # what is kept is not known any more
            raise
        self._revision = revisions[-1]
        self.end = end

    async def _publisher(self, name: str) -> Seen | None:
        seen = self._publishers.get(name)
        if seen is not None:
            return seen
        data = await self._store.get(_PUBLISHER + name)
        return _seen(data) if data is not None else None

    async def expire(self, before: float) -> int:
        """Remove granules that were published before a time, 1,000 at most; return how many.

        :raises Conflict: as :meth:`append`.
        """
        async with self._writing:
            end = self.end
            first = min(await self.first_since(before), end.first + MOST_REMOVED)
            if first <= end.first:
                return 0
            writes: list[Write] = [Remove(_key(offset)) for offset in range(end.first, first)]
            await self._commit(msgspec.structs.replace(end, first=first), writes)
            return first - end.first

    async def forget(self) -> int:
        """Forget what came of publishers that are long silent; return how many.

        Each that is opened has another id, so they grow in number for ever; what comes twice does
        so soon. Some at a time: call it again where it returns :data:`MOST_REMOVED`.

        :raises Conflict: as :meth:`append`.
        """
        async with self._writing:
            known = [(entry.key, _seen(entry.value)) async for entry in self._known()]
            now = clock.now()
            times = sorted(seen.at for _, seen in known)[-MOST_KNOWN:]
            before = now - SILENT
            if len(known) > MOST_KNOWN:
                before = max(before, min(times[0], now - RECENT))
            undated = [(key, seen) for key, seen in known if not seen.at]  # kept by an older ION
            gone = [key for key, seen in known if 0 < seen.at < before][:MOST_REMOVED]
            writes: list[Write] = [Remove(key) for key in gone]
            for key, seen in undated[: MOST_REMOVED - len(gone)]:
                writes.append(Put(key, _encode(Seen(seen.last, seen.mask, now))))
            if writes:
                await self._commit(self.end, writes)
            for key in gone:
                self._publishers.pop(key.removeprefix(_PUBLISHER), None)
            return len(gone)

    async def _known(self) -> AsyncIterator[Entry]:
        after: str | None = None
        while True:
            page = await self._store.scan(_PUBLISHER, after=after)
            for entry in page.items:
                yield entry
            after = page.cursor
            if after is None:
                return

    async def first_since(self, time: float) -> int:
        """Return an offset before which everything was published before a time."""
        query = Query(A("high") >= time, order=("high",), limit=1)
        page = await self._store.query(query)
        return int(page.items[0].key.removeprefix(_GRANULE)) if page.items else self.end.last + 1

    async def read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return some granules behind an offset, in their order: none, where that is the end."""
        start = _key(after) if after > 0 else None
        page = await self._store.scan(_GRANULE, after=start, limit=limit)
        return [(int(e.key.removeprefix(_GRANULE)), e.value) for e in page.items]


def _key(offset: int) -> str:
    return f"{_GRANULE}{offset:019}"


LOST = (Conflict, Unavailable)  # after these, look again
