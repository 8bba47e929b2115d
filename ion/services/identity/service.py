"""The identity service: actors, their credentials and roles, and the tokens that they get.

Who may administrate: an actor with the role ADMIN, and who has the key of the system: a command
signed with it (``IdentityClient(caller, as_system=True)``), which is how the first actor is made.

Its app's ``config`` says ``token_life`` and ``session_life`` (seconds), ``key_file`` (of a private
key of its own; null: the tokens are signed with the key of the system), ``remind_every`` (seconds
between two reminders of what is revoked) and ``store``, the name of its index store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

from ion.base.errors import ConfigurationError, IonError
from ion.process.identity.crypto import Ed25519PrivateKey
from ion.process.identity.issuer import Issuer
from ion.process.identity.keys import found_or_made
from ion.process.service import Service
from ion.services.identity.accounts import INDICES, AccountStore
from ion.services.identity.actorops import ActorOps
from ion.services.identity.tokenops import TokenOps

log = logging.getLogger(__name__)
STORE = "identity"
DEFAULTS = {"token_life": 900.0, "session_life": 43_200.0, "remind_every": 10.0}


class IdentityService(
    ActorOps, TokenOps, Service, name="identity", version="0.1.0", delivery="at-most-once"
):
    """Knows the actors of a system, and gives them tokens.

    What it was asked for when it was killed is not done later, after what was asked since: who gets
    no answer asks again.

    :cvar for_anybody: ops that need no token, even where ``identity.verify`` is ``required``.
    :param config: over the app's.
    """

    for_anybody = frozenset(("authenticate", "refresh", "end_session", "keys", "whoami", "ping"))

    def __init__(self, **config: Any) -> None:
        self._config = config

    async def on_init(self) -> None:
        """Open the accounts, and get the key that tokens are signed with.

        :raises ConfigurationError: a number is none, or there is no key.
        """
        config = {**self.app_config, **self._config}
        self._life = _seconds(config, "token_life")
        self._session_life = _seconds(config, "session_life")
        self._every = _seconds(config, "remind_every")
        desk = self._endpoint.auth
        self._max_life = desk.max_life
        if self._life > self._max_life:
            message = f"token_life {self._life:g} s is over identity.max_life {self._max_life:g} s"
            raise ConfigurationError(message)
        await self._get_key(config.get("key_file"))
        rows = await self.index_store(str(config.get("store") or STORE), INDICES)
        self.accounts = AccountStore(rows)
        desk.revoke(await self.accounts.revocations(time.time()))
        desk.waits = False
        self.begin_tokens()

    async def on_activate(self) -> None:
        """Begin to remind all containers of what is revoked."""
        self.run(self._remind(), "reminder")

    async def _get_key(self, key_file: Any) -> None:
        endpoint = self._endpoint
        desk = endpoint.auth
        if key_file is not None:
            key = await asyncio.to_thread(_key_in, str(key_file))
            self._own_issuer = Issuer(key, desk.audience, f"{endpoint.namespace.sysname}/identity")
            desk.trust([self.issuer.public])
        log.debug("tokens are signed with key %s", self.issuer.public.id)  # there must be one

    async def _remind(self) -> None:
        """Tell all containers, now and then, what is revoked, and forget what is over."""
        while True:
            try:
                revoked = await self.accounts.revocations(time.time())
                if revoked:
                    await self.announce(revoked)
                await self.accounts.sweep(time.time())
            except IonError as error:  # the store is away: it is tried again
                log.warning("what is revoked cannot be looked up: %s", error.message)
            await asyncio.sleep(self._every)


def _key_in(file: str) -> Ed25519PrivateKey:
    return found_or_made(Path(file).expanduser())


def _seconds(config: dict[str, Any], key: str) -> float:
    """Return a number of the configuration.

    :raises ConfigurationError: it is none, or not over 0.
    """
    value = config.get(key, DEFAULTS[key])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:  # noqa: PLR2004
        message = f"{key} must be seconds, over 0, not {value!r}"
        raise ConfigurationError(message)
    return float(value)
