"""Sending what comes out of an outbox: confirmed by the broker, or left for another time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from ion.base.errors import IonError, Unavailable, Unroutable
from ion.messaging.address import PROCESSES
from ion.process.endpoint.calls import service_of
from ion.process.endpoint.endpoint import Endpoint
from ion.process.exactly_once.outbox_message import OutboxMessage

log = logging.getLogger(__name__)
PATIENCE = 15.0  # seconds for the broker to confirm
PROCESS_GRACE = 300.0  # seconds after which a process that is not there does not come back
MAX_CAUSE = 1000  # characters


class Sender:
    """Sends messages.

    :param remember: seconds after which what nobody takes is given up.
    """

    def __init__(self, endpoint: Endpoint, remember: float) -> None:
        self._endpoint = endpoint
        self._remember = remember

    async def ready(self) -> None:
        """Return once the broker takes messages, however long that is.

        :raises Unavailable: the transport is closed.
        """
        transport = self._endpoint.transport
        while not transport.writable:
            try:
                await transport.wait_writable(PATIENCE)
            except Unavailable:
                await asyncio.sleep(0.05)

    async def send(self, messages: Sequence[OutboxMessage]) -> list[bool]:
        """Send messages in their order; return of each whether the broker has it, or it is dead."""
        exchanges = {point: await self._exchange(point) for point in {p.point for p in messages}}
        outcomes = [self._publish(exchanges[outgoing.point], outgoing) for outgoing in messages]
        await asyncio.wait(outcomes, timeout=PATIENCE)
        return [
            outcome.done()
            and (outcome.result() is None or await self._is_dead(outgoing, outcome.result()))
            for outgoing, outcome in zip(messages, outcomes, strict=True)
        ]

    async def _exchange(self, point: str) -> str | IonError:
        """Return the exchange of a point, or what is wrong with that."""
        endpoint = self._endpoint
        if not point:
            return endpoint.namespace.xs
        try:
            return endpoint.points.known(point) or await endpoint.points.declare(point, PATIENCE)
        except IonError as error:
            log.warning("what is to be published at %r has to wait: %s", point, error)
            return error

    def _publish(
        self, exchange: str | IonError, outgoing: OutboxMessage
    ) -> asyncio.Future[IonError | None]:
        outcome: asyncio.Future[IonError | None] = self._endpoint.loop.create_future()

        def settled(error: IonError | None) -> None:
            if not outcome.done():
                outcome.set_result(error)

        if isinstance(exchange, IonError):
            settled(exchange)
            return outcome
        try:
            self._endpoint.transport.publish(
                exchange,
                outgoing.to,
                outgoing.envelope,
                mandatory=not outgoing.point,
                settled=settled,
            )
        except Unavailable as error:
            settled(error)
        return outcome

    async def _is_dead(self, outgoing: OutboxMessage, error: IonError | None) -> bool:
        """Return whether a message that nobody took is a dead letter by now."""
        age = time.time() - outgoing.since
        is_for_process = not outgoing.point and not service_of(outgoing.to)
        grace = min(self._remember, PROCESS_GRACE) if is_for_process else self._remember
        if error is None or age < grace or not isinstance(error, Unroutable):
            return False
        envelope = outgoing.envelope
        words = (envelope.op, envelope.message_id, outgoing.to)
        log.warning("%r (message %s) to %r dead-lettered: nobody takes it", *words)
        self._endpoint.counts["dead-lettered"] += 1
        letter = envelope.with_headers(
            receiver=outgoing.to,
            cause=f"nobody took it for {age:.0f} s: {error}"[:MAX_CAUSE],
            cause_code=error.code,
            cause_type=error.type,
            dead_from="outbox",
            dead_at=int(time.time() * 1000),
            dead_by=self._endpoint.id,
        )
        try:
            await self._endpoint.transport.publish_confirmed(
                self._endpoint.namespace.dlx, PROCESSES, letter, timeout=PATIENCE
            )
        except Unavailable:
            return False
        return True
