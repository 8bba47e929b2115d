"""The log of events: an index store whose keys are offsets, each event in it once.

One entry beside the events holds the offset that was given last. Each batch of events replaces it,
too, by compare-and-set: so batches are written one after the other, by whichever container, and
between the look for ids that are there and the write of those that are not, nobody else writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ion.base import clock
from ion.base.errors import Conflict, Unavailable
from ion.messaging import codec
from ion.services.events.model import ROWS, Arrived, filed, key_of, offset_of
from ion.stores.query import A, Predicate, Query
from ion.stores.store import ABSENT, Entry, IndexStore, Page, Put, Remove, Write

LAST = "last"  # key of the entry that holds the offset that was given last
PATHS = "p/"  # in front of the keys that are paths of types
MANY_PATHS = 10_000  # that are known; what is told beyond has none that a name leads to
AT_A_TIME = 400  # ids that one query asks for
TRIES = 50  # of a batch, where others write at the same time
TRIMMED = 500  # events that are taken out at a time


class EventLog:
    """The events of one repository; several may share the store.

    :ivar paths: of the types that were ever kept, as far as is known here; see :meth:`known`.
    :ivar last: the greatest offset that was given, as far as is known here.
    """

    def __init__(self, rows: IndexStore) -> None:
        self._rows = rows
        self.paths: set[str] = set()
        self.last = 0
        self._revision = ABSENT
        self._paths_as_of = -1  # the revision of the last offset that all paths are known of

    async def open(self) -> None:
        """Read what is there.

        :raises Unavailable: the store is away.
        """
        await self.known()

    async def known(self) -> set[str]:
        """Return the paths of the types that were ever kept, by others that share the store, too.

        :raises Unavailable: the store is away.
        """
        await self._read_last()
        revision, after = self._revision, None
        while revision != self._paths_as_of:
            page = await self._rows.keys(PATHS, after=after)
            self.paths.update(key.removeprefix(PATHS) for key in page.items)
            after = page.cursor
            if after is None:
                self._paths_as_of = revision
        return self.paths

    async def _read_last(self) -> None:
        entry = await self._rows.entry(LAST)
        if entry is not None:
            self.last = max(self.last, int(codec.decode(entry.value)))
        self._revision = entry.revision if entry is not None else ABSENT

    # writing

    async def append(self, events: Sequence[Arrived]) -> int:
        """Keep those events that are not there yet, in this order; return how many they were.

        :raises Unavailable: the store is away, and some may be kept; call again with the same.
        :raises Conflict: others write all the time.
        """
        for _ in range(TRIES):
            if self._revision < 0:
                await self._read_last()
            # Of before the look: who has written since makes the write conflict.
            last, revision = self.last, self._revision
            fresh = await self._fresh(events)
            if not fresh:
                return 0
            try:
                return await self._write(fresh, last, revision)
            except Conflict:
                await self._read_last()
            except Unavailable:
                self._revision = -1  # whether it is done is not known: the next try finds out
                raise
        message = f"{len(events)} events: others write to the repository all the time"
        raise Conflict(message)

    async def _fresh(self, events: Sequence[Arrived]) -> list[Arrived]:
        """Return the events that are not there yet, each once."""
        known: set[object] = set()
        for start in range(0, len(events), AT_A_TIME):
            ids = [event.id for event in events[start : start + AT_A_TIME]]
            page = await self._rows.query(Query(A("event").is_in(ids), limit=AT_A_TIME))
            known.update(entry.index["event"] for entry in page.items)
        fresh: dict[str, Arrived] = {}
        for event in events:
            if event.id not in known:
                fresh.setdefault(event.id, event)
        return list(fresh.values())

    async def _write(self, events: Sequence[Arrived], before: int, revision: int) -> int:
        last = before + len(events)
        batch: list[Write] = [Put(LAST, codec.encode(last)[0], revision, {})]
        now = clock.now()
        for offset, event in enumerate(events, before + 1):
            value = codec.encode([now, event.content, event.published_by])[0]
            batch.append(Put(key_of(offset), value, ABSENT, {**event.index, "offset": offset}))
        new = {event.path for event in events} - self.paths
        new = set(sorted(new)[: max(MANY_PATHS - len(self.paths), 0)])
        batch += [Put(f"{PATHS}{path}", b"", None, {}) for path in sorted(new)]
        revisions = await self._rows.write(batch)
        self._revision, self.last = revisions[0], last
        self.paths |= new
        if self._paths_as_of == revision:  # nobody else has written since
            self._paths_as_of = revisions[0]
        return len(events)

    async def trim(
        self, max_age: float | None, max_count: int | None, where: Predicate | None = None
    ) -> int:
        """Take out the oldest events: those that are too old, or too many; return how many.

        An event is as old as it was kept; it goes when all before it have gone.

        :param max_age: seconds.
        :param where: as if there were only those events that it is true of.
        :raises Unavailable: the store is away.
        """
        too_many = await self._too_many(max_count, where) if max_count is not None else 0
        since = clock.now() - max_age if max_age is not None else 0.0
        gone = 0
        while True:
            if where is None:
                page = await self._rows.scan(ROWS, limit=TRIMMED)
            else:
                page = await self._rows.query(Query(where, limit=TRIMMED))
            old = list(_oldest(page.items, too_many - gone, since))
            if old:
                await self._rows.write([Remove(key) for key in old])
            gone += len(old)
            if len(old) < len(page.items) or page.cursor is None:
                return gone

    async def _too_many(self, max_count: int, where: Predicate | None) -> int:
        if where is None:
            first, last = await self.ends()
            if last - first < max_count:  # nothing to be counted
                return 0
            where = A("offset") >= first
        return max(await self._rows.count(Query(where)) - max_count, 0)

    # reading

    async def page(self, query: Query) -> Page[Entry]:
        """Return a page of entries; see :meth:`IndexStore.query`."""
        return await self._rows.query(query)

    async def count(self, query: Query) -> int:
        """Return how many entries a query is true of."""
        return await self._rows.count(query)

    async def ends(self) -> tuple[int, int]:
        """Return the offset of the oldest event, and the greatest offset that was given.

        Where no event is kept, the first is one greater than the last.
        """
        page = await self._rows.keys(ROWS, limit=1)
        await self._read_last()
        return (offset_of(page.items[0]) if page.items else self.last + 1), self.last


def _oldest(entries: Iterable[Entry], count: int, since: float) -> Iterable[str]:
    """Iterate the keys of so many entries, and of those after them that are older."""
    for number, entry in enumerate(entries):
        if number >= count and filed(entry).stored >= since:
            return
        yield entry.key
