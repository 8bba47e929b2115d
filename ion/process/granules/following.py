"""Hearing a stream from what is kept of it: from some place on, and then what comes.

All comes from the service ``streams``, in the order that it keeps, so there is no seam between what
was and what is: nothing is missing there, and nothing comes twice. Where the service is away, it
goes on from the last granule when that is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ion.base.errors import IonError, ReceivedError
from ion.messaging.envelope import MSGPACK, Envelope
from ion.process.granules.names import OP, POINT, escaped
from ion.process.granules.ops import ContentOp
from ion.process.serving.source import Source

if TYPE_CHECKING:
    from ion.process.process import Process

log = logging.getLogger(__name__)
SERVICE = "streams"
PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before the service is asked again
FULL = 0.05  # seconds before it looks again whether there is room in the mailbox
AHEAD = 16  # granules in hand
NOT_FOUND = 404


class Following:
    """Brings a process the granules behind an offset, one after the other, through its mailbox.

    :param hear: coroutine function of process, offset and message; handled in the process's turn.
    :param since: seconds since 1970; None: from the offset alone.
    :param ahead: how many granules may be in hand.
    """

    def __init__(
        self,
        process: Process,
        stream: str,
        hear: Callable[[Any, Any], Any],
        *,
        after: int,
        since: float | None,
        ahead: int = AHEAD,
    ) -> None:
        self.offset = after
        self._process = process
        self._stream = stream
        self._since = since
        self._source = Source(key="", handler=_KeptOp(hear, OP), point=POINT)
        self._hands = asyncio.Semaphore(ahead)
        self._task: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        """Begin.

        :raises LifecycleError: the process ends, or has ended.
        """
        self._task = self._process.run(self._run(), f"replay of {self._stream}", own=True)

    def cancel(self) -> None:
        """Bring nothing more; what waits in the mailbox is handled. May be called twice."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        failures = 0
        while True:
            before = self.offset
            try:
                await self._follow()
            except ReceivedError as error:
                if error.code == NOT_FOUND:
                    log.warning(
                        "%r hears stream %r no more: %s", self._process, self._stream, error
                    )
                    return
                log.warning("stream %r is not heard for now: %s", self._stream, error)
            except IonError as error:
                log.info("stream %r is not heard for now: %s", self._stream, error)
            failures = failures + 1 if self.offset == before else 1
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES)) - 1])

    async def _follow(self) -> None:
        content = {
            "stream": self._stream,
            "after": self.offset,
            "since": self._since,
            "follow": True,
        }
        async with self._process.stream(SERVICE, "read", content) as items:
            async for item in items:
                if item["granule"] is not None:
                    await self._hands.acquire()
                    await self._room()
                    self.offset = item["offset"]
                    self._deliver(item["granule"])

    async def _room(self) -> None:
        """Wait while the mailbox is full: a granule would be shed, and be missing."""
        while True:
            if self._process.waiting < self._process.mailbox:
                return
            await asyncio.sleep(FULL)

    def _deliver(self, body: bytes) -> None:
        """Put a granule into the mailbox; the hand is free when it is handled.

        It goes as a message of this process's own: who has published it, the service was told.
        """
        process = self._process
        message_id = f"{self._stream} {self.offset}"
        envelope = process._endpoint.one_way_of(process.id, OP, body, MSGPACK, message_id)
        delivery = _Delivery(envelope, self.offset, self._hands, POINT, escaped(self._stream))
        process.take(self._source, delivery)


class _KeptOp(ContentOp):
    """Gives the message as it is: its offset stands in the delivery."""

    __slots__ = ()

    def bind(self, envelope: Envelope) -> Any:
        """Return the message."""
        return (envelope,), {}


class _Delivery(msgspec.Struct, eq=False):
    """A granule in the place of a delivery; it came from no queue, and cannot go back to one."""

    envelope: Envelope
    offset: int
    hands: asyncio.Semaphore
    exchange: str
    key: str
    redelivered: bool = False
    settled: bool = False
    lost: bool = False

    def ack(self) -> None:
        """Take note that it was handled."""
        if not self.settled:
            self.settled = True
            self.hands.release()

    def nack(self, *, requeue: bool) -> None:
        """Take note that it was not handled: whoever gives it back ends."""
        self.ack()


def offset_of(call: Any) -> int:
    """Return the offset of the granule that a process handles."""
    return int(call.delivery.offset)
