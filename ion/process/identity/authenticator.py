"""The authenticator: finds out whose a message is, before anything is done with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ion.base.errors import ConfigurationError, Unauthorized, Unavailable
from ion.base.settings import IdentitySettings
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery
from ion.process.command.permission import Permission
from ion.process.command.signing import HEADER as SIGNATURE
from ion.process.identity.identity import SYSTEM, SYSTEM_ISSUER, SYSTEM_ROLE, TOKEN, Identity
from ion.process.identity.revocations import Revocation, Revocations

if TYPE_CHECKING:
    from ion.process.identity.keys import PublicKey
    from ion.process.identity.verifier import Verifier

log = logging.getLogger(__name__)
OFF, HINT, PRESENT, REQUIRED = "off", "hint", "present", "required"
THE_SYSTEM = Identity(
    actor=SYSTEM, roles=frozenset((SYSTEM_ROLE,)), issuer=SYSTEM_ISSUER
)  # whose a signed command is
QUIET = 1.0  # seconds between two lines of the log on what was refused
PATIENCE = 30.0  # seconds in which it is to be known what was revoked, for what waits for that


class NotKnownYet(Unavailable):
    """Whether a token was revoked is not known here yet; to others it is Unavailable."""


class Arriving(Protocol):
    """A call, as the authenticator sees it."""

    envelope: Envelope
    delivery: Delivery
    op: str
    user: str
    identity: Identity | None

    @property
    def endpoint(self) -> Any:
        """Where it has arrived."""


class Receiver(Protocol):
    """A process, as it is seen here. One that has ``for_anybody`` names ops that need no token."""

    name: str


class Authenticator:
    """Tells whose the calls of one party are.

    :ivar is_strict: whether calls without a token are its business, too.
    :ivar audience: that tokens must be made for.
    :param permission: of that party: the key of its system is trusted.
    """

    def __init__(
        self, settings: IdentitySettings, permission: Permission | None, sysname: str
    ) -> None:
        self.is_strict = settings.verify in (PRESENT, REQUIRED)
        self._known = asyncio.Event()
        self._unknown_since = time.monotonic()
        self._waits = self.is_strict and settings.revocations == "require"
        self._mode = settings.verify
        self.settings = settings
        self._permission = permission
        self.audience = settings.audience or sysname
        self._sysname = sysname
        self._verifier: Verifier | None = None
        self._revocations = Revocations()
        self._noted = 0.0
        self._further: list[PublicKey] = []

    @property
    def waits(self) -> bool:
        """Whether no token but the system's is taken, until it is known what was revoked."""
        return self._waits

    @waits.setter
    def waits(self, waits: bool) -> None:
        if waits and not self._waits:
            self.asking()
            self._known = asyncio.Event()
        self._waits = waits
        if not waits:
            self._known.set()

    def asking(self) -> None:
        """Note that now there is somebody to ask: from now on it is waited for the answer."""
        self._unknown_since = time.monotonic()

    async def known(self) -> None:
        """Return once it is known what was revoked, or nobody can wait for that any longer."""
        left = self._unknown_since + PATIENCE - time.monotonic()
        if self._waits and left > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._known.wait()

    @property
    def mode(self) -> str:
        """What ``identity.verify`` says."""
        return self._mode

    @property
    def leeway(self) -> float:
        """How far clocks may differ, seconds."""
        return self.settings.leeway

    @property
    def max_life(self) -> float:
        """Of a token, seconds."""
        return self.settings.max_life

    async def establish(self) -> None:
        """Make ready what is needed for sure. The key of the system was looked for before.

        :raises ConfigurationError: a key, or their file, is wrong; PyJWT is not installed.
        """
        settings = self.settings
        if self.is_strict or (self._mode == HINT and (settings.keys or settings.keys_file)):
            await asyncio.to_thread(self.verifier)

    def verifier(self) -> Verifier:
        """Return what checks tokens; made at the first call.

        :raises ConfigurationError: as :meth:`establish`.
        """
        if self._verifier is None:
            from ion.process.identity.trust import verifier_of  # of the extra `identity`

            self._verifier = verifier_of(
                self._permission, self.settings, self._sysname, self._revocations
            )
        return self._verifier

    async def renew(self, settings: IdentitySettings) -> None:
        """Trust the keys that settings name now, and no token that another one has signed.

        Of the settings, only the keys are taken.

        :raises ConfigurationError: a key, or their file, is wrong; all stays as it was.
        """
        own = msgspec.structs.replace(
            self.settings, keys=settings.keys, keys_file=settings.keys_file
        )
        is_used = self._mode != OFF and (own.keys or own.keys_file)
        if self._verifier is not None or is_used:
            from ion.process.identity.trust import verifier_of  # of the extra `identity`

            verifier = await asyncio.to_thread(
                verifier_of, self._permission, own, self._sysname, self._revocations
            )
            verifier.trust(self._further)
            self._verifier = verifier
        self.settings = own

    def trust(self, keys: Iterable[PublicKey]) -> None:
        """Trust these keys, too, whatever the settings say later; not those of before."""
        self._further = list(keys)
        self.verifier().trust(self._further)

    def admit(self, call: Arriving, process: Receiver) -> None:
        """Find out whose a call is.

        :param process: that it is for.
        :raises Unauthorized: its token is not good, or it has none, and needs one.
        :raises NotKnownYet: whether its token was revoked is not known here yet.
        :raises Forbidden: messages are signed here, and this one is not.
        """
        if self._mode == OFF:
            return
        token = call.envelope.headers.get(TOKEN)
        try:
            if token is None:
                identity = self._tokenless(call, process)
            else:
                identity = self._identified(token, call, process)
        except Unauthorized as error:
            call.endpoint.counts["unauthorized"] += 1
            self._note(call, process.name, error)
            raise
        call.identity = identity
        if identity is not None:
            call.user = identity.actor
        elif self.is_strict:
            call.user = ""

    def identify(self, token: str) -> Identity:
        """Return whom a token is of, whatever the mode is.

        :raises Unauthorized: it is not good.
        """
        return self.verifier().identify(token)

    def revoke(self, told: Iterable[Revocation]) -> int:
        """Take what was revoked; return how much is."""
        if self._verifier is not None:
            self._verifier.revoke(told)
        else:
            self._revocations.learn(told, time.time())
        return len(self._revocations)

    def _identified(self, token: object, call: Arriving, process: Receiver) -> Identity:
        if not isinstance(token, str):
            message = f"header {TOKEN} is no text"
            raise Unauthorized(message, details={"reason": "malformed"})
        try:
            verifier = self._verifier or self.verifier()
            screen = call.endpoint.screen
            if screen is not None and not verifier.knows(token):
                screen(call.envelope)  # costs less than the token of somebody who has no key
            try:
                identity = verifier.identify(token)
            except Unauthorized as error:
                identity = _when_sent(verifier, token, call, error)
        except ConfigurationError as error:
            message = f"tokens cannot be checked here: {error.message}"
            raise Unauthorized(message, details={"reason": "unchecked"}) from error
        if self._waits and SYSTEM_ROLE not in identity.roles:
            message = "it is not known here yet which tokens were revoked: try again"
            raise NotKnownYet(message, type="Unavailable", details={"retry-after": 1.0})
        if self.audience in identity.audience:
            return identity
        name = getattr(process, "service_name", "") or process.name
        if f"{self.audience}/{name}" not in identity.audience:
            message = f"this token was made for {', '.join(identity.audience)}, not for {name!r}"
            raise Unauthorized(message, details={"reason": "audience"})
        return identity

    def _tokenless(self, call: Arriving, process: Receiver) -> Identity | None:
        """Return whose a call without a token is: the system's where it is a signed command."""
        envelope, permission = call.envelope, self._permission
        if SIGNATURE in envelope.headers and permission is not None and not permission.is_open:
            given = (call.delivery.key, envelope.op, envelope.body, envelope.headers)
            if permission.is_signed(*given):
                return THE_SYSTEM
        if self._mode == REQUIRED and call.op not in getattr(process, "for_anybody", ()):
            message = (
                f"{call.op!r} needs a token, and has none: give one to ion.connect(token=...), "
                "or ION_TOKEN; who has the key of the system sets identity.token to 'system'"
            )
            raise Unauthorized(message, details={"reason": "missing"})
        return None

    def _note(self, call: Arriving, name: str, error: Unauthorized) -> None:
        """Log what was refused; at most one a second, as anybody can send it."""
        now = time.monotonic()
        if now - self._noted >= QUIET:
            self._noted = now
            sender = str(call.envelope.headers.get("sender", ""))[:100]
            log.warning("refused %r of %s, from %r: %s", call.op, name, sender, error.message)


def _when_sent(verifier: Verifier, token: str, call: Arriving, error: Unauthorized) -> Identity:
    """Return whom a token that has ended was of when its message was sent, one way.

    That may wait for longer than any token lasts: in a queue that nobody takes from, in an outbox,
    or for its next attempt. When it was sent is known where messages are signed.

    :raises Unauthorized: that is not known, or it had ended by then; or somebody waits for an
        answer, and can ask again with a new one.
    :raises Forbidden: the message is not signed as it should be.
    """
    sent = getattr(call.endpoint.screen, "sent", None)
    if sent is None or call.envelope.reply_to or error.details.get("reason") != "expired":
        raise error
    at = sent(call.envelope)
    if at is None:
        raise error
    return verifier.identified(token, min(at, time.time()))
