"""Key pairs in place of a key that all share: each party signs with its own private key.

Who is believed is said by a folder of public keys, one a file, ``NAME.pub``: as many as there are
parties; a new one is put in, one that is not to be believed any more is taken out. So what one
machine has lost is no way to speak for the others.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from ion.base.errors import ConfigurationError
from ion.base.files import OTHERS_WRITE, read_closed, read_file, write_whole
from ion.process.command.keyring import OWN, Check, Keyring, checks_of, shared
from ion.process.identity.crypto import Ed25519PrivateKey, InvalidSignature
from ion.process.identity.keys import PublicKey, found_or_made, public_key, written

log = logging.getLogger(__name__)
SUFFIX = ".pub"
MAX_TRUSTED = 10_000
MAX_BYTES = 4096


class KeyPairs:
    """The key pair of one party, and the public keys of all that it believes.

    :ivar private: its own; None: it signs with the shared key.
    :ivar trusted: public keys, its own among them.
    :ivar place: of its private key, or of the folder.
    """

    def __init__(
        self, private: Ed25519PrivateKey | None, named: dict[str, PublicKey], place: str
    ) -> None:
        own = public_key(written(private.public_key()), place) if private is not None else None
        self.private = private
        self.place = place
        self.trusted: tuple[PublicKey, ...] = tuple(named.values())
        self._names = {key.id: name for name, key in named.items()}
        if own is not None and own.id not in self._names:
            self.trusted = (*self.trusted, own)
        self._own = own

    def ring(self, secrets: Sequence[bytes]) -> Keyring:
        """Return what is signed with, and whom is believed.

        :param secrets: shared keys that are believed, too; the first one is signed with where there
            is no private key.
        """
        place = "put its public key into the folder agent.trusted_keys"
        checks = {key.id: _check(key) for key in self.trusted}
        if self.private is None or self._own is None:
            return shared(*secrets).believing(checks, self._names, place)
        checks.update(checks_of(secrets))
        return Keyring(OWN, self._own.id, _signer(self.private), checks, self._names, place)


def _signer(private: Ed25519PrivateKey) -> Callable[[bytes], str]:
    def sign(text: bytes) -> str:
        return base64.urlsafe_b64encode(private.sign(text)).rstrip(b"=").decode()

    return sign


def _check(public: PublicKey) -> Check:
    def check(signature: str, text: bytes) -> bool:
        try:
            public.key.verify(base64.urlsafe_b64decode(f"{signature}=="), text)
        except (InvalidSignature, ValueError, binascii.Error):
            return False
        return True

    return check


def pairs_of(own_key_file: str | None, trusted_keys: str | None) -> KeyPairs:
    """Return what two settings name; make the private key where its file is not there.

    Its public half is put beside it, ``<file>.pub``, to be given to the others; where that cannot
    be written, it is taken from elsewhere.

    :raises ConfigurationError: a file is no key, or others could have changed it; or no folder is
        given.
    """
    if trusted_keys is None:
        message = "agent.own_key_file needs agent.trusted_keys, the folder of whom to believe"
        raise ConfigurationError(message)
    folder = Path(trusted_keys).expanduser()
    if own_key_file is None:
        return KeyPairs(None, _named(folder), str(folder))
    path = Path(own_key_file).expanduser()
    private = found_or_made(path)
    _show(path, written(private.public_key()))  # first: it may be in that folder, of an older key
    return KeyPairs(private, _named(folder), f"the key file {path}")


def _show(path: Path, own: str) -> None:
    """Put a public key beside its private one, where there is none, or that of an older one."""
    public = path.with_name(path.name + SUFFIX)
    try:
        if not public.exists() or not _is_that(public, own):
            write_whole(public, f"{own}\n", mode=0o644, replace=True)
    except OSError as error:  # it may be where nothing can be written, as secrets often are
        log.info("the public key %s cannot be put into %s: %s", own, public, error.strerror)


def _is_that(public: Path, own: str) -> bool:
    text = read_file(public, MAX_BYTES).decode("ascii", "replace")
    try:
        return written(public_key(text, str(public)).key) == own
    except ConfigurationError:
        return False


def _named(folder: Path) -> dict[str, PublicKey]:
    """Return the public keys of a folder by name."""
    try:
        if not folder.is_dir():
            message = f"agent.trusted_keys: {folder} is no folder"
            raise ConfigurationError(message)
        _must_be_ours(folder)
        files = sorted(each for each in folder.iterdir() if each.suffix == SUFFIX)
        if len(files) > MAX_TRUSTED:
            message = f"agent.trusted_keys: {len(files)} keys in {folder}: at most {MAX_TRUSTED}"
            raise ConfigurationError(message)
        found = {each.stem: _public(each) for each in files}
    except OSError as error:
        message = f"agent.trusted_keys: {folder} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error
    names: dict[str, str] = {}
    for name, key in found.items():
        if names.setdefault(key.id, name) != name:
            message = f"agent.trusted_keys: {names[key.id]!r} and {name!r} have the same key"
            raise ConfigurationError(message)
    return found


def _public(path: Path) -> PublicKey:
    raw = read_closed(path, MAX_BYTES, str(path), closed_to=OTHERS_WRITE)
    return public_key(raw.decode("ascii", "replace"), str(path))


def _must_be_ours(path: Path) -> None:
    if path.stat().st_mode & OTHERS_WRITE:
        message = f"{path} can be written by others: chmod go-w {path}"
        raise ConfigurationError(message)
