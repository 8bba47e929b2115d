"""Find the transport that a broker URL means.

A further transport is one line in ``SCHEMES``. Its class takes the list of URLs and the settings
of section ``broker`` as keyword arguments, and is imported when it is first asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from ion.base.errors import ConfigurationError
from ion.base.plugin import resolve
from ion.messaging.transport import Transport

SCHEMES: dict[str, str] = {
    "memory": "ion.messaging.memory.transport:MemoryTransport",
    "local": "ion.messaging.amqp_server.local:LocalTransport",
    "amqp": "ion.messaging.amqp.transport:AmqpTransport",
    "amqps": "ion.messaging.amqp.transport:AmqpTransport",
}
EMBEDDED = {"memory", "local"}  # a bus inside a container, which is known by its system's name
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_transport(urls: str | Sequence[str], **settings: Any) -> Transport:
    """Return the transport for these URLs of one broker; it is not connected yet.

    :param urls: one URL, or several of one scheme, for failover.
    :param settings: those of the configuration's section ``broker``.
    :raises ConfigurationError: no URL, a scheme that nobody knows, or different schemes.
    """
    given = [urls] if isinstance(urls, str) else list(urls)
    if not given:
        message = "no broker URL: give memory:// or amqp://user:password@host:port/vhost"
        raise ConfigurationError(message)
    schemes = {scheme_of(url) for url in given}
    classes = {SCHEMES[scheme] for scheme in schemes}
    if len(classes) > 1:
        kinds = ", ".join(sorted(schemes))
        message = f"broker URLs of different kinds cannot stand in for each other: {kinds}"
        raise ConfigurationError(message)
    transport_class = resolve(classes.pop())
    return cast("Transport", transport_class(given, **settings))


def scheme_of(url: str) -> str:
    """Return the scheme of a broker URL, in lower case.

    :raises ConfigurationError: it is no URL, or nobody knows its scheme.
    """
    match = _SCHEME.match(url) if isinstance(url, str) else None
    scheme = match.group(1).lower() if match else ""
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        # What is no URL may still hold a password: it is not repeated.
        message = f"the broker URL has no known scheme (found {scheme!r}; known: {known})"
        raise ConfigurationError(message)
    return scheme
