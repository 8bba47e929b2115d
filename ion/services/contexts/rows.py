"""What is kept of a tag: a row for each source that was assimilated into it.

A row lists the source's blobs; small contents are in a row of their own, larger ones in the content
store (:mod:`ion.services.contexts.content_store`), under a *place*. Where a content is to go is
written down before it goes there, and what is no longer needed before it is removed, so that
whatever breaks off is found.
"""

from __future__ import annotations

import secrets
import time
import zlib
from typing import Final

import msgspec

from ion.base.errors import Damaged

ROW: Final = "row"  # contents are in the row ``d/<place>``
SHELF: Final = "shelf"
PARTS: Final = "i/"  # <tag>\0<part> -> Part
DATA: Final = "d/"  # <place> -> bytes
PENDING: Final = "p/"  # <place> -> Pending: being put into the content store
TRASH: Final = "x/"  # <place> -> Pending: to be removed from it
CHANGES: Final = "g"  # -> Changes
OWN: Final = "b"  # in front of the part of a blob that was put by hand
SOURCE: Final = "s"  # ... and of that of a source


class Blob(msgspec.Struct, frozen=True, array_like=True):
    """A blob of a source.

    :ivar name: within the tag.
    :ivar offset: within the content.
    :ivar crc: CRC-32.
    :ivar data: of a short one; None: it is a part of the content.
    """

    name: str
    offset: int
    size: int
    crc: int
    data: bytes | None = None


class Part(msgspec.Struct, frozen=True, array_like=True):
    """What was assimilated from one source.

    :ivar source: what it is known by: the same one again replaces it.
    :ivar origin: to show.
    :ivar at: when, seconds since 1970.
    :ivar size: bytes of the content.
    :ivar where: of the content: :data:`ROW`, :data:`SHELF`, or "" where there is none.
    :ivar ref: what the content store calls the content.
    """

    source: str
    origin: str
    at: float
    mtime: float
    media: str
    size: int
    where: str
    place: str
    ref: str
    blobs: list[Blob]


class Pending(msgspec.Struct, frozen=True, array_like=True):
    """A content that is being put into the content store, or removed from it.

    :ivar at: when it was last heard of, seconds since 1970.
    """

    at: float
    ref: str = ""


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """The last changes of the catalog, the newest last.

    :ivar items: (id of the change, tags that it has touched; None: many).
    """

    items: list[tuple[str, list[str] | None]] = []

    def since(self, id: str) -> set[str] | None:
        """Return the tags that were touched after a change; None: that is not known."""
        touched: set[str] = set()
        for each, tags in reversed(self.items):
            if each == id:
                return touched
            if tags is None:
                return None
            touched.update(tags)
        return None

    def and_then(self, id: str, tags: set[str]) -> Changes:
        """Return these with one more change, as many as are kept."""
        known = sorted(tags) if len(tags) <= _MOST_TAGS else None
        return Changes([*self.items[1 - _MOST_CHANGES :], (id, known)])


_MOST_CHANGES = 32
_MOST_TAGS = 8
_encode = msgspec.msgpack.Encoder().encode
_part = msgspec.msgpack.Decoder(Part)
_pending = msgspec.msgpack.Decoder(Pending)
_changes = msgspec.msgpack.Decoder(Changes)


def encoded(row: Part | Pending | Changes) -> bytes:
    """Return a row as it is kept."""
    return _encode(row)


def part_of(key: str, data: bytes) -> Part:
    """Return the row of a source.

    :raises Damaged: it cannot be read.
    """
    try:
        return _part.decode(data)
    except msgspec.MsgspecError as error:
        message = f"the row {key!r} of a context cannot be read: {error}"
        raise Damaged(message, details={"key": key}) from error


def pending_of(data: bytes) -> Pending:
    """Return the row of a content on its way; one that cannot be read is as old as can be."""
    try:
        return _pending.decode(data)
    except msgspec.MsgspecError:
        return Pending(0.0)


def changes_of(data: bytes | None) -> Changes:
    """Return the last changes; none where there are none, or they cannot be read."""
    try:
        return _changes.decode(data) if data else Changes()
    except msgspec.MsgspecError:
        return Changes()


def short_blob(name: str, data: bytes) -> Blob:
    """Return a blob that is kept in its row."""
    return Blob(name, 0, len(data), zlib.crc32(data), data)


def part_key(tag: str, part: str) -> str:
    """Return the key of a source's row."""
    return f"{PARTS}{tag}\0{part}"


def tag_and_part(key: str) -> tuple[str, str]:
    """Return what :func:`part_key` made a key of."""
    tag, _, part = key.removeprefix(PARTS).partition("\0")
    return tag, part


def new_place() -> str:
    """Return the name of a new place."""
    return secrets.token_hex(12)


def now() -> float:
    """Return the time, seconds since 1970."""
    return time.time()
