"""A blob store: contents of any size, found by their hash."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable

import msgspec

from ion.base.errors import Conflict, Damaged, InvalidRequest, NotFound
from ion.stores.blobs.blob import (
    BlobRef,
    Manifest,
    Stat,
    checked_hash,
    checked_owner,
    checked_place,
    chunk_key,
    manifest_of,
    place_of,
)
from ion.stores.blobs.records import BlobRecords, kept
from ion.stores.blobs.source import Source, checked_source
from ion.stores.blobs.upload import Upload, checked_chunk
from ion.stores.query import A, Predicate, Query
from ion.stores.store import Datastore, Entry, IndexStore
from ion.stores.thread_reads import get_and

CHUNK = 1024 * 1024
GRACE = 3600.0  # seconds
MAX_READ = 64 * 1024 * 1024  # bytes of one read; get() has no bound
_AHEAD = 2  # chunks that are read before they are asked for
_PAGE = 200


class BlobStore:
    """Blobs of one name in a datastore; made by :meth:`open`.

    All calls raise :class:`~ion.base.errors.InvalidRequest` for a hash that is none, and
    :class:`~ion.base.errors.Unavailable` where the engine is away.
    """

    def __init__(self, kept: BlobRecords, chunk: int) -> None:
        self._kept = kept
        self._chunk = checked_chunk(chunk)

    @classmethod
    async def open(cls, datastore: Datastore, name: str, *, chunk: int = CHUNK) -> BlobStore:
        """Open the blob store of a name; made where there is none yet.

        :param chunk: bytes of a chunk, 4 KiB to 16 MiB, of the blobs that are put from now on.
        :raises InvalidRequest: ``name`` or ``chunk`` is none.
        """
        return cls(await kept(datastore, name), chunk)

    # putting

    async def put(
        self, source: Source, *, owner: str | None = None, expected: str | None = None
    ) -> BlobRef:
        """Keep a content, and return what it is; where it is there already, it stays.

        Where this fails, or is cancelled, nothing of it is visible, and what was written is removed
        at once or, where the store is away, by :meth:`collect`.

        :param source: bytes, a file that was opened for reading bytes, or an async iterable of
            bytes. No more than a few chunks of it are in memory.
        :param owner: links it, as :meth:`link` does.
        :param expected: the hash that it must have.
        :raises Conflict: it has another one.
        :raises TypeError: ``source`` is nothing of that.
        """
        checked_source(source)
        upload = await self.begin()
        try:
            async for data in _pieces(source, self._chunk):
                await upload.append(data)
            ref = await upload.finish(expected)
        except BaseException:
            await _undo(upload)
            raise
        if owner is not None:
            await self.link(ref.hash, owner)
        return ref

    async def begin(self, id: str | None = None) -> Upload:
        """Begin to put a blob piece by piece.

        :param id: by which it can be resumed; a random one by default.
        :raises Conflict: an upload of that id is there: resume it.
        """
        place = secrets.token_hex(12) if id is None else checked_place(id)
        await self._kept.begin(place, self._chunk)
        return Upload(self._kept, place, self._chunk)

    async def resume(self, id: str) -> Upload:
        """Go on with an upload that broke off; its ``offset`` says from which byte.

        Nobody else may go on with it at the same time.

        :raises NotFound: there is none of that id (any more).
        """
        place = await self._kept.reopen(checked_place(id))
        upload = Upload(self._kept, id, place.chunk)
        await upload._resume()
        return upload

    async def finished(self, id: str) -> BlobRef | None:
        """Return what the upload of an id has become; None: it was not finished, or is gone."""
        data = await self._kept.places.get(checked_place(id))
        name = place_of(id, data).hash if data is not None else ""
        manifest = await self._kept.manifest(name) if name else None
        if manifest is None or manifest.place != id:
            return None
        return BlobRef(name, manifest.size)

    # reading

    async def stat(self, hash: str) -> Stat | None:
        """Return what is known of a blob, or None."""
        entry = await self._kept.blobs.entry(checked_hash(hash))
        if entry is None:
            return None
        manifest = await self._manifest(hash)
        return Stat(hash, manifest.size, manifest.chunk, float(entry.index.get("at", 0.0)))

    async def has(self, hash: str) -> bool:
        """Return whether there is a blob of that hash."""
        return await self._kept.blobs.has(checked_hash(hash))

    async def missing(self, hashes: Iterable[str]) -> list[str]:
        """Return those of the hashes of which there is no blob, in their order."""
        wanted = list(hashes)
        there: list[bool] = []
        for start in range(0, len(wanted), _PAGE):
            there += await asyncio.gather(*map(self.has, wanted[start : start + _PAGE]))
        return [each for each, is_there in zip(wanted, there, strict=True) if not is_there]

    async def get(
        self, hash: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Iterate a blob's bytes, in pieces of a chunk at most; each chunk is verified.

        :param offset: of the first byte; at or beyond the end: nothing comes.
        :param length: bytes at most; None: to the end.
        :raises NotFound: there is no such blob.
        :raises Damaged: a chunk is missing, or is not what it was; the message says which.
        :raises InvalidRequest: ``offset`` or ``length`` is negative.
        """
        if offset < 0 or (length is not None and length < 0):
            message = f"no part of a blob: offset {offset}, length {length}"
            raise InvalidRequest(message)
        manifest = await self._manifest(hash)
        end = manifest.size if length is None else min(offset + length, manifest.size)
        if offset >= end:
            return
        first, last = offset // manifest.chunk, (end - 1) // manifest.chunk
        ahead: list[asyncio.Task[bytes]] = []
        try:
            for number in range(first, last + 1):
                while len(ahead) <= _AHEAD and number + len(ahead) <= last:
                    wanted = self._verified(hash, manifest, number + len(ahead))
                    ahead.append(asyncio.ensure_future(wanted))
                data = await ahead.pop(0)
                begins = number * manifest.chunk
                start, stop = max(offset - begins, 0), min(end - begins, len(data))
                yield data if stop - start == len(data) else data[start:stop]
        finally:
            for task in ahead:
                task.cancel()
            if ahead:
                await asyncio.wait(ahead)

    async def read(self, hash: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a blob's bytes, or some of them; errors as :meth:`get`.

        :raises InvalidRequest: they are over 64 MiB.
        """
        parts = []
        size = 0
        async for data in self.get(hash, offset, length):
            size += len(data)
            if size > MAX_READ:
                message = f"blob {hash} is too large to be read at once: iterate get()"
                raise InvalidRequest(message)
            parts.append(data)
        return b"".join(parts)

    async def _manifest(self, hash: str) -> Manifest:
        manifest = await self._kept.manifest(checked_hash(hash))
        if manifest is None:
            message = f"there is no blob {hash}"
            raise NotFound(message, details={"hash": hash})
        return manifest

    async def _verified(self, hash: str, manifest: Manifest, number: int) -> bytes:
        read = await get_and(self._kept.chunks, chunk_key(manifest.place, number), _sha256)
        if read is None:
            found = "is missing"
        elif read[1] != manifest.digest(number):
            found = "is not what it was"
        else:
            return read[0]
        message = (
            f"chunk {number} of {manifest.count} of blob {hash} {found}: put the content again, "
            "after removing the blob"
        )
        raise Damaged(message, details={"hash": hash, "chunk": number})

    # owners

    async def link(self, hash: str, owner: str) -> None:
        """Let ``owner`` own a blob: it stays until the last owner is unlinked. May be repeated.

        :raises NotFound: there is no such blob.
        """
        key = _link_key(hash, owner)
        is_new = not await self._kept.links.has(key)
        await self._kept.links.put(key, b"")
        if await self._kept.touch(hash):
            return
        if is_new:
            await self._kept.links.remove(key)
        message = f"there is no blob {hash}"
        raise NotFound(message, details={"hash": hash})

    async def unlink(self, hash: str, owner: str) -> bool:
        """Undo :meth:`link`; return whether it was linked."""
        return await self._kept.links.remove(_link_key(hash, owner))

    async def owners(self, hash: str) -> list[str]:
        """Return who owns a blob, in order; the first 1,000."""
        prefix = f"{checked_hash(hash)}/"
        page = await self._kept.links.keys(prefix)
        return [key.removeprefix(prefix) for key in page.items]

    async def remove(self, hash: str) -> bool:
        """Remove a blob that nobody owns, now; return whether there was one.

        :raises Conflict: somebody owns it.
        """
        entry = await self._kept.blobs.entry(checked_hash(hash))
        if entry is None:
            return False
        if not await self._kept.forget(entry):
            message = f"blob {hash} is owned, or was put again just now: it stays"
            raise Conflict(message, details={"hash": hash, "owners": await self.owners(hash)})
        await self._clear_place(entry)
        return True

    async def collect(self, grace: float = GRACE) -> int:
        """Remove what nobody owns, and what is left of uploads that broke off.

        :param grace: seconds that a blob or an upload stays after it was put, linked or resumed
            last: longer than any upload or reading takes.
        :return: how many blobs were removed.
        """
        before = A("at") < time.time() - grace
        count = 0
        async for entry in _all(self._kept.blobs, before):
            if await self._kept.forget(entry):
                await self._clear_place(entry)
                count += 1
        async for entry in _all(self._kept.places, before):
            await self._collect_place(entry)
        return count

    async def _clear_place(self, entry: Entry) -> None:
        await self._kept.discard(manifest_of(entry.key, entry.value).place)

    async def _collect_place(self, entry: Entry) -> None:
        """Remove a place that no blob is in (any more)."""
        place = place_of(entry.key, entry.value)
        if await self._kept.is_in(place.hash, entry.key):
            return
        if await self._kept.doom(entry, place):
            await self._kept.clear(entry.key)


async def _all(store: IndexStore, where: Predicate) -> AsyncIterator[Entry]:
    """Iterate entries; they may be removed meanwhile."""
    query = Query(where, order=("at",), limit=_PAGE)
    while True:
        page = await store.query(query)
        for entry in page.items:
            yield entry
        if page.cursor is None:
            return
        query = msgspec.structs.replace(query, cursor=page.cursor)


async def _pieces(source: Source, size: int) -> AsyncIterator[bytes | memoryview]:
    if isinstance(source, bytes | bytearray | memoryview):
        view = memoryview(source).cast("B")
        for start in range(0, len(view), size):
            yield view[start : start + size]
    elif isinstance(source, AsyncIterable):
        async for data in source:
            yield data
    else:
        while data := await asyncio.to_thread(source.read, size):
            yield data


async def _undo(upload: Upload) -> None:
    """Remove what was written, as far as that is possible now."""
    with contextlib.suppress(Exception):
        await asyncio.shield(upload.abort())


def _link_key(hash: str, owner: str) -> str:
    return f"{checked_hash(hash)}/{checked_owner(owner)}"


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
