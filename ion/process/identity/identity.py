"""An identity: who a call is made for, as a token that was checked says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ion.observe.context import current_call

TOKEN = "token"  # noqa: S105 - the header's name
SYSTEM = "system"  # the actor that who has the key of the system is
SYSTEM_ROLE = "SYSTEM"
SYSTEM_ISSUER = "ion"  # who has the key of the system signs as this
ADMIN_ROLE = "ADMIN"
FOREVER = float("inf")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a call is made for.

    :ivar actor: whose call it is: a user's or a service's id.
    :ivar roles: that the actor has in it; a delegated token may have fewer than its origin.
    :ivar claims: what else the token says, by name.
    :ivar issuer: who has made the token.
    :ivar audience: for whom it was made: the sysname, or ``<sysname>/<service>``.
    :ivar issued: when it was made, seconds since 1970.
    :ivar expires: when it ends, seconds since 1970.
    :ivar id: of the token; root: of the one that it was derived from, or its own.
    :ivar chain: who acts for the actor, the one that acts now first; empty: the actor itself.
    """

    actor: str
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = {}
    issuer: str = ""
    audience: tuple[str, ...] = ()
    issued: float = 0.0
    expires: float = FOREVER
    id: str = ""
    root: str = ""
    chain: tuple[str, ...] = ()

    def has_role(self, *roles: str) -> bool:
        """Tell whether it has one of these roles."""
        return not self.roles.isdisjoint(roles)

    def __str__(self) -> str:
        return " for ".join((*self.chain, self.actor))


def current_identity() -> Identity | None:
    """Return whose call is being handled; None: nobody's who is known, or no call at all."""
    found = getattr(current_call.get(), "identity", None)
    return found if isinstance(found, Identity) else None
