"""Permission: what lets one party on the bus command others, and tells whom it heeds itself.

As with Erlang's cookie, who has the key of the system may do everything. On a memory bus that
nobody outside this OS process can reach there is no key, and everybody may.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any

from ion.base.errors import ConfigurationError, Forbidden
from ion.base.settings import AgentSettings
from ion.messaging.transport import Transport
from ion.process.command import key as keys
from ion.process.command import seal as seals
from ion.process.command import signing
from ion.process.command.key import Key
from ion.process.command.keyring import Keyring

log = logging.getLogger(__name__)
QUIET = 1000  # ms between two lines of the log on what was refused
SELDOM = 600_000  # likewise, on what was not sealed: a container with another key beats for ever
SHOWN = 100  # characters of a name that anybody can send


class Permission:
    """The key of a system in the hands of one party, and what it was used for.

    :param window: how old a command may be, and how far clocks may differ, seconds.
    :ivar settings: where the key is looked for.
    :ivar key: None: there is none, or it was not looked for yet.
    :ivar why_none: why there is none.
    """

    def __init__(
        self, settings: AgentSettings, transport: Transport, sysname: str, window: float
    ) -> None:
        self.key: Key | None = None
        self.why_none = "it was started while nobody else could reach its bus"
        self.settings = settings
        self._transport = transport
        self._sysname = sysname
        self._window = int(window * 1000)
        self._since = _now()
        self._nonces = signing.Nonces()
        self._noted = 0
        self._unsealed: dict[str, int] = {}  # what -> when it was said

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything, as nobody else can reach the bus."""
        return self._transport.is_private

    async def establish(self) -> None:
        """Get the key; make it where there is none yet. For those who are commanded.

        :raises ConfigurationError: the key is none, or its file is not this user's alone.
        """
        if self.is_open:
            return
        try:
            self.key = await asyncio.to_thread(keys.find_or_make, self.settings, self._sysname)
        except keys.Unwritable as error:
            self.why_none = error.message
            log.warning("nobody can command this container: %s", error)

    async def look(self) -> None:
        """Get the key, where it was not looked for yet. For those who command.

        :raises ConfigurationError: the key is none, or its file is not this user's alone.
        :raises Forbidden: there is none; the message says where it was looked for.
        """
        if self.key is not None or self.is_open:
            return
        self.key = await asyncio.to_thread(keys.find, self.settings, self._sysname)
        if self.key is None:
            raise self._missing()

    def _missing(self) -> Forbidden:
        path = keys.path_of(self.settings, self._sysname)
        message = (
            f"a command, and what is signed, needs the key of system {self._sysname!r}, and "
            f"there is none at {path}: copy it from where a container of that system runs "
            "(mode 0600), or set agent.key_file"
        )
        return Forbidden(message, details={"reason": "no key", "path": str(path)})

    def ring(self) -> Keyring | None:
        """Return what is signed with, looked for at the first time; None: none is needed.

        Reads a small file, once.

        :raises ConfigurationError: the key is none, or its file is not this user's alone.
        :raises Forbidden: there is none.
        """
        if self.key is None:
            if self.is_open:
                return None
            self.key = keys.find(self.settings, self._sysname)
            if self.key is None:
                raise self._missing()
        return self.key.ring

    async def renew(self, settings: AgentSettings) -> None:
        """Take the keys that settings name now, in the place of those of before.

        :raises ConfigurationError: a key is none; all stays as it was.
        """
        if self.is_open:
            return
        key = await asyncio.to_thread(keys.find, settings, self._sysname)
        if key is None:  # none is made here: it would be another one than that of the others
            message = f"there is no key file {keys.path_of(settings, self._sysname)} any more"
            raise ConfigurationError(message)
        self.settings, self.key = settings, key

    def sign(self, to: str, op: str, body: bytes, key: Key | None = None) -> dict[str, str]:
        """Return the headers that make a command of a message; none where there is no key.

        :param to: the routing key that it is sent to.
        :param key: in place of its own.
        """
        key = key or self.key
        if key is None:
            return {}
        command = signing.Command(self._sysname, to, op, body)
        nonce = secrets.token_hex(16)
        return {signing.HEADER: signing.sign(key.ring, command, _now(), nonce)}

    def check(self, to: str, op: str, body: bytes, headers: Mapping[str, Any]) -> None:
        """Check that a message may command.

        :param to: the routing key that it was sent to.
        :raises Forbidden: it may not; the message says why.
        """
        if self.is_open:
            return
        if self.key is None:
            message = f"nobody can command this container, which has no key: {self.why_none}"
            raise Forbidden(message, details={"reason": "no key"})
        signature = signing.read(headers.get(signing.HEADER))
        command = signing.Command(self._sysname, to, op, body)
        now = _now()
        signing.check(self.key.ring, signature, command, now, self._window)
        if signature.time < self._since:  # what was used before that is not known any more
            message = (
                f"this command was signed {(self._since - signature.time) / 1000:.1f} s before "
                "this container was started, by the clocks of both sides: give it again"
            )
            raise Forbidden(message, details={"reason": "time"})
        self._nonces.use(signature, now, self._window)

    def is_signed(self, to: str, op: str, body: bytes, headers: Mapping[str, Any]) -> bool:
        """Tell whether a message is signed as a command is, whether or not it came before.

        For what may come twice, and so often that commands would find no room for their nonces.

        :param to: the routing key that it was sent to.
        """
        if self.is_open or self.key is None:
            return self.is_open
        command = signing.Command(self._sysname, to, op, body)
        try:
            signature = signing.read(headers.get(signing.HEADER))
            signing.check(self.key.ring, signature, command, _now(), self._window)
        except Forbidden:
            return False
        return True

    # what needs no answer: beats, and the tokens of leases

    @property
    def can_seal(self) -> bool:
        """Whether others will believe what this party says unasked."""
        return self.is_open or self.key is not None

    def seal(self, what: str, name: str, body: bytes) -> dict[str, Any]:
        """Return the headers that show that who sends a message has the key."""
        if self.is_open or self.key is None:
            return {}
        return {seals.HEADER: seals.seal(self.key.ring, self._sysname, what, name, body)}

    def is_sealed(self, what: str, name: str, body: bytes, headers: Mapping[str, Any]) -> bool:
        """Tell whether who has sent a message has the key; say so where not, now and then."""
        if self.is_open:
            return True
        header = headers.get(seals.HEADER)
        try:
            if self.key is None:
                message = f"this container has no key: {self.why_none}"
                raise Forbidden(message)
            seals.check(self.key.ring, header, self._sysname, what, name, body)
        except Forbidden as error:
            self._note_unsealed(what, name, error)
            return False
        return True

    def _note_unsealed(self, what: str, name: str, error: Forbidden) -> None:
        now = _now()
        said = self._unsealed.get(what)
        if said is not None and now - said < SELDOM:
            return
        self._unsealed[what] = now
        key = self.key
        advice = key.ring.advice(self._sysname) if key is not None else "it needs agent.key_file"
        place = f" (here {key.place})" if key is not None else ""
        words = (what, name[:SHOWN], error.message, advice, place)
        log.warning("%s %r is not believed: %s; %s%s", *words)

    def note(self, what: str, error: Forbidden) -> None:
        """Log a command that was refused; at most one a second, as anybody can send them."""
        now = _now()
        if now - self._noted >= QUIET:
            self._noted = now
            log.warning("refused command %s: %s", what, error)


def _now() -> int:
    return time.time_ns() // 1_000_000
