"""What the contexts service tells of itself; see :mod:`ion.process.events`."""

from __future__ import annotations

from ion.process.events import Event
from ion.process.events.topics import word

_LONGEST = 160  # bytes of an origin as a word of a topic


class ContextEvent(Event):
    """Something has happened to contexts.

    Its origin is the tag that it is about, or the beginning of one that is too long for an origin.

    :ivar tag: all of it; "": it is about a bundle, and its origin is the service.
    """

    tag: str = ""


class BundleStarted(ContextEvent):
    """A bundle is being assimilated.

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
    """An item was assimilated into a tag.

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


def origin_of(tag: str) -> str:
    """Return the origin of what is told of a tag."""
    if len(word(tag)) <= _LONGEST:
        return tag
    size = end = 0
    while size <= _LONGEST - len(word(tag[end])):
        size += len(word(tag[end]))
        end += 1
    return tag[:end]
