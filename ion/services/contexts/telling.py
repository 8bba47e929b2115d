"""The events of the service, published one after another while it goes on."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable

from ion.base.errors import IonError
from ion.process.process import Process
from ion.services.contexts.events import (
    BundleDone,
    BundleStarted,
    ContextEvent,
    ItemDone,
    origin_of,
)
from ion.services.contexts.model import ItemResult

log = logging.getLogger(__name__)

_MOST = 10_000  # that wait


class Herald:
    """Publishes events in order; where too many wait, the newest are dropped, which is logged.

    :param is_on: whether any is published.
    """

    def __init__(self, process: Process, *, is_on: bool) -> None:
        self._process = process
        self._is_on = is_on
        self._waiting: asyncio.Queue[ContextEvent] = asyncio.Queue(_MOST)
        self._dropped = 0

    def tell(self, events: Iterable[ContextEvent]) -> None:
        """Let events be published soon."""
        if not self._is_on:
            return
        for event in events:
            try:
                self._waiting.put_nowait(event)
            except asyncio.QueueFull:
                self._dropped += 1

    def tell_of(self, kind: type[ContextEvent], tags: Iterable[str]) -> None:
        """Let be published that the same has happened to some tags."""
        self.tell(kind(origin=origin_of(tag), tag=tag) for tag in tags)

    async def run(self) -> None:
        """Publish, until this is cancelled."""
        while True:
            event = await self._waiting.get()
            try:
                await self._process.publish_event(event, confirm=False)
            except IonError as error:
                log.warning("event %s of %r was not published: %s", event.type, event.origin, error)
            if self._dropped and self._waiting.empty():
                log.warning("%d events were dropped: too many at once", self._dropped)
                self._dropped = 0


class BundleTeller:
    """Tells of one bundle, from its beginning on.

    :ivar code: of its end; None: there is no result.
    """

    def __init__(self, herald: Herald, origin: str, count: int) -> None:
        self.code: int | None = None
        self._herald = herald
        self._origin = origin
        self._bundle = secrets.token_hex(6)
        self._count = count
        self._done = 0
        herald.tell([BundleStarted(origin=origin, bundle=self._bundle, items=count)])

    def stored(self, number: int, item: ItemResult) -> None:
        """Tell that an item is stored."""
        self._done += 1
        event = ItemDone(
            origin=origin_of(item.tag),
            tag=item.tag,
            bundle=self._bundle,
            item=number,
            blobs=item.blobs,
            bytes=item.bytes,
        )
        self._herald.tell([event])

    def end(self) -> None:
        """Tell that it is over."""
        event = BundleDone(
            origin=self._origin,
            bundle=self._bundle,
            code=self.code,
            done=self._done,
            items=self._count,
        )
        self._herald.tell([event])
