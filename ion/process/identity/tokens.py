"""Tokens: compact JSON Web Tokens (RFC 7519), signed with Ed25519 (``EdDSA``) and nothing else.

A token says who (``sub``), with which ``roles``, for whom (``aud``), from whom (``iss``), from
``iat`` until ``exp``, and has an id (``jti``). One that was made for another actor to act with says
by whom it is used (``act``, a chain, RFC 8693), and what it was derived from (``root``). Pure: time
and keys are given.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ion.base.errors import BadRequest, Unauthorized
from ion.process.identity.crypto import Ed25519PrivateKey, jwt
from ion.process.identity.identity import SYSTEM, SYSTEM_ISSUER, SYSTEM_ROLE, Identity
from ion.process.identity.keys import PublicKey

MAX_TOKEN = 8192  # bytes
MAX_CHAIN = 8
MAX_ROLES = 64
MAX_NAME = 255
ALGORITHM = "EdDSA"
_NEEDED = ("iss", "sub", "aud", "iat", "exp", "jti")
_OWN = frozenset((*_NEEDED, "nbf", "roles", "act", "root"))
_AGAIN = "get a new one"
_OPTIONS = {
    "require": list(_NEEDED),
    "verify_aud": False,  # these are judged below, where the message can say more
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


class Limits(NamedTuple):
    """What a token is held against.

    :ivar audience: that it must be made for.
    :ivar leeway: how far clocks may differ, seconds.
    :ivar max_life: of a token, seconds.
    """

    audience: str
    leeway: float = 10.0
    max_life: float = 86_400.0


def refused(message: str, reason: str) -> Unauthorized:
    """Return the refusal of a token."""
    return Unauthorized(message, details={"reason": reason})


def write(
    key: Ed25519PrivateKey,
    key_id: str,
    identity: Identity,
    claims: Mapping[str, Any] | None = None,
) -> str:
    """Return a token that says what ``identity`` is, and ``claims`` beside that.

    :raises BadRequest: a claim is one of those that the identity gives, or it gets too large.
    """
    told = {
        "iss": identity.issuer,
        "sub": identity.actor,
        "aud": list(identity.audience),
        "iat": identity.issued,
        "exp": identity.expires,
        "jti": identity.id,
        "roles": sorted(identity.roles),
    }
    if identity.chain:
        told["act"] = _nested(identity.chain)
    if identity.root and identity.root != identity.id:
        told["root"] = identity.root
    more = {**identity.claims, **(claims or {})}
    if not _OWN.isdisjoint(more):
        message = f"claims {sorted(_OWN.intersection(more))} are the token's own"
        raise BadRequest(message)
    token = jwt.encode({**more, **told}, key, ALGORITHM, headers={"kid": key_id})
    if len(token) > MAX_TOKEN:
        message = f"a token of {len(token)} bytes is over {MAX_TOKEN}: give fewer roles or claims"
        raise BadRequest(message)
    return token


def new_id() -> str:
    """Return an id for a token."""
    return secrets.token_urlsafe(12)


def key_of(token: str, keys: Mapping[str, PublicKey]) -> PublicKey:
    """Return the key that a token names.

    :raises Unauthorized: it is no token, says another algorithm, or a key that is not trusted.
    """
    if len(token) > MAX_TOKEN:
        message = f"a token of {len(token)} bytes is over the limit of {MAX_TOKEN}"
        raise refused(message, "oversized")
    header = _header(token)
    if header.get("alg") != ALGORITHM:
        message = f"this token is signed by {header.get('alg')!r:.40}: only {ALGORITHM} is taken"
        raise refused(message, "algorithm")
    if not header.keys() <= {"alg", "kid", "typ"}:
        message = f"this token's header has more than alg, kid and typ: {sorted(header)!r:.100}"
        raise refused(message, "malformed")
    kid = header.get("kid")
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        message = (
            f"this token is signed with key {kid!r:.60}, which is not trusted here: is it of "
            "another system? (else put the issuer's public key into identity.keys)"
        )
        raise refused(message, "unknown key")
    return key


def read(token: str, key: PublicKey, limits: Limits, now: float) -> Identity:
    """Return what a token says, once all of it was checked.

    :param now: seconds since 1970.
    :raises Unauthorized: it is altered or forged, not valid now, or not made for this audience.
    """
    try:
        claims = jwt.decode(token, key.key, algorithms=[ALGORITHM], options=_OPTIONS)  # type: ignore[arg-type]
    except jwt.InvalidSignatureError:
        message = f"this token was altered, or forged: its signature is not of key {key.id!r}"
        raise refused(message, "signature") from None
    except jwt.MissingRequiredClaimError as error:
        message = f"this token lacks claim {error.claim!r}"
        raise refused(message, "claims") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        message = f"this token cannot be read: {str(error)[:100]}"
        raise refused(message, "malformed") from None
    identity = _identity(claims)
    if key.issuer is not None and identity.issuer != key.issuer:
        message = f"key {key.id!r} signs for {key.issuer!r}, not for {identity.issuer!r}"
        raise refused(message, "issuer")
    if not key.is_systems and _is_systems(identity):
        message = f"key {key.id!r} is not the system's, and cannot sign what is the system's"
        raise refused(message, "issuer")
    _judge(identity, claims.get("nbf", identity.issued), limits, now)
    return identity


def judge_time(identity: Identity, limits: Limits, now: float) -> None:
    """Check that a token has not ended.

    :raises Unauthorized: it has.
    """
    if identity.expires + limits.leeway <= now:
        ago = now - identity.expires
        message = f"the token of {identity.actor!r} expired {ago:.0f} s ago: {_AGAIN}"
        raise refused(message, "expired")


def _is_systems(identity: Identity) -> bool:
    """Tell whether a token says what only who has the key of the system may say."""
    names = (identity.actor, *identity.chain)
    return identity.issuer == SYSTEM_ISSUER or SYSTEM in names or SYSTEM_ROLE in identity.roles


def _judge(identity: Identity, begins: Any, limits: Limits, now: float) -> None:
    judge_time(identity, limits, now)
    if not _is_number(begins) or max(begins, identity.issued) - limits.leeway > now:
        message = f"the token of {identity.actor!r} is not valid yet: are the clocks right?"
        raise refused(message, "early")
    if identity.expires - identity.issued > limits.max_life:
        message = (
            f"the token of {identity.actor!r} was made for "
            f"{identity.expires - identity.issued:.0f} s: at most {limits.max_life:.0f} are taken"
        )
        raise refused(message, "life")
    own = limits.audience
    if not any(each == own or each.startswith(f"{own}/") for each in identity.audience):
        message = (
            f"this token was made for {', '.join(identity.audience)[:100]!r}, and this is {own!r}"
        )
        raise refused(message, "audience")


def _identity(claims: Mapping[str, Any]) -> Identity:
    """Return what the claims say.

    :raises Unauthorized: one of them is of another type than it must be.
    """
    audience = claims["aud"]
    audience = [audience] if isinstance(audience, str) else audience
    roles, chain = claims.get("roles", []), _chain(claims.get("act"))
    mark, root = claims["jti"], claims.get("root", claims["jti"])
    good = (
        all(_is_name(claims[name]) for name in ("iss", "sub"))
        and _is_name(mark)
        and _is_name(root)
        and _are_names(audience)
        and _are_names(roles)
        and all(_is_number(claims[name]) for name in ("iat", "exp"))
        and chain is not None
    )
    if not good or chain is None:
        message = "this token has a claim of another type than it must have, or too many values"
        raise refused(message, "claims")
    return Identity(
        actor=claims["sub"],
        roles=frozenset(roles),
        claims={name: value for name, value in claims.items() if name not in _OWN},
        issuer=claims["iss"],
        audience=tuple(audience),
        issued=float(claims["iat"]),
        expires=float(claims["exp"]),
        id=mark,
        root=root,
        chain=chain,
    )


def _header(token: str) -> dict[str, Any]:
    """Return the header of a token whose three parts are base64url in the one way there is.

    Another way to write the same bytes would make a second token of one.

    :raises Unauthorized: it is no token.
    """
    parts = token.split(".")
    try:
        raw = [base64.b64decode(part + "=" * (-len(part) % 4), b"-_", True) for part in parts]
        exact = [base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in raw]
        header = json.loads(raw[0]) if exact == parts and len(parts) == 3 else None  # noqa: PLR2004
    except (ValueError, binascii.Error, RecursionError):
        header = None
    if not isinstance(header, dict):
        message = "this is no token: a token is three parts, base64url, with dots between"
        raise refused(message, "malformed")
    return header


def _nested(chain: Sequence[str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for actor in reversed(chain):
        told = {"sub": actor, "act": told} if told else {"sub": actor}
    return told


def _chain(act: Any) -> tuple[str, ...] | None:
    """Return who acts, as the claim says; None: it is none, or longer than is allowed."""
    chain: list[str] = []
    while act is not None:
        if len(chain) == MAX_CHAIN or not isinstance(act, dict) or not _is_name(act.get("sub")):
            return None
        chain.append(act["sub"])
        act = act.get("act")
    return tuple(chain)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME


def _are_names(values: Any) -> bool:
    return isinstance(values, list) and len(values) <= MAX_ROLES and all(map(_is_name, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e12 < value < 1e12  # noqa: PLR2004


def ordered(names: Iterable[str]) -> str:
    """Return names as a message shows them."""
    return ", ".join(sorted(names)) or "none"
