"""The token that a party's own calls bear: those that it makes while it handles none.

It is given, or in a file that somebody else renews, or made here with the key of the system.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from ion.base.errors import ConfigurationError, IonError
from ion.base.files import read_file
from ion.base.settings import IdentitySettings, Settings
from ion.base.tasks import Tasks
from ion.process.command.permission import Permission
from ion.process.identity.identity import SYSTEM

log = logging.getLogger(__name__)
NONE = "none"
STRICT = ("present", "required")
LOOK_EVERY = 2.0  # seconds between two looks at the file, or for a token that cannot be had now
SYSTEM_LIFE = 3600.0
_MAX_BYTES = 16_384


class Party(Protocol):
    """Whose calls they are: an endpoint.

    :ivar token: what they bear, or "".
    """

    id: str
    token: str
    permission: Permission | None


def with_token(settings: Settings, token: str | None) -> Settings:
    """Return settings in which ``token`` is that of one's own calls, where it is not None."""
    if token is None:
        return settings
    identity = msgspec.structs.replace(settings.identity, token=token, token_file=None)
    return msgspec.structs.replace(settings, identity=identity)


class Credentials:
    """Keeps the token of a party's own calls fresh; :meth:`open` it, and :meth:`close` it.

    :param is_host: it is a container: where that asks others for tokens, and is given none, its own
        calls are the system's.
    """

    def __init__(
        self, settings: IdentitySettings, party: Party, sysname: str, *, is_host: bool = False
    ) -> None:
        self._settings = settings
        self._is_host = is_host
        self._party = party
        self._sysname = sysname
        self._is_made = False
        self._tasks = Tasks(party.id)

    async def open(self) -> None:
        """Get the token. The key of the system was looked for before, or is looked for here.

        :raises ConfigurationError: the file cannot be read, or there is no key to make one with.
        """
        settings = self._settings
        if settings.token == NONE:
            return
        if settings.token is not None and settings.token != SYSTEM:
            self._party.token = settings.token
        elif settings.token == SYSTEM or self._is_systems_by_default:
            await self._make()
            self._is_made = True
            every = min(SYSTEM_LIFE, settings.max_life) / 2
            self._tasks.start(self._keep(self._make, every), "own token")
        elif settings.token_file is not None:
            path = Path(settings.token_file)
            await self._read(path)
            self._tasks.start(self._keep(partial(self._read, path), LOOK_EVERY), "own token")

    async def renew(self) -> None:
        """Make the token anew, where it was made here: it may be of a key that is to go.

        :raises ConfigurationError: there is no key any more.
        """
        if self._is_made:
            await self._make()

    async def close(self) -> None:
        """Stop renewing it. Never raises."""
        await self._tasks.stop()

    @property
    def _is_systems_by_default(self) -> bool:
        settings, permission = self._settings, self._party.permission
        is_asked = settings.verify in STRICT and settings.token_file is None
        has_key = permission is not None and (permission.is_open or permission.key is not None)
        return self._is_host and is_asked and has_key

    async def _make(self) -> None:
        from ion.process.identity.trust import issuer_of  # of the extra `identity`

        permission = self._party.permission
        if permission is not None:
            await permission.look()
        issuer = issuer_of(permission, self._settings, self._sysname)
        if issuer is None:
            message = "identity.token is 'system', which needs the key of the system (agent.key)"
            raise ConfigurationError(message)
        life = min(SYSTEM_LIFE, self._settings.max_life)
        self._party.token = issuer.system_token(self._party.id, life=life)

    async def _read(self, path: Path) -> None:
        self._party.token = await asyncio.to_thread(_read, path)

    async def _keep(self, get: Callable[[], Awaitable[None]], every: float) -> None:
        """Get the token anew from time to time."""
        said, pause = "", every
        while True:
            await asyncio.sleep(pause)
            try:
                await get()
                said, pause = "", every
            except IonError as error:  # perhaps it is being replaced; the old one goes on
                if error.message != said:
                    log.warning("%s; the token of before is used", error.message)
                said, pause = error.message, min(every, LOOK_EVERY)


def _read(path: Path) -> str:
    """Return the token in a file.

    :raises ConfigurationError: it cannot be read, or holds none.
    """
    try:
        text = read_file(path.expanduser(), _MAX_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        message = f"identity.token_file {path} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error
    if not text:
        message = f"identity.token_file {path} is empty: it must hold a token"
        raise ConfigurationError(message)
    return text
