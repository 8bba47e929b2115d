"""Actors, their roles and credentials: the part of the identity service that administrates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from ion.base.errors import BadRequest, NotFound
from ion.base.ids import new_mark
from ion.process.identity.authenticator import THE_SYSTEM
from ion.process.identity.keys import public_key, written
from ion.process.identity.revocations import ACTOR
from ion.services.identity import proving
from ion.services.identity.authorization import (
    answered,
    checked_actor,
    checked_roles,
    checked_text,
)
from ion.services.identity.base import IdentityBase
from ion.services.identity.model import (
    Actor,
    Actors,
    Credential,
    KeptActor,
    KeptCredential,
    Kind,
    NewSecret,
)

MAX_CREDENTIALS = 32
LIMIT = 100


class ActorOps(IdentityBase):
    """Ops on actors. Those that change one need the role ADMIN, or the key of the system."""

    async def op_add_actor(
        self, actor: str, kind: Kind = "user", name: str = "", roles: list[str] | None = None
    ) -> Actor:
        """Add an actor; 409 where there is one of that id."""
        with answered():
            by = await self.administrator()
            added = Actor(
                checked_actor(actor),
                kind,
                checked_text(name, "a name"),
                checked_roles(roles or (), by),
                True,
                time.time(),
            )
            await self.accounts.add(KeptActor(added))
            return added

    async def op_actor(self, actor: str) -> Actor:
        """Return an actor; 404 where there is none. For administrators, and the actor."""
        with answered():
            await self.owner_of(actor)
            return (await self.accounts.actor(actor)).actor

    async def op_actors(
        self, kind: Kind | None = None, limit: int = LIMIT, cursor: str | None = None
    ) -> Actors:
        """Return actors in the order of their ids. For administrators."""
        with answered():
            await self.administrator()
            return await self.accounts.actors(kind, limit, cursor)

    async def op_remove_actor(self, actor: str) -> bool:
        """Remove an actor; their tokens and sessions end. Return whether there was one."""
        with answered():
            await self.administrator()
            try:
                await self.end_of(actor, "the actor was removed", _with(enabled=False))
            except NotFound:
                return False
            # what has ended their tokens must outlive them
            await self.accounts.revoke(self.ending(ACTOR, actor, "the actor was removed"))
            await self.accounts.end_sessions_of(actor)
            return await self.accounts.remove(actor)

    async def op_enable(self, actor: str, enabled: bool = True) -> Actor:
        """Let an actor in again; or keep them out: their tokens and sessions end."""
        with answered():
            await self.administrator()
            change = _with(enabled=enabled)
            if enabled:
                return (await self.accounts.change(actor, change)).actor
            kept = await self.end_of(actor, "the actor was disabled", change)
            await self.accounts.end_sessions_of(actor)
            return kept.actor

    async def op_grant(self, actor: str, roles: list[str]) -> Actor:
        """Give an actor roles. Their tokens so far end; a session gets one that has the roles."""
        with answered():
            given = checked_roles(roles, await self.administrator())
            return await self._change_roles(actor, add=given)

    async def op_withdraw(self, actor: str, roles: list[str]) -> Actor:
        """Take roles from an actor. Their tokens so far end, at once and everywhere."""
        with answered():
            await self.administrator()
            return await self._change_roles(actor, take=tuple(roles))

    async def _change_roles(
        self, actor: str, add: tuple[str, ...] = (), take: tuple[str, ...] = ()
    ) -> Actor:
        def change(kept: KeptActor) -> KeptActor:
            roles = tuple(sorted({*kept.actor.roles, *add}.difference(take)))
            return _with(roles=checked_roles(roles, THE_SYSTEM))(kept)

        kept = await self.accounts.actor(actor)
        if change(kept) != kept:
            kept = await self.end_of(actor, "the actor's roles were changed", change)
        return kept.actor

    # credentials

    async def op_credentials(self, actor: str) -> list[Credential]:
        """Return how an actor can prove who they are. For administrators, and the actor."""
        with answered():
            await self.owner_of(actor)
            return [each.told for each in (await self.accounts.actor(actor)).credentials]

    async def op_add_key(self, actor: str, public: str, label: str = "") -> Credential:
        """Add a public key of an actor (Ed25519, base64url or PEM). As ``credentials``.

        A private key has no business here, and is refused.
        """
        with answered():
            await self.owner_of(actor)
            if "PRIVATE" in public:
                message = "this is a private key: keep it, and give the public one"
                raise BadRequest(message)
            text = written(public_key(public, "the key").key)
            told = Credential(new_mark(), "key", checked_text(label, "a label"), text, time.time())
            return await self._add(actor, KeptCredential(told))

    async def op_add_secret(self, actor: str, label: str = "") -> NewSecret:
        """Make a secret for an actor, which is told now and never again. As ``credentials``."""
        with answered():
            await self.owner_of(actor)
            label = checked_text(label, "a label")
            secret, kept = await asyncio.to_thread(proving.new_secret, new_mark(), label)
            await self._add(actor, kept)
            return NewSecret(kept.told.id, actor, secret)

    async def op_remove_credential(self, actor: str, id: str) -> None:
        """Remove a credential; sessions that it has begun end. 404 where there is none."""
        with answered():
            await self.owner_of(actor)

            def change(kept: KeptActor) -> KeptActor:
                left = tuple(each for each in kept.credentials if each.told.id != id)
                if len(left) == len(kept.credentials):
                    message = f"actor {actor!r} has no credential {id!r}"
                    raise NotFound(message)
                return msgspec.structs.replace(kept, credentials=left)

            await self.end_of(actor, "a credential was removed", change)
            await self.accounts.end_sessions_of(actor)

    async def _add(self, actor: str, credential: KeptCredential) -> Credential:
        def change(kept: KeptActor) -> KeptActor:
            if len(kept.credentials) >= MAX_CREDENTIALS:
                message = f"an actor has at most {MAX_CREDENTIALS} credentials: remove one"
                raise BadRequest(message)
            return msgspec.structs.replace(kept, credentials=(*kept.credentials, credential))

        await self.accounts.change(actor, change)
        return credential.told


def _with(**changes: object) -> Callable[[KeptActor], KeptActor]:
    """Return what changes an actor so."""

    def change(kept: KeptActor) -> KeptActor:
        actor = msgspec.structs.replace(kept.actor, **changes)
        return msgspec.structs.replace(kept, actor=actor)

    return change
