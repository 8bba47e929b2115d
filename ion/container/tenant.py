"""Who has a store file: the containers of one bus.

What units of work have left to be sent, any container that has the file sends; what is due, the
first of them does. Two systems, each on a bus of its own, would take each other's work, and tell
the wrong ones. A bus in memory is one OS process's: that one has the file alone. Containers on a
broker share it. Who joins the bus of another process (``local://``) is that one's guest.

What tells is a lock on a file beside it, which goes with the process however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import weakref
from pathlib import Path

from ion.base.errors import StartError
from ion.messaging.runtime import is_running
from ion.stores.sqlite.file import StoreFile

log = logging.getLogger(__name__)
MEMORY, GUEST = "memory", "local"
_SQLITE = "sqlite"
_SUFFIX = ".bus"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PID = 32  # bytes


class Tenant:
    """A container that has a store file, until it moves out or its OS process ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        _here.add(self)

    @classmethod
    def move_in(cls, url: str, scheme: str) -> Tenant | None:
        """Have the file of a store; None: it is no file, or a guest's. Blocks for a moment.

        :param url: of the store.
        :param scheme: of the broker.
        :raises StartError: the containers of another bus have it; the message says which process.
        """
        if url.partition(":")[0].lower() != _SQLITE or scheme == GUEST:
            return None
        store = StoreFile(url).path.resolve()  # whatever other names it has
        try:
            fd = os.open(f"{store}{_SUFFIX}", _FLAGS, 0o600)
        except OSError as error:
            log.debug("who has %s is not looked after: %s", store, error)
            return None  # what is wrong with the folder, its store says
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if scheme == MEMORY else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            other = _tenant(fd)
            os.close(fd)
            raise StartError(_taken(store, other), details={"pid": other}) from None
        except OSError as error:  # of a file system without locks
            log.debug("who has %s is not looked after: %s", store, error)
        return cls(fd)

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


def _tenant(fd: int) -> int | None:
    with contextlib.suppress(ValueError, OSError):
        pid = int(os.pread(fd, _PID, 0))
        return pid if is_running(pid) else None
    return None


def _taken(store: Path, pid: int | None) -> str:
    who = f"process {pid}" if pid is not None else "another process"
    return (
        f"the store file {store} is in use by {who}, whose bus is another one: each would take the "
        "other's work. End that one first; or give this one a file of its own (-s NAME, or "
        "store.url); or join that one's bus: -b with the URL of its broker, or, where it has none, "
        "start it with --listen, and this one with -b local://"
    )
