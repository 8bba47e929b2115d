"""What a container trusts: the key of its system, and those that the settings name."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ion.base.settings import IdentitySettings
from ion.process.command.permission import Permission
from ion.process.identity.identity import SYSTEM_ISSUER
from ion.process.identity.issuer import Issuer
from ion.process.identity.keys import PublicKey, public_key, read_key_set
from ion.process.identity.revocations import Revocations
from ion.process.identity.tokens import Limits
from ion.process.identity.verifier import Verifier

# On a bus that nobody outside this OS process can reach there is no key of the system: this stands
# for it. It is never written anywhere.
_HERE = secrets.token_bytes(32)


def issuer_of(
    permission: Permission | None, settings: IdentitySettings, sysname: str
) -> Issuer | None:
    """Return the issuer that this party is, as it has a key of the system; None: it has not."""
    key = permission.key if permission is not None else None
    audience = settings.audience or sysname
    if key is not None and key.pairs is not None and key.pairs.private is not None:
        return Issuer(key.pairs.private, audience, SYSTEM_ISSUER, is_systems=True)
    secrets = _secrets_of(permission)
    return Issuer.of_system(secrets[0], sysname, audience=audience) if secrets else None


def _secrets_of(permission: Permission | None) -> tuple[bytes, ...]:
    """Return the shared keys of the system that this party believes, the one it uses first."""
    if permission is None:
        return ()
    if permission.key is not None:
        return permission.key.secrets
    return (_HERE,) if permission.is_open else ()


def _systems_keys(permission: Permission | None, sysname: str) -> Iterator[PublicKey]:
    """Give the public keys of all that sign tokens as the system itself."""
    for secret in _secrets_of(permission):
        yield Issuer.of_system(secret, sysname).public
    key = permission.key if permission is not None else None
    if key is not None and key.pairs is not None:
        for each in key.pairs.trusted:
            yield replace(each, is_systems=True)


def verifier_of(
    permission: Permission | None,
    settings: IdentitySettings,
    sysname: str,
    revocations: Revocations | None = None,
) -> Verifier:
    """Return the verifier of a container; it reads a file where the settings name one.

    :raises ConfigurationError: a key of the settings is none, or their file cannot be read.
    """
    keys: list[PublicKey] = [public_key(text) for text in settings.keys]
    if settings.keys_file is not None:
        keys += read_key_set(Path(settings.keys_file).expanduser())
    keys += _systems_keys(permission, sysname)
    limits = Limits(settings.audience or sysname, settings.leeway, settings.max_life)
    return Verifier(keys, limits, size=settings.cache, revocations=revocations)
