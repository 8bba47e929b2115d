"""Read a file whose path somebody else has said: what stands there may be anything.

A pipe that nobody writes to, or a device, would hold up whoever reads it for ever. So nothing but
regular files is read; and pipes, where a user may name one (``-c <(command)``), for so long.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from pathlib import Path

PATIENCE = 10.0  # seconds for whoever writes to a pipe
_PIECE = 65_536


def read_file(path: str | Path, most: int, *, patience: float | None = None) -> bytes:
    """Return what is in a file; of what is longer, the first ``most`` bytes.

    :param patience: seconds that a pipe may take; None: it must be a regular file.
    :raises OSError: it cannot be read, or is no such file; ``strerror`` says so.
    :raises ValueError: the path has a zero byte in it.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
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
