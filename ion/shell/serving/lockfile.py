"""The lock file that tells a launcher whether a start is complete.

It is held locked from the first moment until everything is up, and never given back by a failed
start (the end of the OS process does that). Then the ready line stands in it, so whoever gets
the lock can tell success from failure. It is not removed: that is the launcher's to do.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ion.base.errors import StartError


class LockFile:
    """An exclusive lock on ``path`` (made where missing), taken at once.

    :raises StartError: another process holds it, or the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            message = f"cannot write the lock file {self.path}: {error.strerror}"
            raise StartError(message) from error
        try:
            # Two kinds of lock exist and do not see each other: flock(1) in scripts takes the
            # first, fcntl.lockf in programs the second. A launcher may look for either.
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            message = f"the lock file {self.path} is held: another container is starting with it"
            raise StartError(message) from error
        os.ftruncate(self._fd, 0)

    def note(self, ready_line: str) -> None:
        """Write ``ready_line``, before anybody hears of it elsewhere.

        :raises StartError: the file cannot be written: the disk is full.
        """
        try:
            os.write(self._fd, f"{ready_line}\n".encode())
        except OSError as error:
            message = f"cannot write the lock file {self.path}: {error.strerror}"
            raise StartError(message) from error

    def release(self) -> None:
        """Give the lock back; may be called once."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN)
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
