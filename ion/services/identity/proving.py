"""How actors prove who they are: secrets, and assertions signed with a key of their own.

An assertion (RFC 7523) is a token that an actor has signed: ``iss`` and ``sub`` are the actor,
``aud`` is ``<sysname>/identity``, it lives for five minutes at most, and its ``jti`` is used once.
No private key ever leaves its owner.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable

from ion.base.errors import ConfigurationError, Unauthorized
from ion.process.identity.crypto import Ed25519PrivateKey
from ion.process.identity.identity import Identity
from ion.process.identity.keys import PublicKey, key_id, public_key
from ion.process.identity.tokens import Limits, key_of, new_id, read, refused, write
from ion.services.identity.model import Credential, KeptCredential

ASSERTION_LIFE = 300.0  # seconds, at most
ASSERTED = 60.0  # seconds that one made here is good for
SECRET_BYTES = 32
_LINE_BYTES = 16
_SALT = 16
# About 20 ms and 16 MB: what is guessed has 256 bits of its own already.
_COST = {"n": 1 << 14, "r": 8, "p": 1, "maxmem": 64 << 20, "dklen": 32}
_NOBODY = b"\0" * _SALT


def assertion(key: Ed25519PrivateKey, actor: str, sysname: str, *, life: float = ASSERTED) -> str:
    """Return the assertion of an actor, for the identity service of a system.

    :param life: seconds.
    """
    now = time.time()
    identity = Identity(
        actor=actor,
        issuer=actor,
        audience=(audience_of(sysname),),
        issued=now,
        expires=now + life,
        id=new_id(),
    )
    return write(key, key_id(key.public_key()), identity)


def audience_of(sysname: str) -> str:
    """Return whom assertions are for."""
    return f"{sysname}/identity"


def asserted(
    text: str, credentials: Iterable[KeptCredential], actor: str, sysname: str, leeway: float
) -> Identity:
    """Return what an actor's assertion says, checked with the keys of that actor.

    :raises Unauthorized: it is not good; the message says why.
    """
    keys: dict[str, PublicKey] = {}
    for each in credentials:
        if each.told.kind == "key":
            with contextlib.suppress(ConfigurationError):  # kept when less was asked of a key
                key = public_key(each.told.public, "a credential", issuer=actor)
                keys[key.id] = key
    limits = Limits(audience_of(sysname), leeway, ASSERTION_LIFE)
    identity = read(text, key_of(text, keys), limits, time.time())
    if identity.actor != actor:
        message = f"this assertion is of {identity.actor!r}, not of {actor!r}"
        raise refused(message, "subject")
    return identity


def new_secret(id: str, label: str) -> tuple[str, KeptCredential]:
    """Return a new secret, and what is kept of it. Takes about 20 ms: to be run in a thread."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    salt = secrets.token_bytes(_SALT)
    told = Credential(id, "secret", label, "", time.time())
    return secret, KeptCredential(told, salt, _hash(secret, salt))


def matching(secret: str, credentials: Iterable[KeptCredential]) -> bool:
    """Tell whether a secret is one of these; takes as long where there are none.

    To be run in a thread.
    """
    found = False
    kept = [each for each in credentials if each.told.kind == "secret"]
    for each in kept:
        found |= hmac.compare_digest(_hash(secret, each.salt), each.hash)
    if not kept:
        _hash(secret, _NOBODY)
    return found


def new_line(session: str) -> str:
    """Return what all refresh texts of a new session begin with.

    By it a text that is long over is known for one that was given once, and not made up: who only
    knows the session's name cannot end it.
    """
    return f"{session}.{secrets.token_urlsafe(_LINE_BYTES)}"


def line_of(refresh: str) -> str:
    """Return what a refresh text begins with."""
    return refresh.rpartition(".")[0]


def new_refresh(line: str) -> str:
    """Return the next refresh text of a session."""
    return f"{line}.{secrets.token_urlsafe(SECRET_BYTES)}"


def refresh_hash(text: str) -> bytes:
    """Return what is kept of a refresh text or its line, which cannot be guessed: without salt."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def wrong() -> Unauthorized:
    """Return the one answer to all that does not prove anything, which tells no more."""
    message = "this actor is not known, or has no such credential, or is disabled"
    return refused(message, "credential")


def _hash(secret: str, salt: bytes) -> bytes:
    given = secret.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(given, salt=salt, **_COST)
