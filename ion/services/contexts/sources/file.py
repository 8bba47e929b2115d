"""``file::/path``: a file as it is, in blobs of 1 MiB."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ion.services.contexts import codes
from ion.services.contexts.codes import ItemError
from ion.services.contexts.draft import CHUNK, Draft, Pieces
from ion.services.contexts.model import Item
from ion.services.contexts.names import plain
from ion.services.contexts.roots import Roots

_BASE = 200  # characters of a file's name that its blobs have, at most


def drafts(item: Item, tag: str, where: str, roots: Roots) -> list[Draft]:
    """Return what is to be stored of a file.

    :raises ItemError: it is not there, may not be read, or has no such range.
    """
    path = roots.checked(where)
    status = _status(path)
    offset, size = ranged(item, status.st_size, str(path))
    return [
        Draft(
            tag=tag,
            source=f"file::{plain(str(path))}{range_text(item)}",
            origin=f"file::{plain(str(path))}",
            base=plain(path.name)[:_BASE],
            media="binary",
            pieces=lambda: _pieces(path, offset, size),
            size=size,
            mtime=status.st_mtime,
            description=lambda length: f"binary<size={length}, offset={offset}>",
        )
    ]


def ranged(item: Item, size: int, what: str) -> tuple[int, int]:
    """Return offset and length of what an item takes of ``size`` bytes.

    :raises ItemError: that is nothing, or not within them.
    """
    offset, length = item.range_off, item.range_size
    if size == 0:
        raise ItemError(codes.MISSING, f"{what} is empty")
    if offset < 0 or length < 0 or offset + max(length, 1) > size:
        message = f"{what} has {size} bytes: there are no {length} from {offset} on"
        if not length:
            message = f"{what} has {size} bytes: there is nothing from {offset} on"
        raise ItemError(codes.BAD_RANGE, message)
    return offset, length or size - offset


def range_text(item: Item) -> str:
    """Return a range as a part of what a source is known by: another range is another source."""
    return f"#{item.range_off}+{item.range_size}" if item.range_off or item.range_size else ""


def _status(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ItemError(codes.MISSING, f"there is no file {path}") from None
    except OSError as error:
        raise ItemError(codes.NOT_OPENED, f"{path}: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise ItemError(codes.NOT_READ, f"{path} is a folder: give the files in it")
    if not stat.S_ISREG(status.st_mode):
        raise ItemError(codes.NOT_READ, f"{path} is no regular file")
    return status


def opened(path: Path) -> IO[bytes]:
    """Open a file that was found allowed, unbuffered: this very one, and no pipe or device.

    :raises ItemError: it cannot be opened, or another one was put in its place.
    """
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.fdopen(os.open(path, flags), "rb", buffering=0)
    except OSError as error:
        raise ItemError(codes.NOT_OPENED, f"{path}: {error.strerror}") from None
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and _is_still(path, file.fileno()):
        return file
    file.close()
    raise ItemError(codes.NOT_OPENED, f"{path}: another one was put in its place")


def _is_still(path: Path, descriptor: int) -> bool:
    """Return whether no folder on the way was replaced by a link; Linux can tell."""
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink() == path
    except OSError:
        return os.path.realpath(path) == str(path)


def _pieces(path: Path, offset: int, size: int) -> Pieces:
    file = opened(path)
    with file:
        try:
            if offset:
                file.seek(offset)
        except OSError as error:
            raise ItemError(codes.NOT_SOUGHT, f"{path}: {error.strerror}") from None
        yield from _read(file, path, size)


def _read(file: IO[bytes], path: Path, size: int) -> Iterator[bytes]:
    left = size
    while left:
        try:
            piece = whole(file, min(CHUNK, left))
        except OSError as error:
            raise ItemError(codes.NOT_READ, f"{path}: {error.strerror}") from None
        if not piece:
            return  # it has shrunk: the meter finds out
        left -= len(piece)
        yield piece


def whole(file: IO[bytes], size: int) -> bytes:
    """Return so many bytes of a file, fewer only at its end."""
    piece = file.read(size) or b""
    while len(piece) < size:
        more = file.read(size - len(piece))
        if not more:
            break
        piece += more
    return piece
