"""The transport to a memory bus that listens on this machine: ``local://``.

It is the AMQP transport; only the broker's URL is looked up anew for each connect, since a
container that was started again listens on another port with another password.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from ion.base.errors import ConfigurationError
from ion.messaging import runtime_file
from ion.messaging.amqp.link import checked_urls
from ion.messaging.amqp.transport import AmqpTransport

_URL = re.compile(r"local://(?P<sysname>[A-Za-z0-9_-]*)/?\Z", re.IGNORECASE)
_ANYWHERE = "amqp://127.0.0.1/"  # stands there until it is known where


class LocalTransport(AmqpTransport):
    """See :class:`~ion.messaging.transport.Transport`.

    :param urls: ``local://``, or ``local://SYSNAME`` for the bus of another system.
    :param sysname: the system that ``local://`` means.
    :param settings: those of the AMQP transport.
    :raises ConfigurationError: the URL is something else.
    """

    scheme = "local"

    def __init__(
        self,
        urls: str | Sequence[str] = "local://",
        *,
        sysname: str = "ion",
        listen: str | None = None,
        **settings: Any,
    ) -> None:
        del listen  # the bus that this one joins listens already
        url = urls if isinstance(urls, str) else next(iter(urls), "local://")
        match = _URL.match(url)
        if match is None:
            message = "the URL of a memory bus on this machine is local:// or local://SYSNAME"
            raise ConfigurationError(message)
        super().__init__([_ANYWHERE], **settings)
        self.broker = url
        self._bus_of = match["sysname"] or sysname

    async def _connect(self) -> None:
        where = await asyncio.to_thread(runtime_file.find, self._bus_of)
        self._urls = checked_urls([where.url])
        await super()._connect()
