"""Putting a blob piece by piece; what breaks off can be gone on with.

A few chunks are on their way at a time, whatever the size: each is hashed in a thread while those
before it are being written.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from typing import Any

from ion.base.errors import Conflict, InvalidRequest, LifecycleError, NotFound
from ion.stores.blobs.blob import BlobRef, Manifest, checked_hash, chunk_key
from ion.stores.blobs.records import BlobRecords
from ion.stores.store import ABSENT

IN_FLIGHT = 4  # chunks that are being written


class Upload:
    """A blob that is being put; made by :meth:`BlobStore.begin` and :meth:`BlobStore.resume`.

    :ivar id: by which it can be resumed.
    :ivar offset: bytes that it has; what is not a whole chunk is lost where it breaks off.
    """

    def __init__(self, kept: BlobRecords, id: str, chunk: int) -> None:
        self.id = id
        self.offset = 0
        self._kept = kept
        self._chunk = chunk
        self._buffer = bytearray()
        self._count = 0
        self._hash = hashlib.sha256()
        self._digests: list[bytes] = []
        self._writing: deque[asyncio.Task[Any]] = deque()
        self._is_over = False
        self._is_busy = False  # within a call, or that one did not get to its end

    async def append(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes; it waits while too many are on their way.

        :raises Unavailable: the store did not take them; the upload can be resumed.
        :raises LifecycleError: it is finished, or was given up; or a call before this one failed,
            was cancelled, or is under way: what it has is not known, and is to be resumed.
        """
        self._begin()
        await self._append(data)
        self._is_busy = False

    async def _append(self, data: bytes | bytearray | memoryview) -> None:
        if type(data) is bytes and len(data) == self._chunk and not self._buffer:
            self.offset += len(data)
            await self._put(data)
            return
        view = memoryview(data).cast("B")
        while len(view):
            room = self._chunk - len(self._buffer)
            self._buffer += view[:room]
            self.offset += min(room, len(view))
            view = view[room:]
            if len(self._buffer) == self._chunk:
                await self._flush()

    async def finish(self, expected: str | None = None) -> BlobRef:
        """Make the blob visible, and return what it is.

        :param expected: the hash that it must have.
        :raises Conflict: it has another one; nothing is kept.
        :raises NotFound: it was collected before: it took longer than the grace of that.
        :raises Unavailable: (and LifecycleError) as :meth:`append`.
        """
        if expected is not None:
            checked_hash(expected)
        self._begin()
        if self._buffer:
            await self._flush()
        await self._written(0)
        self._is_over = True
        found = self._hash.hexdigest()
        if expected is not None and found != expected:
            await self._kept.discard(self.id)
            message = f"the content has the hash {found}, not {expected}: it was altered on its way"
            raise Conflict(message, details={"expected": expected, "hash": found})
        try:
            await self._enter(found)
        except NotFound:  # collected: so are the chunks that came after that
            await self._kept.discard(self.id)
            raise
        return BlobRef(found, self.offset)

    async def _enter(self, hash: str) -> None:
        settled = await self._kept.settle(self.id, self._chunk, hash)
        manifest = Manifest(self.offset, self._chunk, self.id, b"".join(self._digests))
        entered = await self._kept.enter(hash, manifest)
        if entered == ABSENT:  # it is there already, here or in another place
            await self._kept.discard(self.id)
        else:
            await self._kept.hold(self.id, settled, hash, entered)

    async def abort(self) -> None:
        """Give it up, and remove what it has. May be called twice, and after :meth:`finish`."""
        if self._is_over:
            return
        self._is_over = True
        await self.pause()
        await self._kept.discard(self.id)

    async def pause(self) -> None:
        """Wait for what is on its way, as far as it gets; the upload can be resumed by its id."""
        self._is_over = True
        if self._writing:
            await asyncio.gather(*self._writing, return_exceptions=True)
            self._writing.clear()

    async def _resume(self) -> None:
        """Take what is there: the leading whole chunks; what comes after a gap is written anew."""
        while True:
            data = await self._kept.chunks.get(chunk_key(self.id, self._count))
            if data is None or len(data) != self._chunk:
                return
            digest = await asyncio.to_thread(self._digest, data)
            self._digests.append(digest)
            self._count += 1
            self.offset += len(data)

    async def _flush(self) -> None:
        chunk, self._buffer = bytes(self._buffer), bytearray()
        await self._put(chunk)

    async def _put(self, chunk: bytes) -> None:
        """Put the next chunk on its way."""
        key = chunk_key(self.id, self._count)
        self._count += 1
        self._writing.append(asyncio.ensure_future(self._kept.chunks.put(key, chunk)))
        # in order: the hash of all goes through them one after another
        self._digests.append(await asyncio.to_thread(self._digest, chunk))
        await self._written(IN_FLIGHT - 1)

    async def _written(self, most: int) -> None:
        """Wait until at most ``most`` chunks are on their way.

        :raises IonError: one was not taken.
        """
        while len(self._writing) > most:
            task = self._writing[0]
            await asyncio.shield(task)
            self._writing.popleft()

    def _digest(self, chunk: bytes) -> bytes:
        self._hash.update(chunk)
        return hashlib.sha256(chunk).digest()

    def _begin(self) -> None:
        if self._is_over or self._is_busy:
            what = "is over" if self._is_over else "broke off, or is used by two at a time"
            message = f"upload {self.id} {what}: begin another one, or resume it"
            raise LifecycleError(message)
        self._is_busy = True


def checked_chunk(size: int) -> int:
    """Return the size of a chunk.

    :raises InvalidRequest: it is not 4 KiB to 16 MiB.
    """
    if not 4096 <= size <= 16 * 1024 * 1024:  # noqa: PLR2004
        message = f"chunks have 4 KiB to 16 MiB, not {size} bytes"
        raise InvalidRequest(message)
    return size
