"""The program of a blob's row: one side, in an OS process of its own, whose memory is watched.

``python -m benchmarks.stores.blobs local --variant sqlite-ion`` puts a blob of 1 GiB and takes it
out again; ``sqlite-bare`` does the same with the driver: the same chunks of 1 MiB, each a row that
is committed, four under way; SHA-256 of all and of each chunk, made in threads, and on the way
out each chunk's compared, two chunks read ahead. Both hand the bytes to the loop, in their order.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import queue
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import role
from benchmarks.stores import sqlite
from benchmarks.stores.postgres import DURABLE
from ion.stores.blobs import BlobStore
from ion.stores.opening import open_datastore
from ion.testing.servers import PostgresServer

CHUNK = 1 << 20  # bytes
WHOLE = 1024  # chunks of a blob
IN_FLIGHT = 4
AHEAD = 2
_body = os.urandom(CHUNK - 8)


async def source(chunks: int) -> AsyncIterator[bytes]:
    """Iterate chunks, none like another."""
    for number in range(chunks):
        yield number.to_bytes(8, "big") + _body


class Own:
    """ION's blob store."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._hash = ""

    @classmethod
    async def open(cls, rooms: AsyncExitStack, url: str) -> Own:
        """Open the datastore and the blob store."""
        datastore = open_datastore(url)
        await datastore.open()
        rooms.push_async_callback(datastore.close)
        return cls(await BlobStore.open(datastore, "blobs", chunk=CHUNK))

    async def put(self, chunks: int) -> int:
        """Put the blob; return its size."""
        ref = await self._blobs.put(source(chunks))
        self._hash = ref.hash
        return ref.size

    async def get(self) -> int:
        """Read it; return how many bytes came."""
        return sum([len(data) async for data in self._blobs.get(self._hash)])


class Bare:
    """What a blob is with a bare driver."""

    write: Callable[[int, bytes], Awaitable[Any]]
    read: Callable[[int, bytes], Awaitable[bytes]]

    def __init__(self) -> None:
        self._digests: list[bytes] = []

    async def put(self, chunks: int) -> int:
        """Put the blob; return its size."""
        whole = hashlib.sha256()
        writing: deque[asyncio.Task[Any]] = deque()
        size = 0

        def digest(data: bytes) -> bytes:
            whole.update(data)
            return hashlib.sha256(data).digest()

        async for data in source(chunks):
            writing.append(asyncio.ensure_future(self.write(len(self._digests), data)))
            self._digests.append(await asyncio.to_thread(digest, data))
            size += len(data)
            while len(writing) >= IN_FLIGHT:
                await writing.popleft()
        await asyncio.gather(*writing)
        await self.write(-1, whole.digest() + b"".join(self._digests))
        return size

    async def get(self) -> int:
        """Read it; return how many bytes came."""
        return sum([len(data) async for data in self._stream()])

    async def _stream(self) -> AsyncIterator[bytes]:
        """Iterate the chunks, in their order, as whoever reads a blob has them."""
        ahead: deque[asyncio.Task[bytes]] = deque()
        for number, digest in enumerate(self._digests):
            ahead.append(asyncio.ensure_future(self.read(number, digest)))
            if len(ahead) > AHEAD:
                yield await ahead.popleft()
        while ahead:
            yield await ahead.popleft()


class BareSqlite(Bare):
    """A thread commits what waits; two read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        db = sqlite.connect(path)
        db.execute("CREATE TABLE chunks (key INTEGER PRIMARY KEY, value BLOB, revision INTEGER)")
        db.close()
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(2)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    async def write(self, number: int, data: bytes) -> None:  # type: ignore[override]
        future = self._loop.create_future()
        self._queue.put((future, (number, data, 1)))
        await future

    async def read(self, number: int, digest: bytes) -> bytes:  # type: ignore[override]
        return await self._loop.run_in_executor(self._readers, self._read, number, digest)

    def _read(self, number: int, digest: bytes) -> bytes:
        if not hasattr(self._local, "db"):
            self._local.db = sqlite.connect(self._path)
        found = self._local.db.execute("SELECT value FROM chunks WHERE key = ?", (number,))
        return verified(found.fetchone()[0], digest)

    def _run(self) -> None:
        db = sqlite.connect(self._path)
        while (item := self._queue.get()) is not None:
            group = [item]
            while not self._queue.empty():
                group.append(self._queue.get())
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO chunks VALUES (?, ?, ?)", [row for _, row in group])
            db.execute("COMMIT")
            self._loop.call_soon_threadsafe(sqlite.settle, [future for future, _ in group])
        db.close()

    async def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self._readers.shutdown()


class BarePostgres(Bare):
    """As many connections as there are chunks under way."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self._pool = pool

    @classmethod
    async def open(cls, rooms: AsyncExitStack, url: str) -> BarePostgres:
        """Connect, and make the table."""
        pool = await asyncpg.create_pool(url, min_size=IN_FLIGHT, max_size=IN_FLIGHT)
        rooms.push_async_callback(pool.close)
        await pool.execute(
            "CREATE TABLE chunks (key INT PRIMARY KEY, value BYTEA NOT NULL, revision INT8)"
        )
        await pool.execute("ALTER TABLE chunks ALTER COLUMN value SET STORAGE EXTERNAL")
        return cls(pool)

    async def write(self, number: int, data: bytes) -> None:  # type: ignore[override]
        await self._pool.execute("INSERT INTO chunks VALUES ($1, $2, 1)", number, data)

    async def read(self, number: int, digest: bytes) -> bytes:  # type: ignore[override]
        data = await self._pool.fetchval("SELECT value FROM chunks WHERE key = $1", number)
        return await asyncio.to_thread(verified, data, digest)


def verified(data: bytes, digest: bytes) -> bytes:
    """Return a chunk.

    :raises ValueError: it is not what it was.
    """
    if hashlib.sha256(data).digest() != digest:
        message = "a chunk is not what it was"
        raise ValueError(message)
    return data


async def opened(rooms: AsyncExitStack, variant: str) -> Own | Bare:
    """Open a side; ``rooms`` closes it."""
    engine, _, side = variant.partition("-")
    if engine == "sqlite":
        folder = Path(rooms.enter_context(tempfile.TemporaryDirectory()))
        if side == "ion":
            return await Own.open(rooms, f"sqlite:///{folder}/ion.db")
        bare = BareSqlite(folder / "bare.db")
        rooms.push_async_callback(bare.close)
        return bare
    server = PostgresServer(DURABLE)
    rooms.enter_context(server)
    return await (Own if side == "ion" else BarePostgres).open(rooms, server.url())


def memory_mib(name: str) -> float:
    """Return a figure of this process's memory, MiB: ``VmRSS`` now, ``VmHWM`` at its most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def forget_peak() -> None:
    """Let the most memory so far be what there is now."""
    Path("/proc/self/clear_refs").write_text("5")


async def timed(name: str, work: Awaitable[int], size: int) -> dict[str, float]:
    """Return how fast a transfer is, and by how much memory grows meanwhile, at its most."""
    forget_peak()
    before, begun = memory_mib("VmRSS"), time.perf_counter()
    moved = await work
    seconds = time.perf_counter() - begun
    if moved != size:
        message = f"{moved} bytes came, not {size}"
        raise ValueError(message)
    grown = memory_mib("VmHWM") - before
    return {f"{name}_mb_s": round(size / seconds / 1e6, 1), f"{name}_grown_mib": round(grown, 1)}


async def measure(variant: str, chunks: int) -> dict[str, float]:
    """Put a blob and take it out again."""
    async with AsyncExitStack() as rooms:
        side = await opened(rooms, variant)
        put = await timed("in", side.put(chunks), chunks * CHUNK)
        return put | await timed("out", side.get(), chunks * CHUNK)


def main(options: argparse.Namespace) -> None:
    """Measure, and hand the figures over."""
    chunks = max(round(WHOLE * options.scale), 4)
    role.run(measure(options.variant, chunks), options.loop)


if __name__ == "__main__":
    main(role.options())
