"""What the contexts service tells of itself; see :mod:`ion.process.events`."""

from __future__ import annotations

from ion.process.events import Event


class ContextEvent(Event):
    """Something has happened to contexts; of a tag, that is its origin."""


class BundleStarted(ContextEvent):
    """A bundle is being assimilated; its origin is the service.

    :ivar bundle: a word for it, in all that is told of it.
    """

    bundle: str = ""
    items: int = 0


class BundleDone(ContextEvent):
    """A bundle is over.

    :ivar code: 0, or of the item that failed; None: it was cancelled, or the service failed.
    :ivar done: items that are stored.
    """

    bundle: str = ""
    code: int | None = None
    done: int = 0
    items: int = 0


class ItemDone(ContextEvent):
    """An item was assimilated into the tag that is the origin.

    :ivar item: its number in the bundle.
    """

    bundle: str = ""
    item: int = 0
    blobs: int = 0
    bytes: int = 0


class TagCreated(ContextEvent):
    """A tag is there that was not."""


class TagDestroyed(ContextEvent):
    """A tag is gone."""
