"""Contents as files of a folder, one a place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import zlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from ion.base.errors import Damaged, NotFound, Unavailable
from ion.services.contexts.content_store import Note, Room
from ion.services.contexts.draft import Arriving, Pieces

_VECTOR = 16  # buffers of one read
_ALONE = 4  # pieces that are written before the next is read
_AHEAD = 2  # pieces beyond these that are read and not yet written


class FileContentStore:
    """See :class:`~ion.services.contexts.content_store.ContentStore`.

    :param folder: of its own; made where it is not there.
    :param workers: threads that write, which take their time.
    :param readers: threads that read.
    """

    def __init__(self, folder: Path, workers: Executor, readers: Executor) -> None:
        self._folder = folder
        self._workers = workers
        self._readers = readers

    async def put(self, place: str, pieces: Pieces | Arriving, note: Note) -> str:
        """See :meth:`ContentStore.put`; when it returns, the content is on the disk."""
        loop = asyncio.get_running_loop()
        if not isinstance(pieces, AsyncIterator):
            await loop.run_in_executor(self._workers, self._put, place, pieces)
            return ""
        file = await loop.run_in_executor(self._workers, _File, self._path(place))
        try:
            async for piece in pieces:
                await loop.run_in_executor(self._workers, file.write, piece)
            await loop.run_in_executor(self._workers, file.finish)
        except BaseException:
            file.drop()
            raise
        return ""

    async def read(self, place: str, ref: str, offset: int, size: int) -> bytes:
        """See :meth:`ContentStore.read`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, place, offset, size)

    async def read_into(self, place: str, ref: str, wanted: list[Room]) -> int | None:
        """See :meth:`ContentStore.read_into`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read_into, place, wanted)

    async def remove(self, place: str, ref: str) -> None:
        """See :meth:`ContentStore.remove`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._readers, self._remove, place)

    async def tidy(self) -> None:
        """See :meth:`ContentStore.tidy`: each has a name from the first on."""

    def _path(self, place: str) -> Path:
        return self._folder / place[:2] / place

    def _put(self, place: str, pieces: Pieces) -> None:
        file = _File(self._path(place))
        try:
            with _Behind(file) as behind:
                for piece in pieces:
                    behind.write(piece)
            file.finish()
        except BaseException:
            file.drop()
            raise

    def _read(self, place: str, offset: int, size: int) -> bytes:
        descriptor = self._open(place)
        try:
            data = os.pread(descriptor, size, offset)
            while len(data) < size and (
                more := os.pread(descriptor, size - len(data), offset + len(data))
            ):
                data += more
        finally:
            os.close(descriptor)
        if len(data) != size:
            raise self._damaged(place, offset + size)
        return data

    def _read_into(self, place: str, wanted: list[Room]) -> int | None:
        descriptor = self._open(place)
        try:
            start = 0
            while start < len(wanted):
                end = _run(wanted, start)
                self._fill(descriptor, place, wanted[start:end])
                wrong = _wrong(wanted[start:end])  # while they are in the processor's cache
                if wrong is not None:
                    return start + wrong
                start = end
        finally:
            os.close(descriptor)
        return None

    def _fill(self, descriptor: int, place: str, run: list[Room]) -> None:
        """Fill buffers whose bytes are next to each other."""
        offset, buffers = run[0][0], [buffer for _, buffer, _ in run]
        end = offset + sum(map(len, buffers))
        while offset < end:
            count = os.preadv(descriptor, buffers, offset)
            if not count:
                raise self._damaged(place, end)
            offset += count
            while buffers and count >= len(buffers[0]):
                count -= len(buffers.pop(0))
            if count:
                buffers[0] = buffers[0][count:]

    def _open(self, place: str) -> int:
        path = self._path(place)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            message = f"content {place} is not there (any more)"
            raise NotFound(message, details={"place": place}) from None
        except OSError as error:
            raise _unavailable(path, error) from error

    def _remove(self, place: str) -> None:
        path = self._path(place)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable(path, error) from error

    def _damaged(self, place: str, end: int) -> Damaged:
        message = f"content {self._path(place)} ends before byte {end}"
        return Damaged(message, details={"place": place})


class _File:
    """A content that is being written.

    :raises Unavailable: (as its methods) the disk is full, or away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _mapped(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o600)

    def write(self, piece: bytes) -> None:
        """Write the next piece."""
        view = memoryview(piece)
        with _mapped(self._path):
            while view:
                view = view[os.write(self._descriptor, view) :]

    def finish(self) -> None:
        """Let the disk have it."""
        with _mapped(self._path):
            os.fsync(self._descriptor)
            self._close()
            _sync(self._path.parent)

    def drop(self) -> None:
        """Remove it. Never raises."""
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Behind:
    """Writes the later pieces of a content in a thread, while the next are read and summed.

    For few pieces that would cost more than it saves.
    """

    def __init__(self, file: _File) -> None:
        self._file = file
        self._alone = _ALONE
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: deque[Future[None]] = deque()

    def write(self, piece: bytes) -> None:
        """Write a piece, or begin to; errors of earlier ones are raised, too."""
        if self._alone:
            self._alone -= 1
            self._file.write(piece)
            return
        self._settle(_AHEAD - 1)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="contexts writes")
        self._under_way.append(self._thread.submit(self._file.write, piece))

    def _settle(self, left: int) -> None:
        while len(self._under_way) > left:
            self._under_way.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._settle(0)
        finally:
            if self._thread is not None:
                self._thread.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unavailable(path, error) from error


def _wrong(rooms: list[Room]) -> int | None:
    """Return the number of the first that is not what it must be, or None."""
    sums = (zlib.crc32(room) == crc for _, room, crc in rooms)
    return next((number for number, right in enumerate(sums) if not right), None)


def _run(wanted: list[Room], start: int) -> int:
    """Return the end of the buffers whose bytes are next to each other."""
    end = start + 1
    offset = wanted[start][0] + len(wanted[start][1])
    while end < len(wanted) and end - start < _VECTOR and wanted[end][0] == offset:
        offset += len(wanted[end][1])
        end += 1
    return end


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(path: Path, error: OSError) -> Unavailable:
    message = f"{path.parent.parent}: {error.strerror or error}"
    return Unavailable(message, details={"errno": error.errno})
