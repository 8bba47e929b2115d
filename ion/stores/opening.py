"""Find the datastore that a URL means.

A further engine is one module and one line in ``SCHEMES``. Its class takes the URL and, as keyword
arguments, what it needs of the settings; it is imported when it is first asked for.
"""

from __future__ import annotations

import re
from typing import Any, cast

from ion.base.errors import ConfigurationError
from ion.base.plugin import resolve
from ion.stores.store import Datastore

SCHEMES: dict[str, str] = {
    "memory": "ion.stores.memory.datastore:MemoryDatastore",
    "sqlite": "ion.stores.sqlite.datastore:SqliteDatastore",
    "postgresql": "ion.stores.postgres.datastore:PostgresDatastore",
    "redis": "ion.stores.redis.datastore:RedisDatastore",
    "rediss": "ion.stores.redis.datastore:RedisDatastore",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_datastore(url: str, **options: Any) -> Datastore:
    """Return the datastore of a URL; it is not connected yet.

    :param options: ``timeout`` (seconds for one call), ``sysname`` (engines that share one key
        space between systems put it in front of all names).
    :raises ConfigurationError: it is no URL, or of a scheme that nobody knows; or the optional part
        of ION for that engine is not installed.
    """
    return cast("Datastore", resolve(SCHEMES[checked_scheme(url)])(url, **options))


def checked_scheme(url: str) -> str:
    """Return the scheme of a datastore's URL; imports no engine.

    :raises ConfigurationError: it is no URL, or of a scheme that nobody knows.
    """
    match = _SCHEME.match(url) if isinstance(url, str) else None
    scheme = match.group(1).lower() if match else ""
    if scheme in SCHEMES:
        return scheme
    known = ", ".join(f"{name}://" for name in SCHEMES)
    # What is no URL may still hold a password: it is not repeated.
    message = f"the store URL has no known scheme (found {scheme!r}; known: {known})"
    raise ConfigurationError(message)
