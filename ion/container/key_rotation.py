"""Other keys while a container runs: that it signs with, and that it believes.

To change a key without a pause: first all believe the new one, too, then all sign with it, then
nobody believes the old one any more; after each step all are told to read their keys again.
"""

from __future__ import annotations

from typing import Protocol

from ion.base.errors import ConfigurationError
from ion.base.settings import Settings
from ion.process.endpoint.endpoint import Endpoint
from ion.process.identity.credentials import Credentials


class Keyed(Protocol):
    """What is asked of a container here."""

    endpoint: Endpoint
    _own: Credentials


async def renew_keys(container: Keyed, settings: Settings) -> None:
    """Take the keys that settings and their files name now; nothing else of the settings.

    What was signed with a key that is not believed any more is refused from now on, tokens among
    it; its own token is made anew where the container makes it.

    :raises ConfigurationError: one is wrong; all stay as they were.
    """
    endpoint = container.endpoint
    permission = endpoint.permission
    if permission is None:
        return
    before = permission.settings, permission.key
    await permission.renew(settings.agent)
    try:
        await endpoint.auth.renew(settings.identity)
    except ConfigurationError:
        permission.settings, permission.key = before
        raise
    await container._own.renew()
