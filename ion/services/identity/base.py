"""What all parts of the identity service share: its accounts, the issuer of tokens, revocations."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from ion.base.errors import ApplicationError, ConfigurationError, IonError
from ion.observe.context import current_call
from ion.process.command.key import Key
from ion.process.identity.identity import SYSTEM, SYSTEM_ROLE, Identity
from ion.process.identity.issuer import Issuer
from ion.process.identity.revocation_broadcast import tell
from ion.process.identity.revocations import ACTOR, Revocation
from ion.process.identity.trust import issuer_of
from ion.process.process import Process
from ion.services.identity import authorization
from ion.services.identity.accounts import AccountStore
from ion.services.identity.model import KeptActor

log = logging.getLogger(__name__)
PATIENCE = 5.0  # seconds for all containers to say that they have heard


def _as_it_is(kept: KeptActor) -> KeptActor:
    return kept


class IdentityBase(Process):
    """Base of the parts of the service; holds nothing that is not in the store.

    :ivar accounts: what is kept.
    """

    accounts: AccountStore
    _max_life: float = 86_400.0
    _own_issuer: Issuer | None = None  # of a key of its own
    _systems: tuple[Key | None, Issuer] | None = None  # with the key that it is of

    @property
    def issuer(self) -> Issuer:
        """What makes the tokens: of its own key, else of the system's, as that is now.

        :raises ConfigurationError: there is none.
        """
        if self._own_issuer is not None:
            return self._own_issuer
        endpoint = self._endpoint
        permission = endpoint.permission
        key = permission.key if permission is not None else None
        if self._systems is None or self._systems[0] is not key:
            found = issuer_of(permission, endpoint.auth.settings, endpoint.namespace.sysname)
            if found is None:
                message = "there is no key of the system to sign tokens with: set agent.key_file"
                raise ConfigurationError(message)
            self._systems = key, found
        return self._systems[1]

    # who asks

    async def administrator(self) -> Identity:
        """Return whose the call is, who may administrate.

        :raises ApplicationError: 403, they may not, or what they have signed was used before.
        """
        return await self._once(authorization.administrator())

    async def owner_of(self, actor: str) -> Identity:
        """Return whose the call is: the actor's, or who may administrate; errors likewise."""
        return await self._once(authorization.owner_of(actor))

    async def known(self, *, is_delegating: bool = False) -> Identity:
        """Return whose the call is; errors likewise.

        :param is_delegating: they speak for somebody else, as only the system may.
        """
        who = authorization.caller()
        if who is None or (is_delegating and not who.has_role(SYSTEM_ROLE)):
            raise authorization.forbidden(who, "is for who is known, and in their own name")
        return await self._once(who)

    async def _once(self, who: Identity) -> Identity:
        """Check that who has asked still waits, and that a signature was not used before.

        What has waited while no instance ran must not be done after what was asked since. And
        whoever reads a queue could say again what was signed, and have the answer.
        """
        late = authorization.lateness()
        if late > self._endpoint.auth.leeway:
            message = f"who has asked for this gave up {late:.0f} s ago: ask again"
            raise ApplicationError(message, 504, "DeadlineExceeded")
        nonce, until = authorization.signature_of()
        if nonce and not await self.accounts.use(SYSTEM, nonce, until):
            message = "this command was used before: give it again"
            raise ApplicationError(message, 403, "Forbidden", {"reason": "nonce"})
        return who

    # what was revoked

    def ending(self, kind: Literal["token", "actor"], name: str, reason: str) -> Revocation:
        """Return what revokes a token, or an actor's tokens so far.

        It is known for as long as one may be taken: where messages are signed, one that waits is
        judged by the token that was good when it was sent.
        """
        now = time.time()
        longest = self._max_life + getattr(self._endpoint.screen, "keeps", 0.0)
        return Revocation(kind, name, now, now + longest + 60.0, reason)

    async def end_of(
        self, actor: str, reason: str, change: Callable[[KeptActor], KeptActor] = _as_it_is
    ) -> KeptActor:
        """Change an actor, and end their tokens so far, in one write; then tell all containers.

        Whoever does not hear it is reminded.

        :raises NotFound: there is no such actor.
        """

        def ended(kept: KeptActor) -> KeptActor:
            changed = change(kept)
            revocation = self.ending(ACTOR, actor, reason)
            return msgspec.structs.replace(changed, ended=revocation)

        kept = await self.accounts.change(actor, ended)
        await self.announce([kept.ended] if kept.ended is not None else [])
        return kept

    async def revoke(self, kind: Literal["token", "actor"], name: str, reason: str) -> int:
        """Revoke a token, or an actor's tokens so far; return how many containers have heard."""
        revocation = self.ending(kind, name, reason)
        await self.accounts.revoke(revocation)
        return await self.announce([revocation])

    async def announce(self, told: Sequence[Revocation]) -> int:
        """Tell all containers what was revoked; return how many have heard. Never raises."""
        self._endpoint.auth.revoke(told)
        task = asyncio.create_task(self._tell(told), name="revocations")
        return await asyncio.shield(task)

    async def _tell(self, told: Sequence[Revocation]) -> int:
        current_call.set(None)  # it is the service's own call, and not of who has asked
        try:
            return await tell(self._endpoint, told, PATIENCE)
        except IonError as error:
            log.warning("what was revoked is not told yet, and will be: %s", error)
            return 0
