"""The runtime file: where a memory bus that listens can be found by others on its machine.

``<sysname>.json`` in the user's runtime folder holds the URL, password and all, and the pid of who
listens. Folder and file are the user's alone (modes 0700 and 0600), and are not believed where
they are not. All calls block for a moment; run them in a thread where a loop must go on.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ion.base.errors import StartError, Unavailable
from ion.base.ids import checked_name

_FOLDER = "ion"
_MAX_BYTES = 1 << 16
_ANSWER_WITHIN = 2.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Runtime:
    """Who listens, and where.

    :ivar url: how to connect, with the password; never to be logged.
    :ivar pid: of the OS process that listens.
    :ivar path: of the runtime file.
    """

    url: str = field(repr=False)
    pid: int
    path: Path


def find(sysname: str) -> Runtime:
    """Return where the bus of a system listens.

    :raises Unavailable: nobody on this machine listens for it, or who did has gone; or the file
        is not to be trusted.
    """
    place, name = folder(), f"{checked_name(sysname, 'sysname')}.json"
    found = _read(place / name) if is_own(place) else None
    if found is not None and is_running(found.pid):
        return found
    gone = f" (the one that did, process {found.pid}, is gone)" if found else ""
    message = (
        f"no container of system {sysname!r} listens on this machine{gone}: start it with --listen"
    )
    raise Unavailable(message)


def claimed(sysname: str) -> Runtime | None:
    """Return what the runtime file of a system says, whether who wrote it has gone or not.

    None where there is no such file, or it is not whole.

    :raises Unavailable: it cannot be read, or is not this user's alone.
    """
    return _read(folder() / f"{checked_name(sysname, 'sysname')}.json")


def claim(sysname: str, url: str) -> Runtime:
    """Write the runtime file of a bus that listens already; one that is stale is replaced.

    :raises StartError: another container listens for the system; or the file cannot be written.
    """
    name = checked_name(sysname, "sysname")
    place = folder()
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        if not is_own(place):
            message = f"{place} is not this user's alone (mode 0700): it is not used"
            raise StartError(message)
        with _locked(place / f"{name}.lock"):
            present = _read(place / f"{name}.json")
            if present is not None and _is_listening(present):
                message = (
                    f"process {present.pid} listens for system {name!r} already: join it with "
                    "-b local://, or give this system another name with -s"
                )
                raise StartError(message)
            return _write(place / f"{name}.json", url)
    except (OSError, Unavailable) as error:
        message = f"the runtime file in {place} cannot be written: {error}"
        raise StartError(message) from error


def release(runtime: Runtime) -> None:
    """Remove the runtime file where it is still the one that was claimed; never raises."""
    try:
        if _read(runtime.path) == runtime:
            runtime.path.unlink()
    except (OSError, Unavailable):
        return


def folder() -> Path:
    """Return the folder where the file is, which may not be there yet.

    Without XDG_RUNTIME_DIR (a job of cron), it is the folder that the variable mostly names.
    """
    uid = os.getuid()
    for base in (Path(os.environ.get("XDG_RUNTIME_DIR", "")), Path(f"/run/user/{uid}")):
        if base.is_absolute() and is_own(base):
            return base / _FOLDER
    return Path(tempfile.gettempdir(), f"{_FOLDER}-{uid}")


def is_own(path: Path) -> bool:
    """Tell whether it is a folder of this user that nobody else can write to or read."""
    try:
        info = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & _OTHERS


def _read(path: Path) -> Runtime | None:
    """Return what the file says; None where there is none, or it is not whole.

    :raises Unavailable: it is not this user's alone.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"the runtime file {path} cannot be read: {error.strerror}"
        raise Unavailable(message) from error
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(fd)
        own = stat.S_ISREG(info.st_mode) and info.st_uid == os.getuid()
        if not own or info.st_mode & _OTHERS:
            message = f"the runtime file {path} is not this user's alone: it is not believed"
            raise Unavailable(message)
        return _parsed(file.read(_MAX_BYTES), path)


def _parsed(raw: bytes, path: Path) -> Runtime | None:
    try:
        said: Any = json.loads(raw)
        url, pid = said["url"], said["pid"]
        is_good = isinstance(url, str) and isinstance(pid, int) and urlsplit(url).port
    except (ValueError, TypeError, KeyError):
        return None
    return Runtime(url, pid, path) if is_good else None


def _write(path: Path, url: str) -> Runtime:
    runtime = Runtime(url, os.getpid(), path)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(fd, "w") as file:
            json.dump({"url": url, "pid": runtime.pid}, file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    return runtime


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time claim a system; two that find it stale must not both take it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def is_running(pid: int) -> bool:
    """Tell whether there is a process of that number, whoever's it is."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid > 0


def _is_listening(runtime: Runtime) -> bool:
    """Tell whether somebody is there: the number of a dead process may be another's by now."""
    if not is_running(runtime.pid):
        return False
    where = urlsplit(runtime.url)
    try:
        with socket.create_connection((where.hostname or "", where.port or 0), _ANSWER_WITHIN):
            return True
    except TimeoutError:
        return True  # it is held up, not gone
    except OSError:
        return False
