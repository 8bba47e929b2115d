"""Contents as files of a folder, one a place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import zlib
from concurrent.futures import Executor
from pathlib import Path

from ion.base.errors import Damaged, NotFound, Unavailable
from ion.services.contexts.draft import Pieces
from ion.services.contexts.shelf import Note, Room

_VECTOR = 16  # buffers of one read


class FileShelf:
    """See :class:`~ion.services.contexts.shelf.Shelf`.

    :param folder: of its own; made where it is not there.
    """

    def __init__(self, folder: Path, workers: Executor) -> None:
        self._folder = folder
        self._workers = workers

    async def put(self, place: str, pieces: Pieces, note: Note) -> str:
        """See :meth:`Shelf.put`; when it returns, the content is on the disk."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._workers, self._put, place, pieces)
        return ""

    async def read(self, place: str, ref: str, offset: int, size: int) -> bytes:
        """See :meth:`Shelf.read`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, self._read, place, offset, size)

    async def read_into(self, place: str, ref: str, wanted: list[Room]) -> int | None:
        """See :meth:`Shelf.read_into`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, self._read_into, place, wanted)

    async def remove(self, place: str, ref: str) -> None:
        """See :meth:`Shelf.remove`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._workers, self._remove, place)

    def _path(self, place: str) -> Path:
        return self._folder / place[:2] / place

    def _put(self, place: str, pieces: Pieces) -> None:
        path = self._path(place)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with path.open("xb", buffering=0) as file:
                for piece in pieces:
                    _write(file.fileno(), piece)
                os.fsync(file.fileno())
            _sync(path.parent)
        except BaseException as error:
            with contextlib.suppress(OSError):
                path.unlink()
            if isinstance(error, OSError):
                raise _unavailable(path, error) from error
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
                for number in range(start, end):  # while it is in the processor's cache
                    if zlib.crc32(wanted[number][1]) != wanted[number][2]:
                        return number
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


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


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
