"""Who has a store file: the containers of one bus.

What units of work have left to be sent, any container that has the file sends; what is due, the
first of them does. Two systems, each on a bus of its own, would take each other's work, and tell
the wrong ones: those of one bus share a file, whoever is on another one is refused. A bus in memory
is one OS process's, and of those that join it where it listens (``local://``).

What tells is a file beside it, with the name of the bus, and a lock on that, which goes with the
process however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
import weakref
from pathlib import Path

from ion.base.errors import StartError
from ion.base.ids import new_mark
from ion.messaging.runtime import is_running
from ion.messaging.transport import Transport
from ion.stores.sqlite.file import StoreFile

log = logging.getLogger(__name__)
MEMORY, GUEST = "memory", "local"
_SQLITE = "sqlite"
_SUFFIX = ".bus"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_SAID = 4096  # bytes
_TRIES = 100  # who is the first has it alone for a moment
_PAUSE = 0.01  # seconds


def bus_of(transport: Transport, sysname: str, *, listens: bool) -> str:
    """Return what a bus is known by: the same to all that are on it; "" where nobody can tell.

    :param transport: connected.
    :param listens: whether others can join it, where it is in memory.
    """
    if transport.scheme == GUEST or (transport.scheme == MEMORY and listens):
        return f"{GUEST} {sysname}"  # one listens for a system, and it may be started anew
    if transport.scheme == MEMORY:
        return f"{MEMORY} {os.getpid()} {new_mark()}"
    return transport.bus


class Tenant:
    """A container that has a store file, until it moves out or its OS process ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        _here.add(self)

    @classmethod
    def move_in(cls, url: str, bus: str) -> Tenant | None:
        """Have the file of a store; None: it is no file. Blocks for a moment.

        :param url: of the store.
        :param bus: what the bus is known by; see :func:`bus_of`.
        :raises StartError: the containers of another bus have it; the message says which process.
        """
        if url.partition(":")[0].lower() != _SQLITE:
            return None
        store = StoreFile(url).path.resolve()  # whatever other names it has
        try:
            fd = os.open(f"{store}{_SUFFIX}", _FLAGS, 0o600)
        except OSError as error:
            log.debug("who has %s is not looked after: %s", store, error)
            return None  # what is wrong with the folder, its store says
        try:
            shares = _shares(fd, bus)
        except OSError as error:  # of a file system without locks
            log.debug("who has %s is not looked after: %s", store, error)
            return cls(fd)
        if shares:
            return cls(fd)
        pid, other = _tenant(fd)
        os.close(fd)
        raise StartError(_taken(store, pid, other), details={"pid": pid, "bus": other})

    def move_out(self) -> None:
        """Let others have it; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


_here: weakref.WeakSet[Tenant] = weakref.WeakSet()  # of this OS process


def _leave() -> None:
    """Have no file any more, in what was forked off: a pool of processes may live longer."""
    for tenant in list(_here):
        tenant.move_out()


os.register_at_fork(after_in_child=_leave)


def _shares(fd: int, bus: str) -> bool:
    """Lock the file with those that are on ``bus``; return whether nobody else has it."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n{bus}".encode(), 0)
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # another may be faster: it lets go
            return True
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            _, other = _tenant(fd)
            return not (bus and other) or bus == other
        time.sleep(_PAUSE)
    return False


def _tenant(fd: int) -> tuple[int | None, str]:
    """Return the process that had it first, where that still runs, and the bus of all."""
    first, _, bus = os.pread(fd, _SAID, 0).decode("utf-8", "replace").partition("\n")
    pid = int(first) if first.isdecimal() else 0
    return pid if is_running(pid) else None, bus


def _taken(store: Path, pid: int | None, bus: str) -> str:
    who = f"process {pid}" if pid is not None else "another process"
    broker = f" ({bus})" if bus and bus.partition(" ")[0] not in (MEMORY, GUEST) else ""
    return (
        f"the store file {store} is in use by {who}, whose bus is another one{broker}: each would "
        "take the other's work. End that one first; or give this one a file of its own (-s NAME, "
        "or store.url); or join that one's bus: -b with the URL of its broker, or, where it has "
        "none, start it with --listen, and this one with -b local://"
    )
