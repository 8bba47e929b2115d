"""The exchange points that a party on the bus has declared: each once, at its first use."""

from __future__ import annotations

import asyncio

from ion.base.errors import Unavailable
from ion.messaging.address import Namespace
from ion.messaging.transport import Transport


class Points:
    """The exchange points of one endpoint.

    What was declared once is declared again by the transport after a reconnect.
    """

    __slots__ = ("_known", "_namespace", "_transport")

    def __init__(self, transport: Transport, namespace: Namespace) -> None:
        self._transport = transport
        self._namespace = namespace
        self._known: dict[str, str] = {}

    def known(self, point: str) -> str:
        """Return the exchange of a point that :meth:`declare` was called for, else ""."""
        return self._known.get(point, "")

    async def declare(self, point: str, timeout: float) -> str:
        """Make the exchange of ``point`` where there is none yet, and return its name.

        :raises ConfigurationError: ``point`` is not a name, or there is another kind of exchange.
        :raises Unavailable: the broker did not say within ``timeout`` seconds.
        """
        spec = self._namespace.exchange_point(point)
        try:
            async with asyncio.timeout(timeout):
                await self._transport.declare_exchange(spec)
        except TimeoutError:
            message = f"exchange point {point!r} could not be declared within {timeout:g} s"
            raise Unavailable(message) from None
        self._known[point] = spec.name
        return spec.name
