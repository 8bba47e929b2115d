"""The key of a system: who has it may command its containers. Where it is found, or made.

It is 32 random bytes, in the settings or in a file that the user alone can read. The first
container that starts makes the file; a copy of it lets another user, or machine, command, too.
While it is changed, the file holds several, one a line: the first is used, all are believed.

In its place, or beside it, each party may have a key pair of its own, and the public keys of the
others (:mod:`ion.process.identity.key_pairs`). All calls block for a moment; run them in a thread
where a loop must go on.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ion.base.errors import ConfigurationError, IonError
from ion.base.files import read_closed, write_whole
from ion.base.folders import data_folder
from ion.base.settings import AgentSettings
from ion.process.command.keyring import Keyring, shared

if TYPE_CHECKING:
    from ion.process.identity.key_pairs import KeyPairs

_DIGITS = re.compile(r"[0-9a-fA-F]{64}\Z", re.ASCII)
_MAX_BYTES = 4096


@dataclass(frozen=True)
class Key:
    """The key of a system.

    :ivar secret: its bytes; never to be shown. None: there is nothing but key pairs.
    :ivar place: where it was found: a file, or a setting.
    :ivar others: that are believed, too, while it is changed.
    :ivar pairs: the key pair of this party, and whose public keys are trusted; None: there is none.
    """

    secret: bytes | None = field(repr=False)
    place: str
    others: tuple[bytes, ...] = field(default=(), repr=False)
    pairs: KeyPairs | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        """What it is known by."""
        return self.ring.id

    @cached_property
    def ring(self) -> Keyring:
        """What is signed with, and whom is believed."""
        return shared(*self.secrets) if self.pairs is None else self.pairs.ring(self.secrets)

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """All shared keys that are believed, the one that is used first."""
        return (self.secret, *self.others) if self.secret is not None else ()


def given(text: str, place: str = "agent.key") -> Key:
    """Return the key that is written as 64 hexadecimal digits; further ones are believed, too.

    :raises ConfigurationError: it is not; the message does not repeat it.
    """
    lines = text.split()
    for digits in lines or [""]:
        if not _DIGITS.match(digits):
            message = (
                f"{place} holds no key: a key is 64 hexadecimal digits "
                f"(this has {len(digits)} characters)"
            )
            raise ConfigurationError(message)
    first, *others = [bytes.fromhex(digits) for digits in lines]
    return Key(first, place, tuple(others))


def path_of(settings: AgentSettings, sysname: str) -> Path:
    """Return where the file of a system's key is, or would be.

    :raises ConfigurationError: this user has no data folder.
    """
    if settings.key_file is not None:
        return Path(settings.key_file).expanduser()
    return data_folder() / f"{sysname}.key"


def find(settings: AgentSettings, sysname: str) -> Key | None:
    """Return the key of a system, or one's own; None where there is none.

    :raises ConfigurationError: a file is not this user's alone, or holds no key.
    """
    pairs = _pairs(settings)
    if settings.key is not None:
        key: Key | None = given(settings.key)
    elif pairs is not None and pairs.private is not None and settings.key_file is None:
        return Key(None, pairs.place, (), pairs)
    else:
        key = _read(path_of(settings, sysname))
    return key if key is None or pairs is None else replace(key, pairs=pairs)


def _pairs(settings: AgentSettings) -> KeyPairs | None:
    if settings.own_key_file is None and settings.trusted_keys is None:
        return None
    from ion.process.identity.key_pairs import pairs_of  # of the extra `identity`

    return pairs_of(settings.own_key_file, settings.trusted_keys)


def find_or_make(settings: AgentSettings, sysname: str) -> Key:
    """Return the key of a system; make its file where there is none.

    :raises ConfigurationError: the file is not this user's alone, or holds no key.
    :raises Unwritable: there is none, and it cannot be made.
    """
    if settings.key is not None or settings.own_key_file is not None:
        return _there(find(settings, sysname), settings, sysname)
    path = path_of(settings, sysname)
    try:
        key = find(settings, sysname)
    except ConfigurationError as error:
        if settings.key_file is None and isinstance(error.__cause__, OSError):
            raise _unwritable(path, sysname, error.__cause__) from error
        raise
    if key is not None:
        return key
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, secrets.token_hex(32) + "\n")
    except OSError as error:
        raise _unwritable(path, sysname, error) from error
    key = find(settings, sysname)
    if key is None:
        message = f"the key file {path} was deleted while it was made"
        raise Unwritable(message)
    return key


def _there(key: Key | None, settings: AgentSettings, sysname: str) -> Key:
    """Return a key that is not to be made where it is not there."""
    if key is None:
        message = f"there is no key file {path_of(settings, sysname)} (agent.key_file)"
        raise ConfigurationError(message)
    return key


class Unwritable(IonError):
    """There is no key, and none can be made."""


def _unwritable(path: Path, sysname: str, error: OSError) -> Unwritable:
    message = (
        f"the key of system {sysname!r} cannot be kept at {path}: {error.strerror}; set "
        "agent.key_file to a file that can be written, or agent.key"
    )
    return Unwritable(message)


def _read(path: Path) -> Key | None:
    """Return the key in a file; None where there is no such file.

    :raises ConfigurationError: it cannot be read, is not this user's alone, or holds no key.
    """
    place = f"the key file {path}"
    try:
        raw = read_closed(path, _MAX_BYTES, place)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"{place} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error
    return given(raw.decode("ascii", "replace"), place)
