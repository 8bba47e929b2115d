"""The exchange points that a party on the bus has declared: each once, at its first use."""

from __future__ import annotations

import asyncio
import logging

from ion.base.errors import Conflict, Unavailable
from ion.messaging.address import Namespace
from ion.messaging.transport import Transport

log = logging.getLogger(__name__)


class ExchangePoints:
    """The exchange points of one endpoint.

    What was declared once is declared again by the transport after a reconnect.
    """

    __slots__ = ("_declaring", "_known", "_namespace", "_transport")

    def __init__(self, transport: Transport, namespace: Namespace) -> None:
        self._transport = transport
        self._namespace = namespace
        self._known: dict[str, str] = {}
        self._declaring: dict[str, asyncio.Task[None]] = {}

    def known(self, point: str) -> str:
        """Return the exchange of a point that :meth:`declare` was called for, else ""."""
        return self._known.get(point, "")

    async def forget(self, point: str) -> None:
        """Let go of a point that was undeclared: the next publish, if any, makes it anew.

        Where others have queues bound to it, it was declared again meanwhile, and stays.

        :raises ConfigurationError: ``point`` is not a name.
        :raises Unavailable: the broker is away.
        """
        self._known.pop(point, None)
        try:
            exchange = self._namespace.exchange_point(point).name
            await self._transport.delete_exchange(exchange, if_unused=True)
        except Conflict as error:
            log.info("exchange point %r is there again: %s", point, error)

    async def declare(self, point: str, timeout: float) -> str:
        """Make the exchange of ``point`` where there is none yet, and return its name.

        :raises ConfigurationError: ``point`` is not a name, or there is another kind of exchange.
        :raises Unavailable: the broker did not say within ``timeout`` seconds.
        """
        spec = self._namespace.exchange_point(point)
        task = self._declaring.get(point)
        if task is None:
            task = asyncio.ensure_future(self._transport.declare_exchange(spec))
            self._declaring[point] = task
            task.add_done_callback(lambda ended: self._declared(point, ended))
        # Not cancelled when the time is over: the transport would wait for the broker's word on
        # that, too, and a frozen broker has none.
        await asyncio.wait({task}, timeout=timeout)
        if not task.done() or task.cancelled():
            message = f"exchange point {point!r} could not be declared within {timeout:g} s"
            raise Unavailable(message)
        task.result()
        self._known[point] = spec.name
        return spec.name

    def _declared(self, point: str, task: asyncio.Task[None]) -> None:
        del self._declaring[point]
        if not task.cancelled():
            task.exception()  # seen, even where nobody waits any more
