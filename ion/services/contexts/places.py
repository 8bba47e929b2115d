"""Places in the content store, from their first moment to their last.

A place is written down before a content goes there, and again when nobody needs it any more; so
what was begun by an instance that was killed is found, and removed by whichever one sweeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from threading import Event

from ion.base.errors import Conflict, IonError
from ion.services.contexts import rows
from ion.services.contexts.content_store import ContentStore
from ion.services.contexts.draft import Arriving, Pieces
from ion.services.contexts.rows import PENDING, TRASH, Pending, encoded, pending_of
from ion.stores.store import ABSENT, Entry, Store

log = logging.getLogger(__name__)

_LOOK = 0.25  # seconds between two looks at a content that is being put
_ALIVE = 10.0  # seconds between two signs of life of it


class Places:
    """See the module.

    :param store: of the catalog.
    :param abandoned: seconds without a sign of life, after which nobody puts a content any more.
    :param linger: seconds that a content stays for those who are reading it.
    """

    def __init__(
        self, store: Store, contents: ContentStore, abandoned: float, linger: float
    ) -> None:
        self.contents = contents
        self._store = store
        self._abandoned = abandoned
        self._linger = linger
        self._revisions: dict[str, int] = {}

    async def begin(self) -> str:
        """Return a new place, written down.

        :raises Unavailable: the store is away.
        """
        place = rows.new_place()
        row = encoded(Pending(rows.now()))
        self._revisions[place] = await self._store.put(PENDING + place, row, revision=ABSENT)
        return place

    def revision(self, place: str) -> int:
        """Return the revision of the row that says that a content is being put; ask once."""
        return self._revisions.pop(place)

    async def put(
        self, place: str, pieces: Pieces | Arriving, stop: Event, look: Callable[[], None]
    ) -> str:
        """Put a content; return what the store calls it. Where this raises, nothing is there.

        :param stop: is set where this is cancelled: the pieces end then.
        :param look: is called now and then.
        :raises IonError: as :meth:`ContentStore.put`.
        """

        async def note(ref: str) -> None:
            await self._sign(place, ref)

        task = asyncio.ensure_future(self.contents.put(place, pieces, note))
        task.add_done_callback(_seen)
        try:
            return await self._followed(task, place, look)
        except BaseException:
            stop.set()
            if not task.done():
                await asyncio.wait({task})
            raise

    async def _followed(
        self, task: asyncio.Future[str], place: str, look: Callable[[], None]
    ) -> str:
        alive = time.monotonic()
        while True:
            done, _ = await asyncio.wait({task}, timeout=_LOOK)
            if done:
                return task.result()
            look()
            if time.monotonic() - alive > min(_ALIVE, self._abandoned / 4):
                alive = time.monotonic()
                await self._sign(place)

    async def _sign(self, place: str, ref: str = "") -> None:
        """Give a sign of life.

        :raises Conflict: another took it for abandoned.
        """
        row = encoded(Pending(rows.now(), ref))
        was = self._revisions[place]
        self._revisions[place] = await self._store.put(PENDING + place, row, revision=was)

    async def give_up(self, place: str, ref: str, revision: int) -> None:
        """Remove a content that was not entered; what fails is left to the next sweep.

        Where it was entered after all (the store did not say so), it stays: the row that said that
        it is being put went with that.
        """
        revision = self._revisions.pop(place, revision)
        with contextlib.suppress(IonError):
            await self._abandon(PENDING + place, ref, revision)

    async def _abandon(self, key: str, ref: str, revision: int) -> None:
        """Remove a content, so that from the first step on it cannot be entered.

        :raises Conflict: it was entered, or has given a sign of life.
        """
        await self._store.put(key, encoded(Pending(0.0, ref)), revision=revision)
        await self._drop(key, key.removeprefix(PENDING), ref)

    async def sweep(self) -> int:
        """Remove what nobody needs; return how many contents that were.

        :raises Unavailable: the store is away.
        """
        count = 0
        before = rows.now() - self._linger
        async for entry in _all(self._store, TRASH):
            gone = pending_of(entry.value)
            if gone.at <= before:
                await self._drop(entry.key, entry.key.removeprefix(TRASH), gone.ref)
                count += 1
        before = rows.now() - self._abandoned
        async for entry in _all(self._store, PENDING):
            pending = pending_of(entry.value)
            if pending.at <= before:
                with contextlib.suppress(Conflict):
                    await self._abandon(entry.key, pending.ref, entry.revision)
                    count += 1
        await self.contents.tidy()
        return count

    async def _drop(self, key: str, place: str, ref: str) -> None:
        await self.contents.remove(place, ref)
        await self._store.remove(key)

    async def keep_swept(self, every: float, soon: asyncio.Event) -> None:
        """Sweep now and then, and when ``soon`` is set, until this is cancelled."""
        while True:
            soon.clear()  # what is set from here on was not seen by this sweep
            try:
                count = await self.sweep()
            except IonError as error:
                log.warning("contents that nobody needs could not be removed: %s", error)
            else:
                if count:
                    log.debug("%d contents that nobody needed are removed", count)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await soon.wait()


async def _all(store: Store, prefix: str) -> AsyncIterator[Entry]:
    after = None
    while True:
        page = await store.scan(prefix, after=after)
        for entry in page.items:
            yield entry
        after = page.cursor
        if after is None:
            return


def _seen(task: asyncio.Future[str]) -> None:
    """Take note of how a content ended: who has cancelled it does not ask."""
    if not task.cancelled():
        task.exception()
