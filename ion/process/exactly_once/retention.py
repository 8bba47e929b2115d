"""Retention: the inbox in the store is kept within its bounds, of time and of number."""

from __future__ import annotations

import logging

from ion.base import clock
from ion.base.errors import IonError
from ion.base.settings import StoreSettings
from ion.base.tasks import Tasks
from ion.stores.query import A, Query
from ion.stores.store import IndexStore, Remove

log = logging.getLogger(__name__)
AT_A_TIME = 1000
EVERY = 60.0  # seconds, at the most
AFTER_START = 600.0  # seconds: what the broker delivers again after a long pause comes before that


class Retention:
    """Takes out of an inbox what is too old, or too much.

    It begins some minutes after its container: where all were away for long, the messages that they
    had not taken off their queues come again first, and must be known.
    """

    def __init__(self, inbox: IndexStore, container: str, settings: StoreSettings) -> None:
        self._inbox = inbox
        self._age = settings.remember
        self._limit = settings.max_remembered
        self._tasks = Tasks(f"{container}.inbox")

    def start(self) -> None:
        """Begin, in the background."""
        self._tasks.start(self._run(), "forgetting")

    async def close(self) -> None:
        """Stop. Never raises."""
        await self._tasks.stop()

    async def _run(self) -> None:
        await clock.sleep(min(self._age, AFTER_START))
        while True:
            try:
                await self.forget()
            except IonError as error:
                log.warning("the inbox in the store cannot be cleared of what is old: %s", error)
            await clock.sleep(min(self._age / 2, EVERY))

    async def forget(self) -> int:
        """Take out what is too old, then what is too much; return how many that were.

        :raises Unavailable: the store is away.
        """
        oldest = int((clock.now() - self._age) * 1000)
        gone = 0
        while found := await self._remove(Query(A("at") <= oldest, ("at",), AT_A_TIME)):
            gone += found
        count = await self._inbox.count(Query())
        if count > self._limit:
            log.warning(
                "the inbox holds %d messages, more than store.max_remembered: the oldest are "
                "forgotten before their time",
                count,
            )
        while count > self._limit:
            found = await self._remove(Query(None, ("at",), min(AT_A_TIME, count - self._limit)))
            if not found:
                break
            count -= found
            gone += found
        return gone

    async def _remove(self, query: Query) -> int:
        page = await self._inbox.query(query)
        if page.items:
            await self._inbox.write([Remove(entry.key) for entry in page.items])
        return len(page.items)
