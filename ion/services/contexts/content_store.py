"""Where larger contents are: files beside an SQLite store, else the datastore's blobs.

A file is as fast as the disk, and what the embedded default keeps its database in is a disk of this
machine. Where others share the store (PostgreSQL, Redis), or nothing is to be left (memory), the
contents are in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from typing import Protocol

from ion.base.errors import Conflict, Damaged
from ion.services.contexts.draft import Arriving, Pieces
from ion.stores.blobs.blobstore import BlobStore
from ion.stores.store import Datastore

Note = Callable[[str], Awaitable[None]]
Room = tuple[int, memoryview, int]  # offset in the content, what to fill, CRC-32 of that
_FRESH = 60.0  # seconds after a content was put that it may be linked
_END = b""


class ContentStore(Protocol):
    """Contents by their places.

    All calls raise :class:`~ion.base.errors.Unavailable` where it is away, or full.
    """

    async def put(self, place: str, pieces: Pieces | Arriving, note: Note) -> str:
        """Keep a content; return what it is called there. Where this raises, nothing is kept.

        :param pieces: run in a worker thread, if they can be; what they raise is raised here.
        :param note: is told the name before the content is held by it.
        """

    async def read(self, place: str, ref: str, offset: int, size: int) -> bytes:
        """Return some bytes of a content.

        :raises NotFound: it is not there (any more).
        :raises Damaged: there are not so many.
        """

    async def read_into(self, place: str, ref: str, wanted: list[Room]) -> int | None:
        """Fill rooms; return the number of the first whose bytes are not what they must be.

        Errors as :meth:`read`.
        """

    async def remove(self, place: str, ref: str) -> None:
        """Remove a content; no error where it is not there."""

    async def tidy(self) -> None:
        """Remove what is left of contents that never got a name there."""


class BlobContentStore:
    """Contents as blobs of the datastore: a content that several places have is there once."""

    def __init__(self, blobs: BlobStore, workers: Executor) -> None:
        self.blobs = blobs
        self._workers = workers

    @classmethod
    async def open(cls, datastore: Datastore, name: str, workers: Executor) -> BlobContentStore:
        """Open the blobs of a name.

        :raises InvalidRequest: the name is none.
        """
        return cls(await BlobStore.open(datastore, name), workers)

    async def put(self, place: str, pieces: Pieces | Arriving, note: Note) -> str:
        """See :meth:`ContentStore.put`."""
        source = pieces if isinstance(pieces, AsyncIterator) else self._through(pieces)
        ref = await self.blobs.put(source)
        await note(ref.hash)
        await self.blobs.link(ref.hash, place)
        return ref.hash

    async def _through(self, pieces: Pieces) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while piece := await loop.run_in_executor(self._workers, next, pieces, _END):
            yield piece

    async def read(self, place: str, ref: str, offset: int, size: int) -> bytes:
        """See :meth:`ContentStore.read`."""
        data = b"".join([piece async for piece in self.blobs.get(ref, offset, size)])
        if len(data) != size:
            message = f"content {ref} ends before byte {offset + size}"
            raise Damaged(message, details={"hash": ref})
        return data

    async def read_into(self, place: str, ref: str, wanted: list[Room]) -> int | None:
        """See :meth:`ContentStore.read_into`."""
        for offset, buffer, _ in wanted:
            at = 0
            async for piece in self.blobs.get(ref, offset, len(buffer)):  # it verifies them
                buffer[at : at + len(piece)] = piece
                at += len(piece)
            if at != len(buffer):
                message = f"content {ref} ends before byte {offset + len(buffer)}"
                raise Damaged(message, details={"hash": ref})
        return None

    async def remove(self, place: str, ref: str) -> None:
        """See :meth:`ContentStore.remove`."""
        if not ref:
            return  # it did not come so far: the blobs' own collection finds it
        await self.blobs.unlink(ref, place)
        known = await self.blobs.stat(ref)
        if known is None or known.at > time.time() - _FRESH:
            return  # somebody may be about to own the same content; later it is collected
        with contextlib.suppress(Conflict):  # others do
            await self.blobs.remove(ref)

    async def tidy(self) -> None:
        """See :meth:`ContentStore.tidy`."""
        await self.blobs.collect()
