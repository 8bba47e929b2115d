"""What a container trusts: the key of its system, and those that the settings name."""

from __future__ import annotations

import secrets
from pathlib import Path

from ion.base.settings import IdentitySettings
from ion.process.identity.issuer import Issuer
from ion.process.identity.keys import PublicKey, public_key, read_key_set
from ion.process.identity.revocations import Revocations
from ion.process.identity.tokens import Limits
from ion.process.identity.verifier import Verifier
from ion.process.permission import Permission

# On a bus that nobody outside this OS process can reach there is no key of the system: this stands
# for it. It is never written anywhere.
_HERE = secrets.token_bytes(32)


def secret_of(permission: Permission | None) -> bytes | None:
    """Return the key of the system, as far as this party has it; None: it has not."""
    if permission is None:
        return None
    if permission.key is not None:
        return permission.key.secret
    return _HERE if permission.is_open else None


def issuer_of(
    permission: Permission | None, settings: IdentitySettings, sysname: str
) -> Issuer | None:
    """Return the issuer that this party is, as it has the key of the system; None: it has not."""
    secret = secret_of(permission)
    if secret is None:
        return None
    return Issuer.of_system(secret, sysname, audience=settings.audience)


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
    own = issuer_of(permission, settings, sysname)
    if own is not None:
        keys.append(own.public)
    limits = Limits(settings.audience or sysname, settings.leeway, settings.max_life)
    return Verifier(keys, limits, size=settings.cache, revocations=revocations)
