"""The store of a container: its datastore, opened when a process first asks for it."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context

from ion.base.settings import Settings
from ion.container.store_lock import StoreLock
from ion.process.endpoint.endpoint import Endpoint
from ion.process.exactly_once.message_store import MessageStore, StoredInbox
from ion.process.serving.source import EFFECTIVELY_ONCE, Policy
from ion.stores.opening import checked_scheme, open_datastore
from ion.stores.store import Claimable, Datastore

log = logging.getLogger(__name__)
_LAST_MOMENT = 5.0  # seconds for a store that is being opened when it is closed


class ContainerStore:
    """The datastore that the settings name; a container that uses none opens none.

    :param context: of the container: what runs on behalf of the store is on no message's.
    :param bus: what it is known by, where the store is to be of one bus alone; see
        :mod:`ion.container.store_lock`.
    :raises ConfigurationError: ``store.url`` names no engine there is; said now, not at first use.
    """

    def __init__(
        self, endpoint: Endpoint, settings: Settings, context: Context, bus: str = ""
    ) -> None:
        if settings.store.url is not None:
            checked_scheme(settings.store.url)
        self._endpoint = endpoint
        self._settings = settings
        self._context = context
        self._opening: asyncio.Task[MessageStore] | None = None
        self._is_silent = False
        self._bus = bus
        self._lock: StoreLock | None = None

    def new_inbox(self, name: str) -> StoredInbox | None:
        """Return an inbox in the store; None where the settings name none.

        So whoever has said nothing of stores gets no file.
        """
        if self._settings.store.url is None:
            return None
        return StoredInbox(self.message_store, self._endpoint.namespace.sysname, name)

    async def ready_for(self, policy: Policy) -> None:
        """Open the store where messages that are tried as ``policy`` says need it.

        :raises Unavailable: it is away.
        """
        if policy.mode == EFFECTIVELY_ONCE and self._settings.store.url is not None:
            await self.message_store()

    async def datastore(self) -> Datastore:
        """Return the datastore, opened.

        :raises ConfigurationError: the URL is wrong, or its engine is not installed.
        :raises Unavailable: it is away; the next call tries again.
        :raises StoreError: it cannot be read.
        :raises StartError: the containers of another bus have it.
        """
        return (await self.message_store()).datastore

    async def message_store(self) -> MessageStore:
        """Return the inbox and outbox in the datastore; errors as :meth:`datastore`."""
        opening = self._opening
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception())):
            loop = self._endpoint.loop
            opening = loop.create_task(
                self._open(), name="opening the store", context=self._context
            )
            self._opening = opening
        elif opening.done():
            return opening.result()
        return await asyncio.shield(opening)  # others wait for the same

    async def _open(self) -> MessageStore:
        settings, sysname = self._settings, self._endpoint.namespace.sysname
        url = settings.store_url(sysname)
        datastore = open_datastore(url, timeout=settings.store.timeout, sysname=sysname)
        await datastore.open()
        try:
            if self._bus:
                await self._move_in(datastore, url)
            room = await MessageStore.open(datastore, self._endpoint, settings.store)
        except BaseException:
            await self._shut(datastore)
            raise
        log.info("the store is %s", datastore.url)
        return room

    async def _move_in(self, datastore: Datastore, url: str) -> None:
        """Have the store for our bus; raises StartError where that of another one has it."""
        sysname = self._endpoint.namespace.sysname
        moving = asyncio.create_task(asyncio.to_thread(StoreLock.move_in, url, self._bus, sysname))
        try:
            self._lock = await asyncio.shield(moving)
        except asyncio.CancelledError:
            moving.add_done_callback(_left)
            raise
        if isinstance(datastore, Claimable):
            await datastore.claim(self._bus)

    def silence(self) -> None:
        """Send nothing of the outbox any more: others do."""
        self._is_silent = True

    async def close(self) -> None:
        """Send what is left in the outbox, for a moment, and close the datastore. Never raises."""
        opening, self._opening = self._opening, None
        if opening is None:
            return
        await asyncio.wait({opening}, timeout=_LAST_MOMENT)
        if not opening.done():
            opening.cancel()
            await asyncio.wait({opening}, timeout=_LAST_MOMENT)
        if not opening.done() or opening.cancelled() or opening.exception() is not None:
            return  # whoever has asked for it was told
        room = opening.result()
        try:
            await (room.close(0.0) if self._is_silent else room.close())
        finally:
            await self._shut(room.datastore)

    async def _shut(self, datastore: Datastore) -> None:
        try:
            await datastore.close()
        finally:
            lock, self._lock = self._lock, None
            if lock is not None:
                lock.move_out()


def _left(moving: asyncio.Task[StoreLock | None]) -> None:
    """Move out again for whoever has gone away meanwhile."""
    if moving.cancelled() or moving.exception() is not None:
        return
    lock = moving.result()
    if lock is not None:
        lock.move_out()
