"""The events of the service, published one after another while it goes on."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from ion.process.events.queue import EventQueue
from ion.process.process import Process
from ion.services.contexts.events import (
    BundleDone,
    BundleStarted,
    ContextEvent,
    ItemDone,
    origin_of,
)
from ion.services.contexts.model import ItemResult

_MOST = 10_000  # that wait


class EventPublisher:
    """Has events of the service published, while it goes on; run ``queue`` as a task.

    :param is_on: whether any is published.
    """

    def __init__(self, process: Process, *, is_on: bool) -> None:
        self.queue = EventQueue(process, _MOST, confirm=False)
        self._is_on = is_on

    def tell(self, *events: ContextEvent) -> None:
        """Let events be published soon."""
        if self._is_on:
            for event in events:
                self.queue.put(event)

    def tell_of(self, kind: type[ContextEvent], tags: Iterable[str]) -> None:
        """Let be published that the same has happened to some tags."""
        self.tell(*(kind(origin=origin_of(tag), tag=tag) for tag in tags))


class BundleEvents:
    """Tells of one bundle, from its beginning on.

    :ivar code: of its end; None: there is no result.
    """

    def __init__(self, publisher: EventPublisher, origin: str, count: int) -> None:
        self.code: int | None = None
        self._publisher = publisher
        self._origin = origin
        self._bundle = secrets.token_hex(6)
        self._count = count
        self._done = 0
        publisher.tell(BundleStarted(origin=origin, bundle=self._bundle, items=count))

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
        self._publisher.tell(event)

    def end(self) -> None:
        """Tell that it is over."""
        event = BundleDone(
            origin=self._origin,
            bundle=self._bundle,
            code=self.code,
            done=self._done,
            items=self._count,
        )
        self._publisher.tell(event)
