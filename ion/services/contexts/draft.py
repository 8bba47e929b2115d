"""What a source has to say before it is stored, and the measuring of its bytes as they pass."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from threading import Event

from ion.services.contexts.codes import NOT_READ, OVER_LIMIT, ItemError
from ion.services.contexts.rows import Blob, short_blob

CHUNK = 1024 * 1024  # bytes of a blob of a file
INLINE = 64 * 1024  # bytes of a content that is kept in a row
Pieces = Iterator[bytes]
Arriving = AsyncIterator[bytes]


class Stopped(Exception):
    """Nobody waits for it any more."""


@dataclass(slots=True)
class Draft:
    """A content that is to go into a tag, and what is said of it.

    :ivar source: what it is known by: the same one again replaces it.
    :ivar base: what its blobs are called by where the tag has other sources.
    :ivar description: of the blob ``description``; None: there is none.
    :ivar extra: further short blobs by their names.
    :ivar name: the content is one blob of this name; None: a blob a piece, chunk_0, chunk_1, ...
    :ivar pieces: opens it, and gives its bytes in order; it runs in a worker thread.
    :ivar arriving: gives them instead, on the event loop.
    :ivar place: in the content store, where it is there; ``revision`` is that of its row.
    :ivar size: of the content; None: not known before it was read.
    """

    tag: str
    source: str
    origin: str
    base: str
    media: str
    pieces: Callable[[], Pieces]
    size: int | None
    arriving: Callable[[], Arriving] | None = None
    mtime: float = 0.0
    description: Callable[[int], str] | None = None
    extra: dict[str, bytes] = field(default_factory=dict)
    name: str | None = None
    blobs: list[Blob] = field(default_factory=list)
    data: bytes | None = None
    place: str = ""
    ref: str = ""
    revision: int = 0

    @property
    def length(self) -> int:
        """Bytes of the content, as they were read."""
        return sum(blob.size for blob in self.blobs)


class Meter:
    """Passes the pieces of contents on, and notes what they are.

    :ivar bytes: that have passed.
    :ivar stop: ends it.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.stop = Event()

    def through(self, draft: Draft, most: int) -> Pieces:
        """Pass the pieces of a draft on, each of which becomes one of its blobs.

        :raises ItemError: they are over ``most`` bytes, or not what was announced.
        :raises Stopped: nobody waits for them any more.
        """
        measure = _Measure(self, draft, most)
        for piece in draft.pieces():
            measure.note(piece)
            yield piece
        measure.end()

    async def arriving(self, draft: Draft, pieces: Arriving, most: int) -> Arriving:
        """As :meth:`through`, of pieces that come one by one."""
        measure = _Measure(self, draft, most)
        async for piece in pieces:
            measure.note(piece)
            yield piece
        measure.end()

    def read(self, draft: Draft, most: int) -> None:
        """Read a small content into its draft; errors as :meth:`through`."""
        draft.data = b"".join(self.through(draft, most))


class _Measure:
    """Notes the pieces of one draft."""

    def __init__(self, meter: Meter, draft: Draft, most: int) -> None:
        self._meter = meter
        self._draft = draft
        self._most = most
        self._offset = 0
        self._blobs: list[Blob] = []

    def note(self, piece: bytes) -> None:
        """Note a piece: a blob of its own, or, of a content that is one blob, more of it.

        :raises Stopped: nobody wants it any more.
        :raises ItemError: the content is too large.
        """
        if self._meter.stop.is_set():
            raise Stopped
        blobs, name, size = self._blobs, self._draft.name, len(piece)
        if name is None:
            blobs.append(Blob(f"chunk_{len(blobs)}", self._offset, size, zlib.crc32(piece)))
        elif not blobs:
            blobs.append(Blob(name, 0, size, zlib.crc32(piece)))
        else:
            blobs[0] = Blob(name, 0, blobs[0].size + size, zlib.crc32(piece, blobs[0].crc))
        self._offset += size
        self._meter.bytes += size
        check_size(self._draft, self._offset, self._most)

    def end(self) -> None:
        """Note that it is over.

        :raises ItemError: less has come, or more, than was said to be there.
        """
        draft = self._draft
        if draft.size is not None and self._offset != draft.size:
            message = f"{draft.origin} has changed while it was read: {self._offset} bytes came"
            raise ItemError(NOT_READ, f"{message} of {draft.size}")
        draft.blobs = self._blobs or ([short_blob(draft.name, b"")] if draft.name else [])


def check_size(draft: Draft, size: int, most: int) -> None:
    """Refuse what is too large.

    :raises ItemError: it is over ``most`` bytes.
    """
    if size > most:
        message = f"{draft.origin} has over {most} bytes: the service takes no more (max_tag)"
        raise ItemError(OVER_LIMIT, message)
