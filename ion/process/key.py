"""The key of a system: who has it may command its containers. Where it is found, or made.

It is 32 random bytes, in the settings or in a file that the user alone can read. The first
container that starts makes the file; a copy of it lets another user, or machine, command, too.
All calls block for a moment; run them in a thread where a loop must go on.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ion.base.errors import ConfigurationError, IonError
from ion.base.folders import data_folder
from ion.base.settings import AgentSettings
from ion.process import signing

_DIGITS = re.compile(r"[0-9a-fA-F]{64}\Z", re.ASCII)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a system.

    :ivar secret: its bytes; never to be shown.
    :ivar place: where it was found: a file, or a setting.
    """

    secret: bytes = field(repr=False)
    place: str

    @property
    def id(self) -> str:
        """What it is known by."""
        return signing.key_id(self.secret)


def given(text: str, place: str = "agent.key") -> Key:
    """Return the key that is written as 64 hexadecimal digits.

    :raises ConfigurationError: it is not; the message does not repeat it.
    """
    digits = text.strip()
    if _DIGITS.match(digits):
        return Key(bytes.fromhex(digits), place)
    message = (
        f"{place} holds no key: a key is 64 hexadecimal digits (this has {len(digits)} characters)"
    )
    raise ConfigurationError(message)


def path_of(settings: AgentSettings, sysname: str) -> Path:
    """Return where the file of a system's key is, or would be.

    :raises ConfigurationError: this user has no data folder.
    """
    if settings.key_file is not None:
        return Path(settings.key_file).expanduser()
    return data_folder() / f"{sysname}.key"


def find(settings: AgentSettings, sysname: str) -> Key | None:
    """Return the key of a system; None where there is none.

    :raises ConfigurationError: the file is not this user's alone, or holds no key.
    """
    if settings.key is not None:
        return given(settings.key)
    return _read(path_of(settings, sysname))


def find_or_make(settings: AgentSettings, sysname: str) -> Key:
    """Return the key of a system; make its file where there is none.

    :raises ConfigurationError: the file is not this user's alone, or holds no key.
    :raises Unwritable: there is none, and it cannot be made.
    """
    if settings.key is not None:
        return given(settings.key)
    path = path_of(settings, sysname)
    try:
        key = _read(path)
    except ConfigurationError as error:
        if settings.key_file is None and isinstance(error.__cause__, OSError):
            raise _unwritable(path, sysname, error.__cause__) from error
        raise
    if key is not None:
        return key
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(path)
    except OSError as error:
        raise _unwritable(path, sysname, error) from error
    key = _read(path)
    if key is None:
        message = f"the key file {path} was deleted while it was made"
        raise Unwritable(message)
    return key


class Unwritable(IonError):
    """There is no key, and none can be made."""


def _unwritable(path: Path, sysname: str, error: OSError) -> Unwritable:
    message = (
        f"the key of system {sysname!r} cannot be kept at {path}: {error.strerror}; set "
        "agent.key_file to a file that can be written, or agent.key"
    )
    return Unwritable(message)


def _make(path: Path) -> None:
    """Make the file whole or not at all; another's that is there first stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(fd)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()


def _read(path: Path) -> Key | None:
    """Return the key in a file; None where there is no such file.

    :raises ConfigurationError: it cannot be read, is not this user's alone, or holds no key.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"the key file {path} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            message = f"the key file {path} is no file"
            raise ConfigurationError(message)
        if info.st_mode & _OTHERS:
            message = f"the key file {path} is open to others: chmod 600 {path}"
            raise ConfigurationError(message)
        raw = os.read(fd, _MAX_BYTES)
    finally:
        os.close(fd)
    return given(raw.decode("ascii", "replace"), f"the key file {path}")
