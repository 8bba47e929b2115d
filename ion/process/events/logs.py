"""What a container's log says, as events, for who watches many of them.

It must never harm what it tells of: it waits for nothing, is bounded in number and in size, and
tells nothing of what is said on the way of an event itself (by the transport, or by who handles
such an event), which would be told of again, and so on for ever.
"""

from __future__ import annotations

import asyncio
import logging
import os

from ion.base import clock
from ion.base.masking import mask_urls
from ion.base.token_bucket import TokenBucket
from ion.observe.context import current_call
from ion.observe.logging import context
from ion.process.endpoint.endpoint import Endpoint
from ion.process.events.background_publisher import BackgroundPublisher, hushed
from ion.process.events.types import LogError, LogEvent, LogWarning

MOST = 100  # events that wait for the broker
BURST = 100  # records that are told at once,
RATE = 10.0  # and a second, then
MAX_TEXT = 1000  # characters
MAX_NAME = 80  # characters, of a logger; it is part of a topic
LAST_MOMENT = 0.1  # seconds that what is left has when the container stops
_TYPES = frozenset({LogError.__name__, LogWarning.__name__, LogEvent.__name__})
_BUS = ("ion.messaging", "aio_pika", "aiormq", "pamqp")


class LogTeller(logging.Handler):
    """Tells records of a level, or above, as :class:`~ion.process.events.types.LogEvent`.

    It takes what is logged in this container, or in no one, from any thread. Passwords in URLs are
    masked; what was given as ``extra``, and tracebacks, stay in the log.

    :param least: the level, as of :mod:`logging`.
    """

    def __init__(self, endpoint: Endpoint, least: int) -> None:
        super().__init__(least)
        self._endpoint = endpoint
        self._publisher = BackgroundPublisher(endpoint, "log events", MOST)
        self._allowance = TokenBucket(BURST, RATE, clock.monotonic())
        self._omitted = 0

    def begin(self) -> None:
        """Tell from now on."""
        logging.getLogger().addHandler(self)

    async def end(self) -> None:
        """Tell no more. Never raises."""
        logging.getLogger().removeHandler(self)
        await self._publisher.close(LAST_MOMENT)

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record told; see :meth:`logging.Handler.emit`. Never waits, never raises."""
        if hushed.get() or not self._is_wanted(record):
            return
        before = hushed.set(True)
        try:
            if self._may():
                self._hand(self._event(record))
        except Exception:  # noqa: BLE001 - as each handler: who logs must not fail by that
            self.handleError(record)
        finally:
            hushed.reset(before)

    def _is_wanted(self, record: logging.LogRecord) -> bool:
        if any(record.name == name or record.name.startswith(f"{name}.") for name in _BUS):
            return False
        call = current_call.get()
        if call is not None and call.op in _TYPES:
            return False
        return context().get("container", self._endpoint.id) == self._endpoint.id

    def _may(self) -> bool:
        """Return whether one more can be told now; called under the lock of the handler."""
        may = self._allowance.take(clock.monotonic())
        self._omitted += not may
        return may

    def _event(self, record: logging.LogRecord) -> LogEvent:
        who = context()
        omitted, self._omitted = self._omitted, 0
        kind = LogError if record.levelno >= logging.ERROR else LogWarning
        return kind(
            origin=self._endpoint.id,
            origin_type=record.name[:MAX_NAME],
            sub_type=record.levelname.lower(),
            description=_shown(record.getMessage()),
            created=record.created,
            process=who.get("process", ""),
            op=who.get("op", ""),
            conversation=who.get("conversation", ""),
            trace=who.get("trace", ""),
            error=_error(record),
            where=f"{os.path.basename(record.pathname)}:{record.lineno}",  # noqa: PTH119 - no path
            omitted=omitted,
        )

    def _hand(self, event: LogEvent) -> None:
        loop = self._endpoint.loop
        try:
            is_here = asyncio.get_running_loop() is loop
        except RuntimeError:  # another thread
            is_here = False
        if is_here:
            self._publisher.put(event)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(self._publisher.put, event)


def _error(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return _shown(f"{type(error).__name__}: {error}") if error is not None else ""


def _shown(text: str) -> str:
    return mask_urls(text[: 2 * MAX_TEXT])[:MAX_TEXT]  # a password may be longer than its mask
