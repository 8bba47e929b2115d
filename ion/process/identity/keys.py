"""Keys that tokens are signed with, and the public ones that they are checked with: Ed25519.

A private key is derived from the key of the system (:mod:`ion.process.command.key`), so that all
its containers make and check tokens without asking anybody; or it is in a file of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ion.base.errors import ConfigurationError
from ion.base.files import OTHERS_WRITE, read_closed, write_whole
from ion.process.identity.crypto import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
    UnsupportedAlgorithm,
    serialization,
)
from ion.process.identity.ed25519 import fault_in

_DOMAIN = b"ion identity v1\n"
_MAX_BYTES = 262_144
_SIZE = 32  # bytes of a public key


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that tokens are checked with.

    :ivar id: what tokens name it by (``kid``).
    :ivar issuer: the only one that it signs for; None: any.
    :ivar place: where it was found.
    :ivar is_systems: whether it is derived from the key of the system: no other can sign what is
        the system's.
    """

    id: str
    key: Ed25519PublicKey
    issuer: str | None
    place: str
    is_systems: bool = False


def key_id(key: Ed25519PublicKey) -> str:
    """Return what a public key is known by: the thumbprint of RFC 7638, cut to 16 letters."""
    told = {"crv": "Ed25519", "kty": "OKP", "x": written(key)}
    thumb = hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).digest()
    return _letters(thumb)[:16]


def written(key: Ed25519PublicKey) -> str:
    """Return a public key as text, base64url."""
    return _letters(key.public_bytes_raw())


def public_key(text: str, place: str = "identity.keys", issuer: str | None = None) -> PublicKey:
    """Return the public key that is written as 43 letters, base64url, or as PEM.

    :raises ConfigurationError: it is not, or no private key belongs to it.
    """
    try:
        if "-----BEGIN" in text:
            key = serialization.load_pem_public_key(text.encode())
        else:
            raw = base64.urlsafe_b64decode(text.strip() + "==")
            if len(raw) != _SIZE:
                raise ValueError(raw)
            key = Ed25519PublicKey.from_public_bytes(raw)
        if not isinstance(key, Ed25519PublicKey):
            raise TypeError(key)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm) as error:
        message = f"{place}: {text[:60]!r} is no public key of the kind Ed25519 (base64url, or PEM)"
        raise ConfigurationError(message) from error
    fault = fault_in(key.public_bytes_raw())
    if fault:
        message = f"{place}: {text[:60]!r} is no public key to be trusted: {fault}"
        raise ConfigurationError(message)
    return PublicKey(key_id(key), key, issuer, place)


def private_key(pem: str, place: str) -> Ed25519PrivateKey:
    """Return the private key that is written as PEM, without a password.

    :raises ConfigurationError: it is none; the message does not repeat it.
    """
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"{place} holds no private key of the kind Ed25519 (PEM, without a password)"
        raise ConfigurationError(message) from error
    return key


def pem_of(key: Ed25519PrivateKey) -> str:
    """Return a private key as PEM, to be kept by whom it belongs to."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def derived(secret: bytes, sysname: str) -> Ed25519PrivateKey:
    """Return the key that the containers of a system sign with, from the key of the system."""
    seed = hmac.new(secret, _DOMAIN + sysname.encode(), hashlib.sha256).digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


def found_or_made(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file; make it, for this user alone, where there is none.

    :raises ConfigurationError: it is open to others, no key, or cannot be read or made.
    """
    place = f"the key file {path}"
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, pem_of(Ed25519PrivateKey.generate()))
        return private_key(read_closed(path, _MAX_BYTES, place).decode("utf-8", "replace"), place)
    except OSError as error:
        message = f"{place} cannot be read, or made: {error.strerror}"
        raise ConfigurationError(message) from error


def key_set(keys: Iterable[Ed25519PublicKey]) -> dict[str, Any]:
    """Return public keys as a JSON Web Key Set (RFC 7517)."""
    return {"keys": [_jwk(key) for key in keys]}


def _jwk(key: Ed25519PublicKey) -> dict[str, str]:
    told = {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA"}
    return {**told, "kid": key_id(key), "x": written(key)}


def read_key_set(path: Path) -> list[PublicKey]:
    """Return the public keys in a file that is a JSON Web Key Set; ``iss`` in a key binds it.

    :raises ConfigurationError: it cannot be read, is no such set, or others can write it.
    """
    place = f"the key set {path}"
    try:
        data = json.loads(read_closed(path, _MAX_BYTES, place, closed_to=OTHERS_WRITE))
        if not isinstance(data, dict) or not isinstance(data.get("keys"), list):
            raise TypeError
        return [_of_jwk(each, place) for each in data["keys"]]
    except OSError as error:
        message = f"{place} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error
    except (ValueError, TypeError, RecursionError) as error:
        message = f'{place} is no JSON Web Key Set: {{"keys": [{{"kty": "OKP", ...}}]}}'
        raise ConfigurationError(message) from error


def _of_jwk(jwk: Any, place: str) -> PublicKey:
    if not isinstance(jwk, dict) or (jwk.get("kty"), jwk.get("crv")) != ("OKP", "Ed25519"):
        message = f"{place}: a key is not of the kind Ed25519 (kty OKP, crv Ed25519)"
        raise ConfigurationError(message)
    if "d" in jwk:
        message = f"{place}: key {str(jwk.get('kid'))[:60]!r} is a private one: take out its 'd'"
        raise ConfigurationError(message)
    issuer = jwk.get("iss")
    found = public_key(str(jwk.get("x", "")), place, issuer if isinstance(issuer, str) else None)
    kid = jwk.get("kid")
    return PublicKey(kid if isinstance(kid, str) else found.id, found.key, found.issuer, place)


def _letters(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
