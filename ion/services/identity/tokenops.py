"""Tokens: the part of the identity service that gives them to who proves who they are."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from ion.base.errors import ApplicationError, Conflict, NotFound, Unauthorized
from ion.process.identity.keys import key_set
from ion.process.identity.revocation_catch_up import Page, Place, in_order, page_of
from ion.process.identity.revocations import ACTOR, ONE, Revocation
from ion.process.identity.tokens import refused
from ion.process.ops import command
from ion.services.identity import proving
from ion.services.identity.authorization import (
    answered,
    caller,
    checked_actor,
    checked_text,
)
from ion.services.identity.base import IdentityBase
from ion.services.identity.model import Actor, Grant, KeptActor, KeptSession, Who
from ion.services.identity.throttle import Throttle

log = logging.getLogger(__name__)
GRACE = 10.0  # seconds in which a refresh may be tried again, as its answer was lost
MAX_TOGETHER = 2  # secrets that are hashed at a time


class TokenOps(IdentityBase):
    """Ops that give tokens, and take them back."""

    _life: float = 900.0
    _session_life: float = 43_200.0

    def begin_tokens(self) -> None:
        """Make what failures are counted in."""
        self._throttle = Throttle()
        self._ordered: list[tuple[Place, Revocation]] = []
        self._hashing = asyncio.Semaphore(MAX_TOGETHER)

    async def op_authenticate(
        self,
        actor: str,
        secret: str = "",
        assertion: str = "",
        roles: list[str] | None = None,
        session: bool = True,
    ) -> Grant:
        """Give an actor a token: with a secret of theirs, or an assertion signed with their key.

        :param roles: fewer than the actor has; None: all.
        :param session: whether it can be renewed.
        """
        with answered():
            kept = await self._proved(actor, secret, assertion)
            begun = None
            if session:
                begun = KeptSession(
                    secrets.token_hex(8), actor, b"", expires=time.time() + self._session_life
                )
            return await self._granted(kept.actor, roles, begun)

    async def op_refresh(self, refresh: str, roles: list[str] | None = None) -> Grant:
        """Give the next token of a session, with the actor's present roles.

        A refresh text is good once. Within ten seconds it may be tried again, as the answer was
        lost: what that answer gave is good no longer then. One that comes again later, or after
        its successor was used, was stolen, or so it must be taken: the session ends.
        """
        with answered():
            found = await self.accounts.session(refresh.partition(".")[0][:100])
            if found is None or not _is_of(refresh, found[0]):
                message = "this session is over, or never was: authenticate again"
                raise refused(message, "session")
            session, revision = found
            now = time.time()
            if not _is_good(refresh, session, now):
                await self.accounts.end_session(session.id)
                log.warning("a refresh of %r came twice: its session is ended", session.actor)
                message = "this refresh was used before: the session is ended; authenticate again"
                raise refused(message, "reuse")
            kept = await self._known(session.actor)
            if session.expires <= now or kept is None or not kept.actor.enabled:
                await self.accounts.end_session(session.id)
                message = "this session is over: authenticate again"
                raise refused(message, "session")
            return await self._granted(kept.actor, roles, session, revision, refresh)

    async def op_end_session(self, refresh: str) -> bool:
        """End a session, by its refresh text; return whether there was one."""
        with answered():
            found = await self.accounts.session(refresh.partition(".")[0][:100])
            if found is None or found[0].hash != proving.refresh_hash(refresh):
                return False
            return await self.accounts.end_session(found[0].id)

    async def op_exchange(
        self,
        token: str,
        roles: list[str] | None = None,
        audience: list[str] | None = None,
        life: float | None = None,
        by: str = "",
    ) -> Grant:
        """Give whoever calls a token to act for who ``token`` is of: never more than that one.

        :param roles: some of its roles; None: all.
        :param audience: ``<sysname>/<service>`` for one service only; None: as before.
        :param life: seconds; it ends with ``token`` at the latest.
        :param by: who is to act; for who has the key of the system. Else it is the caller.
        """
        with answered():
            who = await self.known(is_delegating=bool(by))
            origin = self._endpoint.auth.identify(token)
            acts = checked_actor(by) if by else (*who.chain, who.actor)[0]
            lasts = self._life if life is None else max(min(life, self._max_life), 1.0)
            identity = self.issuer.delegated(
                origin, acts, roles=roles, audience=audience, life=lasts
            )
            text = self.issuer.write(identity)
            return Grant(text, identity.actor, tuple(sorted(identity.roles)), identity.expires)

    async def op_revoke(
        self, token: str = "", token_id: str = "", actor: str = "", reason: str = ""
    ) -> int:
        """Revoke a token (itself, or by its id), or all that an actor has so far.

        What was derived from it goes with it. Return how many containers have heard; the others
        are reminded.
        """
        with answered():
            checked_text(reason, "a reason")
            if token:
                identity = self._endpoint.auth.identify(token)
                await self.owner_of(identity.actor)
                return await self.revoke(ONE, identity.id, reason)
            if actor:
                await self.owner_of(actor)
                heard = await self.revoke(ACTOR, actor, reason)
                await self.accounts.end_sessions_of(actor)
                return heard
            await self.administrator()
            return await self.revoke(ONE, token_id, reason)

    async def op_revocations(self) -> list[dict[str, Any]]:
        """Return what is revoked. For administrators."""
        with answered():
            await self.administrator()
            found = await self.accounts.revocations(time.time())
            return [msgspec.to_builtins(each) for each in found[:1000]]

    @command
    async def op_revoked(self, nonce: str, after: Place | None = None) -> Page:
        """Return a page of what is revoked to a container, sealed.

        :param nonce: what the seal is to be made over.
        :param after: where the page before has ended.
        """
        if after is None or not self._ordered:
            with answered():
                self._ordered = in_order(await self.accounts.revocations(time.time()))
        return page_of(self._endpoint.permission, nonce, self._ordered, after)

    async def op_whoami(self) -> Who:
        """Return whom the call was found to be of."""
        who, mode = caller(), self._endpoint.auth.mode
        if who is None:
            return Who("", verify=mode)
        roles = tuple(sorted(who.roles))
        expires = who.expires if who.expires < 1e12 else None  # noqa: PLR2004
        return Who(who.actor, roles, who.chain, who.issuer, who.audience, expires, mode)

    async def op_keys(self) -> dict[str, Any]:
        """Return the public keys that the tokens can be checked with: a JSON Web Key Set."""
        return key_set([self.issuer.public.key])

    # helpers

    async def _proved(self, actor: str, secret: str, assertion: str) -> KeptActor:
        """Return an actor who has proved who they are.

        :raises Unauthorized: they have not; the message does not say what was wrong.
        :raises ApplicationError: 429, too many have tried.
        """
        if bool(secret) == bool(assertion):
            message = "give a secret, or an assertion"
            raise ApplicationError(message, type="BadRequest")
        kept = await self._known(actor)
        credentials = kept.credentials if kept is not None else ()
        if secret:
            self._throttle.check(actor)
            async with self._hashing:
                is_good = await asyncio.to_thread(proving.matching, secret[:1000], credentials)
        else:
            is_good = await self._is_asserted(actor, assertion, kept)
        if not is_good or kept is None or not kept.actor.enabled:
            self._throttle.failed(actor)
            raise proving.wrong()
        self._throttle.forget(actor)
        return kept

    async def _is_asserted(self, actor: str, text: str, kept: KeptActor | None) -> bool:
        sysname = self._endpoint.namespace.sysname
        credentials = kept.credentials if kept is not None else ()
        try:
            said = proving.asserted(text, credentials, actor, sysname, self.leeway)
        except Unauthorized as error:
            if error.details.get("reason") == "unknown key":
                return False
            raise
        if not await self.accounts.use(actor, said.id, said.expires + self.leeway):
            message = "this assertion was used before: sign a new one"
            raise refused(message, "reuse")
        return True

    async def _known(self, actor: str) -> KeptActor | None:
        try:
            return await self.accounts.actor(actor)
        except NotFound:
            return None

    async def _granted(
        self,
        actor: Actor,
        roles: Iterable[str] | None,
        session: KeptSession | None,
        revision: int = 0,
        used: str = "",
    ) -> Grant:
        """Return a grant, with what gives the next one kept.

        :param used: the refresh text that it is given for; empty: the session begins.
        :raises ApplicationError: 403, the actor has not these roles.
        """
        wanted = actor.roles if roles is None else tuple(sorted(set(roles)))
        if not set(wanted) <= set(actor.roles):
            more = ", ".join(sorted(set(wanted) - set(actor.roles)))
            message = f"actor {actor.id!r} has not the roles {more}"
            raise ApplicationError(message, 403, "Forbidden", {"reason": "roles"})
        identity = self.issuer.identity(actor.id, wanted, life=self._life)
        told = {"kind": actor.kind, **({"name": actor.name} if actor.name else {})}
        grant = Grant(self.issuer.write(identity, told), actor.id, wanted, identity.expires)
        if session is None:
            return grant
        refresh, kept = _renewed(session, used)
        try:
            await self.accounts.keep_session(kept, revision)
        except Conflict as error:
            message = "this session was renewed, or ended, at the same moment: authenticate again"
            raise refused(message, "session") from error
        return msgspec.structs.replace(
            grant, refresh=refresh, session=session.id, session_expires=session.expires
        )

    @property
    def leeway(self) -> float:
        """How far clocks may differ, seconds."""
        return self._endpoint.auth.leeway


def _is_of(refresh: str, session: KeptSession) -> bool:
    """Tell whether a text is a refresh that a session has given, now or ever."""
    if proving.refresh_hash(refresh) in (session.hash, session.before):
        return True
    return proving.refresh_hash(proving.line_of(refresh)) == session.line


def _is_good(refresh: str, session: KeptSession, now: float) -> bool:
    """Tell whether a refresh of a session gives a grant: the last one, or one tried again."""
    digest = proving.refresh_hash(refresh)
    if digest == session.hash:
        return True
    return digest == session.before and now - session.renewed <= GRACE


def _renewed(session: KeptSession, used: str) -> tuple[str, KeptSession]:
    """Return the next refresh text of a session, and what is kept of it."""
    line = proving.line_of(used) if session.line else proving.new_line(session.id)
    refresh = proving.new_refresh(line)
    kept = msgspec.structs.replace(
        session, hash=proving.refresh_hash(refresh), line=proving.refresh_hash(line)
    )
    before = proving.refresh_hash(used) if used else b""
    if before != session.before or not used:  # else tried again: that may last as long as it might
        kept = msgspec.structs.replace(kept, before=before, renewed=time.time())
    return refresh, kept
