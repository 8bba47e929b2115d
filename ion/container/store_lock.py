"""Who has a store file: the containers of one system, on one bus.

What units of work have left to be sent, any container that has the file sends; what is due, the
first of them does. Two systems, or two buses, would take each other's work, and tell the wrong
ones: those of one system on one bus share a file, whoever is of another one is refused. A bus in
memory is one OS process's, and of those that join it where it listens (``local://``).

What tells is a file beside it, with the names of bus and system, and a lock on that, which goes
with the process however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
import weakref
from pathlib import Path
from typing import NamedTuple

from ion.base.errors import StartError
from ion.base.ids import new_mark
from ion.messaging.runtime_file import folder, is_running
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
    if transport.scheme == GUEST:
        return _listening(transport.bus.partition("/")[0])  # perhaps of another system
    if transport.scheme == MEMORY and listens:
        return _listening(sysname)
    if transport.scheme == MEMORY:
        return f"{MEMORY} {os.getpid()} {new_mark()}"
    return transport.bus


def _listening(sysname: str) -> str:
    """Return what a bus in memory that listens is known by; it may be started anew."""
    return f"{GUEST} {sysname} {folder().resolve()}@{os.uname().nodename}"


class StoreLock:
    """A container that has a store file, until it moves out or its OS process ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        _here.add(self)

    @classmethod
    def move_in(cls, url: str, bus: str, sysname: str = "") -> StoreLock | None:
        """Have the file of a store; None: it is no file. Blocks for a moment.

        :param url: of the store.
        :param bus: what the bus is known by; see :func:`bus_of`.
        :param sysname: of the system; "": nobody says.
        :raises StartError: the containers of another bus, or system, have it; the message says
            which process.
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
            shares = _shares(fd, bus, sysname)
        except OSError as error:  # of a file system without locks
            log.debug("who has %s is not looked after: %s", store, error)
            return cls(fd)
        if shares:
            return cls(fd)
        tenant = _tenant(fd)
        os.close(fd)
        details = {"pid": tenant.pid, "bus": tenant.bus, "sysname": tenant.sysname}
        raise StartError(_taken(store, tenant, bus), details=details)

    def move_out(self) -> None:
        """Let others have it; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


_here: weakref.WeakSet[StoreLock] = weakref.WeakSet()  # of this OS process


def _leave() -> None:
    """Have no file any more, in what was forked off: a pool of processes may live longer."""
    for tenant in list(_here):
        tenant.move_out()


os.register_at_fork(after_in_child=_leave)


class _Told(NamedTuple):
    """What the file says.

    :ivar pid: the process that had it first, where that still runs.
    :ivar bus: of all who have it.
    :ivar sysname: of all of them, too; "": nobody has said.
    """

    pid: int | None
    bus: str
    sysname: str


def _shares(fd: int, bus: str, sysname: str) -> bool:
    """Lock the file with those of a system on ``bus``; return whether nobody else has it."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n{bus}\n{sysname}".encode(), 0)
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # another may be faster: it lets go
            return True
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            there = _tenant(fd)
            return _is_one(bus, there.bus) and _is_one(sysname, there.sysname)
        time.sleep(_PAUSE)
    return False


def _is_one(name: str, other: str) -> bool:
    return not (name and other) or name == other


def _tenant(fd: int) -> _Told:
    text = os.pread(fd, _SAID, 0).decode("utf-8", "replace")
    first, bus, sysname, *_ = *text.split("\n"), "", "", ""
    pid = int(first) if first.isdecimal() else 0
    return _Told(pid if is_running(pid) else None, bus, sysname)


def _taken(store: Path, tenant: _Told, bus: str) -> str:
    who = f"process {tenant.pid}" if tenant.pid is not None else "another process"
    head, rest = f"the store file {store} is in use by {who}", ""
    if _is_one(bus, tenant.bus):
        head += f", of system {tenant.sysname!r}"
    else:
        is_inner = tenant.bus.partition(" ")[0] in (MEMORY, GUEST)
        head += ", whose bus is another one" + (f" ({tenant.bus})" if not is_inner else "")
        rest = (
            "; or join that one's bus: -b with the URL of its broker, or, where it has none, start "
            "it with --listen, and this one with -b local://"
        )
    return (
        f"{head}: each would take the other's work. End that one first; or give this one a file of "
        f"its own (-s NAME, or store.url){rest}"
    )
