"""Who is there to be sent to: looked up before a message is, since it would wait out of sight."""

from __future__ import annotations

from collections.abc import Iterable

from ion.base import clock
from ion.base.errors import IonError, ServiceNotFound, Unavailable
from ion.process.calls import service_of
from ion.process.endpoint import Endpoint

FRESH = 1.0  # seconds for which what was seen is taken for true
MOST = 1000  # that are remembered
PATIENCE = 2.0  # seconds for the broker to tell
MAX_NAME = 255  # bytes of a queue's


class Receivers:
    """Tells which services and processes are there to take a message."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._seen: dict[str, tuple[float, ServiceNotFound | None]] = {}

    async def missing(self, names: Iterable[str]) -> dict[str, ServiceNotFound]:
        """Return those of some receivers that no queue is there for, and what to say of it.

        Where the broker is away all are taken for being there: the outbox keeps what is for them.
        """
        found = {}
        for name in names:
            try:
                error = await self._wrong(name)
            except Unavailable:
                break
            if error is not None:
                found[name] = error
        return found

    async def _wrong(self, name: str) -> ServiceNotFound | None:
        now = clock.monotonic()
        at, error = self._seen.get(name, (now - FRESH, None))
        if now - at >= FRESH:
            error = None if await self._is_there(name) else _not_there(name)
            if len(self._seen) >= MOST:
                self._seen.clear()
            self._seen[name] = now, error
        return error

    async def _is_there(self, name: str) -> bool:
        """Return whether a receiver has a queue.

        :raises Unavailable: the broker is away.
        """
        key = name if service_of(name) else name.partition(".")[0]
        queue = f"{self._endpoint.namespace.sysname}.{key}"
        if len(queue.encode("utf-8", "replace")) > MAX_NAME:
            return False
        try:
            return await self._endpoint.transport.queue_info(queue, PATIENCE) is not None
        except Unavailable as error:
            if error.details.get("locked"):  # another connection's own, and so there
                return True
            raise
        except IonError:
            return False


def _not_there(name: str) -> ServiceNotFound:
    kind = "service" if service_of(name) else "process"
    message = f"there is no {kind} {name[:100]!r} to be sent to: is it started?"
    return ServiceNotFound(message)
