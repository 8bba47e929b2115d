"""The issuer: makes tokens, and narrower ones of those that others have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from ion.base.errors import BadRequest, Forbidden
from ion.process.identity import tokens
from ion.process.identity.crypto import Ed25519PrivateKey
from ion.process.identity.identity import SYSTEM, SYSTEM_ISSUER, SYSTEM_ROLE, Identity
from ion.process.identity.keys import PublicKey, derived, key_id

LIFE = 900.0  # seconds


class Issuer:
    """Makes tokens with one private key.

    ::

        issuer = Issuer.of_system(secret, "demo")
        token = issuer.token("ada", ["OPERATOR"])

    :param name: what its tokens call it (``iss``).
    :param audience: whom they are for, where nothing else is said: a sysname.
    :param now: the clock, seconds since 1970.
    :param is_systems: its key is derived from the key of the system.
    :ivar public: what its tokens are checked with.
    """

    def __init__(
        self,
        key: Ed25519PrivateKey,
        audience: str,
        name: str,
        now: Callable[[], float] = time.time,
        *,
        is_systems: bool = False,
    ) -> None:
        self.audience = audience
        self.name = name
        self._key = key
        self._now = now
        public = key.public_key()
        self.public = PublicKey(key_id(public), public, None, "its issuer", is_systems)

    @classmethod
    def of_system(
        cls,
        secret: bytes,
        sysname: str,
        *,
        audience: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> Issuer:
        """Return the issuer that all who have the key of a system are.

        :param secret: the key of the system.
        """
        key = derived(secret, sysname)
        return cls(key, audience or sysname, SYSTEM_ISSUER, now, is_systems=True)

    def token(
        self,
        actor: str,
        roles: Iterable[str] = (),
        *,
        life: float = LIFE,
        audience: Iterable[str] | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """Return a token of an actor.

        :param life: seconds.
        :param audience: by default its own.
        :raises BadRequest: it cannot be made: no name, too many roles, claims that are its own.
        """
        return self.write(self.identity(actor, roles, life=life, audience=audience), claims)

    def identity(
        self,
        actor: str,
        roles: Iterable[str] = (),
        *,
        life: float = LIFE,
        audience: Iterable[str] | None = None,
    ) -> Identity:
        """Return what a new token of an actor is to say; as :meth:`token`."""
        roles = frozenset(roles)
        if not 0 < len(actor) <= tokens.MAX_NAME or len(roles) > tokens.MAX_ROLES:
            message = (
                f"an actor is named with 1 to {tokens.MAX_NAME} letters, and has at most "
                f"{tokens.MAX_ROLES} roles"
            )
            raise BadRequest(message)
        now, mark = self._now(), tokens.new_id()
        return Identity(
            actor=actor,
            roles=roles,
            issuer=self.name,
            audience=tuple(audience or (self.audience,)),
            issued=now,
            expires=round(now + life, 3),
            id=mark,
            root=mark,
        )

    def write(self, identity: Identity, claims: Mapping[str, Any] | None = None) -> str:
        """Return the token that says what an identity is; errors as :meth:`token`."""
        return tokens.write(self._key, self.public.id, identity, claims)

    def system_token(self, container: str, *, life: float = LIFE) -> str:
        """Return the token of a container of the system itself."""
        return self.token(SYSTEM, (SYSTEM_ROLE,), life=life, claims={"container": container})

    def delegated(
        self,
        origin: Identity,
        by: str,
        *,
        roles: Iterable[str] | None = None,
        audience: Iterable[str] | None = None,
        life: float = LIFE,
    ) -> Identity:
        """Return what a token says with which ``by`` acts for an actor: no more than the origin.

        :param origin: what the actor's own token says, or one that was delegated already.
        :param roles: some of those of the origin; None: all.
        :param audience: some of those of the origin, or services of its system
            (``<sysname>/<service>``); None: all.
        :param life: seconds; it ends with the origin at the latest.
        :raises Forbidden: it asks for more than the origin has, or is too deep.
        """
        wanted = origin.roles if roles is None else frozenset(roles)
        if not wanted <= origin.roles:
            more = tokens.ordered(wanted - origin.roles)
            message = f"{by!r} cannot get roles from {origin.actor!r} that it has not: {more}"
            raise Forbidden(message, details={"reason": "roles"})
        for_whom = tuple(audience) if audience is not None else origin.audience
        outside = [each for each in for_whom if not _is_within(each, origin.audience)]
        if outside or not for_whom:
            message = f"a token for {tokens.ordered(origin.audience)} is not one for {outside}"
            raise Forbidden(message, details={"reason": "audience"})
        chain = (by, *origin.chain)
        if len(chain) > tokens.MAX_CHAIN:
            message = f"{len(chain)} act for {origin.actor!r}: at most {tokens.MAX_CHAIN} may"
            raise Forbidden(message, details={"reason": "depth"})
        now = self._now()
        return msgspec.structs.replace(
            origin,
            issuer=self.name,
            roles=wanted,
            audience=for_whom,
            issued=now,
            expires=min(round(now + life, 3), origin.expires),
            id=tokens.new_id(),
            chain=chain,
        )


def _is_within(audience: str, allowed: Iterable[str]) -> bool:
    return any(audience == each or audience.startswith(f"{each}/") for each in allowed)
