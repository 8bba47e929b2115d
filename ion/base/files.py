"""Read a file whose path somebody else has said: what stands there may be anything.

A pipe that nobody writes to, or a device, would hold up whoever reads it for ever. So nothing but
regular files is read; and pipes, where a user may name one (``-c <(command)``), for so long. What
is secret is read where others could neither read nor change it, and written whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import stat
import time
from pathlib import Path

from ion.base.errors import ConfigurationError

PATIENCE = 10.0  # seconds for whoever writes to a pipe
OTHERS = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OPEN = {
    OTHERS: "is open to others: chmod 600",
    OTHERS_WRITE: "can be written by others: chmod go-w",
}
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PIECE = 65_536


def read_file(path: str | Path, most: int, *, patience: float | None = None) -> bytes:
    """Return what is in a file; of what is longer, the first ``most`` bytes.

    :param patience: seconds that a pipe may take; None: it must be a regular file.
    :raises OSError: it cannot be read, or is no such file; ``strerror`` says so.
    :raises ValueError: the path has a zero byte in it.
    """
    fd = os.open(path, _READ)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):
            return _all_of(fd, most)
        if stat.S_ISFIFO(mode) and patience is not None:
            return _written_to(fd, most, time.monotonic() + patience)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise OSError(errno.EINVAL, "it is a pipe, socket or device, and no file")
    finally:
        os.close(fd)


def read_closed(path: Path, most: int, title: str, *, closed_to: int = OTHERS) -> bytes:
    """Return what is in a file that is closed to others; of what is longer, the first bytes.

    :param title: what it is called in messages.
    :param closed_to: bits of its mode that must not be set: ``OTHERS``, or ``OTHERS_WRITE``.
    :raises ConfigurationError: it is open to others, or no regular file.
    :raises OSError: it cannot be read.
    """
    fd = os.open(path, _READ)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            message = f"{title} is no file"
            raise ConfigurationError(message)
        if mode & closed_to:
            message = f"{title} {_OPEN[closed_to]} {path}"
            raise ConfigurationError(message)
        return _all_of(fd, most)
    finally:
        os.close(fd)


def write_whole(path: Path, text: str, *, mode: int = 0o600, replace: bool = False) -> None:
    """Make a file whole or not at all.

    :param mode: who may read and write it.
    :param replace: one that is there gives way; else it stays, and nothing is written.
    :raises OSError: it cannot be made.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, _NEW, mode)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        if replace:
            draft.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def _all_of(fd: int, most: int) -> bytes:
    content = bytearray()
    while len(content) < most and (piece := os.read(fd, min(_PIECE, most - len(content)))):
        content += piece
    return bytes(content)


def _written_to(fd: int, most: int, until: float) -> bytes:
    """Return what is written to a pipe until its writers have closed it.

    :raises TimeoutError: they have not in time.
    """
    content = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(content) < most:
        if not poll.poll(max(until - time.monotonic(), 0.0) * 1000):
            raise TimeoutError(errno.ETIMEDOUT, "it is a pipe, and nobody has written it in time")
        piece = os.read(fd, min(_PIECE, most - len(content)))
        if not piece:
            break
        content += piece
    return bytes(content)
