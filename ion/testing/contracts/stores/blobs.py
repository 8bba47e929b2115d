"""The part of the store contract about blobs: what is built on stores, on every engine."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import time
from collections.abc import AsyncIterator

import pytest

from ion.base.errors import Conflict, Damaged, InvalidRequest, LifecycleError, NotFound
from ion.stores.blobs import BlobRef, BlobStore
from ion.stores.blobs.blob import Manifest, chunk_key, place_of
from ion.stores.query import Query
from ion.stores.store import Datastore
from ion.testing.contracts.stores.bench import Bench, listed

CHUNK = 4096
EMPTY = hashlib.sha256(b"").hexdigest()
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 10 * CHUNK + 7]


class Broken(Exception):
    """What a source raises that breaks off."""


def content(size: int, seed: int = 1) -> bytes:
    """Return bytes that look random."""
    return random.Random(seed).randbytes(size)


async def pieces(data: bytes, size: int, *, breaks: bool = False) -> AsyncIterator[bytes]:
    """Iterate pieces, and, with ``breaks``, raise after them."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
    if breaks:
        raise Broken


async def left(datastore: Datastore) -> tuple[int, int, int]:
    """Return how many blobs, places and chunks there are."""
    blobs = await datastore.index_store("data_blobs", {"at": "float", "size": "int"})
    places = await datastore.index_store("data_places", {"at": "float"})
    chunks = len(await listed(await datastore.store("data_chunks")))
    return await blobs.count(Query()), await places.count(Query()), chunks


class BlobsContract(Bench):
    """Put, get, resume, own, collect."""

    @pytest.fixture
    async def blobs(self, datastore: Datastore) -> BlobStore:
        """Give an empty blob store with small chunks."""
        return await BlobStore.open(datastore, "data", chunk=CHUNK)

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_content_comes_back(self, blobs: BlobStore, size: int) -> None:
        """By its hash, from bytes, a file, or pieces of any size."""
        data = content(size)
        expected = BlobRef(hashlib.sha256(data).hexdigest(), size)
        assert await blobs.put(data) == expected
        assert await blobs.put(io.BytesIO(data)) == expected
        assert await blobs.put(pieces(data, 1000)) == expected
        assert await blobs.read(expected.hash) == data
        parts = [part async for part in blobs.get(expected.hash)]
        assert all(len(part) <= CHUNK for part in parts)
        assert b"".join(parts) == data
        stat = await blobs.stat(expected.hash)
        assert stat is not None
        assert (stat.size, stat.chunk) == (size, CHUNK)
        assert abs(stat.at - time.time()) < 60

    async def test_parts_of_a_content(self, blobs: BlobStore) -> None:
        """Any offset and length, also across chunks and beyond the end."""
        data = content(5 * CHUNK + 100)
        name = (await blobs.put(data)).hash
        edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, len(data) - 1, len(data), 10**12]
        for offset in edges:
            for length in (0, 1, CHUNK, CHUNK + 1, 10**12, None):
                end = None if length is None else offset + length
                assert await blobs.read(name, offset, length) == data[offset:end]
        for offset, length in ((-1, None), (0, -1)):
            with pytest.raises(InvalidRequest):
                await blobs.read(name, offset, length)

    async def test_what_is_not_there(self, blobs: BlobStore) -> None:
        """Is missing, and no hash is refused."""
        name = (await blobs.put(b"x")).hash
        assert await blobs.missing([EMPTY, name]) == [EMPTY]
        assert (await blobs.has(name), await blobs.has(EMPTY)) == (True, False)
        assert await blobs.stat(EMPTY) is None
        with pytest.raises(NotFound):
            await blobs.read(EMPTY)
        with pytest.raises(NotFound):
            await blobs.link(EMPTY, "me")
        assert await blobs.owners(EMPTY) == []
        for wrong in ("", "abc", EMPTY.upper(), EMPTY + "0", "../" + EMPTY):
            with pytest.raises(InvalidRequest):
                await blobs.has(wrong)

    async def test_another_hash_than_expected(self, blobs: BlobStore, datastore: Datastore) -> None:
        """Keeps nothing, and says both."""
        with pytest.raises(Conflict) as caught:
            await blobs.put(content(2 * CHUNK), expected=EMPTY)
        assert caught.value.details["expected"] == EMPTY
        assert await left(datastore) == (0, 0, 0)
        assert (await blobs.put(b"", expected=EMPTY)).hash == EMPTY

    async def test_a_source_that_breaks_off(self, blobs: BlobStore, datastore: Datastore) -> None:
        """Leaves nothing behind."""
        with pytest.raises(Broken):
            await blobs.put(pieces(content(9 * CHUNK), 1000, breaks=True))
        assert await left(datastore) == (0, 0, 0)

    async def test_a_put_that_is_cancelled(self, blobs: BlobStore, datastore: Datastore) -> None:
        """Leaves nothing behind, once what was on its way is over."""
        begun = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(8):
                yield bytes(CHUNK)
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(blobs.put(endless()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await left(datastore) == (0, 0, 0)

    async def test_an_upload_that_broke_off_goes_on(
        self, blobs: BlobStore, other: Datastore
    ) -> None:
        """By another client, from the last whole chunk on; it is not visible before its end."""
        data = content(4 * CHUNK + 10)
        name = hashlib.sha256(data).hexdigest()
        upload = await blobs.begin("a-file")
        await upload.append(data[: 2 * CHUNK + 5])
        assert upload.offset == 2 * CHUNK + 5
        await upload.pause()
        with pytest.raises(LifecycleError):
            await upload.append(b"more")
        assert not await blobs.has(name)
        far = await BlobStore.open(other, "data", chunk=2 * CHUNK)
        with pytest.raises(Conflict):
            await far.begin("a-file")
        again = await far.resume("a-file")
        assert again.offset == 2 * CHUNK
        await again.append(data[again.offset :])
        assert await again.finish(name) == BlobRef(name, len(data))
        assert await blobs.read(name) == data
        for gone in ("a-file", "never"):
            with pytest.raises(NotFound):
                await blobs.resume(gone)
        with pytest.raises(InvalidRequest):
            await blobs.begin("a/b")

    async def test_an_upload_with_a_gap_goes_on_before_it(
        self, blobs: BlobStore, datastore: Datastore
    ) -> None:
        """What was written behind it is written anew."""
        data = content(4 * CHUNK)
        upload = await blobs.begin("gap")
        await upload.append(data)
        await upload.pause()
        await (await datastore.store("data_chunks")).remove(chunk_key("gap", 1))
        again = await blobs.resume("gap")
        assert again.offset == CHUNK
        await again.append(data[CHUNK:])
        assert await blobs.read((await again.finish()).hash) == data

    async def test_two_who_go_on_with_one_upload(
        self, blobs: BlobStore, other: Datastore, datastore: Datastore
    ) -> None:
        """Who finishes it first has it; nothing that the other does takes it away."""
        far = await BlobStore.open(other, "data", chunk=CHUNK)
        data = content(2 * CHUNK + 1)
        mine = await blobs.begin("both")
        await mine.append(data[:CHUNK])
        await mine.pause()
        one, same, wrong, given_up = [await far.resume("both") for _ in range(4)]
        assert await blobs.finished("both") is None
        await one.append(data[CHUNK:])
        ref = await one.finish()
        await same.append(data[CHUNK:])
        assert await same.finish() == ref
        with pytest.raises(Conflict):
            await wrong.finish(EMPTY)
        await given_up.abort()
        assert await blobs.read(ref.hash) == data
        assert await blobs.finished("both") == ref
        assert await left(datastore) == (1, 1, 3)
        await blobs.remove(ref.hash)
        assert await left(datastore) == (0, 0, 0)

    async def test_an_upload_that_is_being_collected(
        self, blobs: BlobStore, datastore: Datastore
    ) -> None:
        """Is not resumed while its chunks go; what still comes of it goes, too."""
        upload = await blobs.begin("late")
        await upload.append(content(2 * CHUNK))
        places = blobs._kept.places
        entry = await places.entry("late")
        assert entry is not None
        assert await blobs._kept.doom(entry, place_of("late", entry.value))
        with pytest.raises(NotFound):
            await blobs.resume("late")
        await blobs.collect()
        await upload.append(content(2 * CHUNK))
        with pytest.raises(NotFound, match="collected"):
            await upload.finish()
        assert await left(datastore) == (0, 0, 0)

    async def test_an_upload_that_ended_just_before_its_end(
        self, blobs: BlobStore, datastore: Datastore
    ) -> None:
        """Goes on, too; who was about to finish it, and lives, is told."""
        data = content(2 * CHUNK)
        name = hashlib.sha256(data).hexdigest()
        upload = await blobs.begin("end")
        await upload.append(data)
        await upload.pause()
        kept = blobs._kept
        settled = await kept.settle("end", CHUNK, name)  # and here it was killed, or is slow
        again = await blobs.resume("end")
        manifest = Manifest(len(data), CHUNK, "end", b"".join(upload._digests))
        entered = await kept.enter(name, manifest)
        with pytest.raises(NotFound, match="collected"):
            await kept.hold("end", settled, name, entered)
        await again.append(data[again.offset :])
        assert await blobs.read((await again.finish()).hash) == data
        assert await left(datastore) == (1, 1, 2)

    async def test_an_upload_whose_append_was_cancelled(self, blobs: BlobStore) -> None:
        """Can be resumed, and not gone on with: nobody knows what it has."""
        data = content(3 * CHUNK)
        upload = await blobs.begin("cut")
        task = asyncio.ensure_future(upload.append(data[:CHUNK]))
        await asyncio.sleep(0)  # now it is hashed, and written
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(LifecycleError, match="broke off"):
            await upload.append(data)
        with pytest.raises(LifecycleError):
            await upload.finish()
        await upload.pause()
        again = await blobs.resume("cut")
        await again.append(data[again.offset :])
        assert await blobs.read((await again.finish()).hash) == data

    async def test_the_same_content_many_times_at_once(
        self, blobs: BlobStore, other: Datastore, datastore: Datastore
    ) -> None:
        """Is kept once, by whomever."""
        far = await BlobStore.open(other, "data", chunk=CHUNK)
        data = content(2 * CHUNK + 1)
        refs = await asyncio.gather(*((blobs, far)[n % 2].put(data) for n in range(20)))
        assert len(set(refs)) == 1
        assert await left(datastore) == (1, 1, 3)
        assert await far.read(refs[0].hash) == data

    async def test_owners_keep_a_content(self, blobs: BlobStore, datastore: Datastore) -> None:
        """Until the last one has let go of it."""
        data = content(CHUNK + 1)
        name = (await blobs.put(data, owner="first/of all")).hash
        await blobs.link(name, "second")
        await blobs.link(name, "second")
        assert await blobs.owners(name) == ["first/of all", "second"]
        assert await blobs.collect(grace=0) == 0
        with pytest.raises(Conflict):
            await blobs.remove(name)
        assert await blobs.unlink(name, "second") is True
        assert await blobs.unlink(name, "second") is False
        assert await blobs.collect(grace=0) == 0
        await blobs.unlink(name, "first/of all")
        assert await blobs.collect(grace=3600) == 0
        assert await blobs.read(name) == data
        await asyncio.sleep(0.01)
        assert await blobs.collect(grace=0) == 1
        assert await left(datastore) == (0, 0, 0)
        assert await blobs.remove(name) is False

    async def test_uploads_nobody_goes_on_with_are_collected(
        self, blobs: BlobStore, datastore: Datastore
    ) -> None:
        """After the grace, with their chunks; those of others stay."""
        kept = await blobs.put(content(CHUNK), owner="me")
        upload = await blobs.begin()
        await upload.append(content(3 * CHUNK))
        await upload.pause()
        await blobs.collect(grace=3600)
        assert await left(datastore) == (1, 2, 4)
        await asyncio.sleep(0.01)
        await blobs.collect(grace=0)
        assert await left(datastore) == (1, 1, 1)
        assert await blobs.read(kept.hash) == content(CHUNK)

    async def test_what_a_put_returned_for_is_not_collected(self, blobs: BlobStore) -> None:
        """However often it is put, linked and collected at the same time."""
        data = content(CHUNK + 5)
        name = hashlib.sha256(data).hexdigest()
        for _ in range(30):
            await blobs.put(data)
            await asyncio.sleep(0.001)
            linking = asyncio.ensure_future(blobs.put(data, owner="me"))
            collecting = [asyncio.ensure_future(blobs.collect(grace=0.0005)) for _ in range(2)]
            try:
                await linking
            except NotFound:
                await asyncio.gather(*collecting)
                assert await blobs.owners(name) == []
            else:
                await asyncio.gather(*collecting)
                assert await blobs.read(name) == data
            await blobs.unlink(name, "me")

    async def test_chunks_that_are_not_what_they_were(
        self, blobs: BlobStore, datastore: Datastore
    ) -> None:
        """Are found out, and said; what is in other chunks can be read."""
        data = content(3 * CHUNK)
        name = (await blobs.put(data)).hash
        chunks = await datastore.store("data_chunks")
        key = (await listed(chunks))[1]
        for change in (b"other", data[CHUNK : 2 * CHUNK - 1] + b"\0\0", None):
            if change is None:
                await chunks.remove(key)
            else:
                await chunks.put(key, change)
            with pytest.raises(Damaged, match="chunk 1 of 3"):
                await blobs.read(name)
            assert await blobs.read(name, 2 * CHUNK) == data[2 * CHUNK :]

    async def test_who_stops_reading_leaves_nothing_running(self, blobs: BlobStore) -> None:
        """What was read ahead is let go."""
        name = (await blobs.put(content(20 * CHUNK))).hash
        before = len(asyncio.all_tasks())
        reading = blobs.get(name)
        async for _ in reading:
            break
        await reading.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            # an engine's own may be about to end
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - no event tells of tasks
                await asyncio.sleep(0.001)

    async def test_misuse_is_told(self, datastore: Datastore, blobs: BlobStore) -> None:
        """Sizes of chunks and owners that are none."""
        for size in (0, 4095, 1 << 30):
            with pytest.raises(InvalidRequest):
                await BlobStore.open(datastore, "data", chunk=size)
        name = (await blobs.put(b"x")).hash
        for owner in ("", "x" * 257, "a\0b"):
            with pytest.raises(InvalidRequest):
                await blobs.link(name, owner)
