"""The stores that a blob store is kept in, and what is done to one blob's records.

The races are won by revisions. Whoever puts a content that is there, or links it, touches its
record; who removes it expects the record as it was before the links were looked at. So a blob that
somebody was just told of is not removed.
"""

from __future__ import annotations

import contextlib
import time

import msgspec

from ion.base.errors import Conflict, NotFound
from ion.stores.blobs.blob import Manifest, Place, manifest_of, place_of
from ion.stores.store import ABSENT, Datastore, Entry, IndexStore, Remove, Store

_SOME = 64  # chunks that are removed at a time
_TRIES = 100
DOOMED = 0.0  # the time of a place that is to go


class BlobRecords:
    """Stores of one blob store.

    :ivar blobs: hash -> :class:`Manifest`, by time and size.
    :ivar places: place -> :class:`Place`, by time.
    :ivar links: ``<hash>/<owner>`` -> nothing.
    :ivar chunks: :func:`chunk_key` -> bytes.
    """

    def __init__(self, blobs: IndexStore, places: IndexStore, links: Store, chunks: Store) -> None:
        self.blobs = blobs
        self.places = places
        self.links = links
        self.chunks = chunks

    async def manifest(self, hash: str) -> Manifest | None:
        """Return a blob's record, or None."""
        data = await self.blobs.get(hash)
        return manifest_of(hash, data) if data is not None else None

    async def touch(self, hash: str) -> bool:
        """Put off the removal of a blob; return whether it is there."""
        try:
            await self.blobs.update_index(hash, {"at": time.time()})
        except NotFound:
            return False
        return True

    async def enter(self, hash: str, manifest: Manifest) -> int:
        """Make a blob visible; return its record's revision, ``ABSENT`` where it is there already.

        What is there already is touched.

        :raises Conflict: others put and remove it all the while.
        """
        data = msgspec.msgpack.encode(manifest)
        for _ in range(_TRIES):
            try:
                index = {"at": time.time(), "size": manifest.size}
                return await self.blobs.put(hash, data, revision=ABSENT, index=index)
            except Conflict:
                if await self.touch(hash):
                    return ABSENT
        message = f"blob {hash} is put and removed all the while"
        raise Conflict(message, details={"hash": hash})

    async def begin(self, place: str, chunk: int) -> None:
        """Enter a new place.

        :raises Conflict: it is there already.
        """
        data = msgspec.msgpack.encode(Place(chunk))
        await self.places.put(place, data, revision=ABSENT, index={"at": time.time()})

    async def reopen(self, place: str) -> Place:
        """Return the record of a place that is to be gone on with; its time begins anew.

        :raises NotFound: it is not there, finished, or to go.
        """
        for _ in range(_TRIES):
            entry = await self.places.entry(place)
            if entry is None or _is_doomed(entry):
                break
            record = place_of(place, entry.value)
            if record.hash and await self.is_in(record.hash, place):
                break
            again = Place(record.chunk)  # who was to finish it has died, or will find out
            try:  # only as it was: it may be doomed meanwhile
                await self.places.put(
                    place,
                    msgspec.msgpack.encode(again),
                    revision=entry.revision,
                    index={"at": time.time()},
                )
            except Conflict:
                continue
            return again
        message = f"there is no upload {place!r} (any more): it was finished, or collected"
        raise NotFound(message, details={"upload": place})

    async def settle(self, place: str, chunk: int, hash: str) -> int:
        """Say which blob a place is for; return the revision of its record.

        :raises NotFound: it was collected meanwhile.
        :raises Conflict: it is for another blob already.
        """
        data = msgspec.msgpack.encode(Place(chunk, hash))
        for _ in range(_TRIES):
            entry = await self.places.entry(place)
            if entry is None or _is_doomed(entry):
                break
            before = place_of(place, entry.value).hash
            if before == hash:  # somebody else goes on with the same one: both are right
                return entry.revision
            if before:
                message = f"upload {place} was finished by somebody else, with another content"
                raise Conflict(message, details={"upload": place, "hash": before})
            try:
                index = {"at": time.time()}
                return await self.places.put(place, data, revision=entry.revision, index=index)
            except Conflict:
                continue
        raise collected(place)

    async def hold(self, place: str, settled: int, hash: str, entered: int) -> None:
        """Take a blob back where its place was doomed before the blob was seen to be in it.

        Whoever dooms a place looks after that whether a blob is in it: one of both sees the other.

        :param settled: revision of the place's record, entered: of the blob's.
        :raises NotFound: it was collected meanwhile.
        """
        entry = await self.places.entry(place)
        if entry is None or entry.revision != settled:
            with contextlib.suppress(Conflict):
                await self.blobs.remove(hash, revision=entered)
            raise collected(place)

    async def doom(self, entry: Entry, place: Place) -> bool:
        """Say that a place is to go, as ``entry`` has it; return whether it may go now."""
        try:  # only as it was: an upload may have been resumed
            await self.places.put(
                entry.key, entry.value, revision=entry.revision, index={"at": DOOMED}
            )
        except Conflict:
            return False
        return not await self.is_in(place.hash, entry.key)

    async def is_in(self, hash: str, place: str) -> bool:
        """Return whether a blob is in a place."""
        manifest = await self.manifest(hash) if hash else None
        return manifest is not None and manifest.place == place

    async def discard(self, place: str) -> None:
        """Remove a place, unless a blob is in it: somebody else may have finished it."""
        entry = await self.places.entry(place)
        if entry is None:  # collected; there may be chunks that came after that
            data = msgspec.msgpack.encode(Place(0))
            try:
                await self.places.put(place, data, revision=ABSENT, index={"at": DOOMED})
            except Conflict:
                return  # somebody has begun it anew
        else:
            record = place_of(place, entry.value)
            if await self.is_in(record.hash, place) or not await self.doom(entry, record):
                return
        await self.clear(place)

    async def clear(self, place: str) -> None:
        """Remove a doomed place, chunks first."""
        while True:
            page = await self.chunks.keys(f"{place}/", limit=_SOME)
            if page.items:
                await self.chunks.write([Remove(key) for key in page.items])
            if page.cursor is None:
                break
        await self.places.remove(place)

    async def is_linked(self, hash: str) -> bool:
        """Return whether anybody owns a blob."""
        return bool((await self.links.keys(f"{hash}/", limit=1)).items)

    async def forget(self, entry: Entry) -> bool:
        """Remove a blob that nobody owns, as its record ``entry`` has it; return whether it was."""
        if await self.is_linked(entry.key):
            return False
        try:
            await self.blobs.remove(entry.key, revision=entry.revision)
        except Conflict:
            return False  # put or linked again
        return True


def _is_doomed(entry: Entry) -> bool:
    return entry.index.get("at") == DOOMED


def collected(place: str) -> NotFound:
    """Return the error of an upload whose place was taken away."""
    message = (
        f"upload {place} was collected before it was finished: it took longer than the grace "
        "of collect(); put the content again"
    )
    return NotFound(message, details={"upload": place})


async def kept(datastore: Datastore, name: str) -> BlobRecords:
    """Open the stores of a blob store.

    :raises InvalidRequest: ``name`` is none, or of other stores.
    """
    return BlobRecords(
        await datastore.index_store(f"{name}_blobs", {"at": "float", "size": "int"}),
        await datastore.index_store(f"{name}_places", {"at": "float"}),
        await datastore.store(f"{name}_links"),
        await datastore.store(f"{name}_chunks"),
    )
