"""Who is there to be sent to: looked up before a message is, since it would wait out of sight.

The broker is asked beside the ticker, which goes on meanwhile: a queue that it takes long to tell
of keeps nobody's firings waiting but those for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ion.base import clock
from ion.base.errors import IonError, ServiceNotFound, Unavailable
from ion.process.endpoint.calls import service_of
from ion.process.endpoint.endpoint import Endpoint

FRESH = 1.0  # seconds for which it is taken for true that somebody is not there,
THERE = 5.0  # and that somebody is
MOST = 1000  # that are remembered
PATIENCE = 2.0  # seconds for the broker to tell
AT_ONCE = 8  # questions that are put to it
MOST_ASKED = 100  # that are asked about; of the others it is believed that they are there
MAX_NAME = 255  # bytes of a queue's
Run = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class Receivers:
    """Tells which services and processes are there to take a message.

    :param run: begins a task in the background.
    :param heard: called when an answer has come.
    """

    def __init__(self, endpoint: Endpoint, run: Run, heard: Callable[[], None]) -> None:
        self._endpoint = endpoint
        self._run = run
        self._heard = heard
        self._seen: dict[str, tuple[float, ServiceNotFound | None]] = {}
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._free = asyncio.Semaphore(AT_ONCE)

    def look(self, names: Iterable[str]) -> tuple[dict[str, ServiceNotFound], set[str]]:
        """Return which receivers no queue is there for, and what to say of them; and of which the
        broker is being asked.

        All others are there, or are taken for it: the outbox keeps what is for them.
        """
        missing: dict[str, ServiceNotFound] = {}
        asked: set[str] = set()
        for name in set(names):
            if not self._is_known(name):
                if name not in self._asked and len(self._asked) < MOST_ASKED:
                    self._asked[name] = self._run(self._ask(name), f"look for {name[:100]}")
                if name in self._asked:
                    asked.add(name)
                continue
            error = self._seen[name][1]
            if error is not None:
                missing[name] = error
        return missing, asked

    def is_asked(self, name: str) -> bool:
        """Return whether the broker is being asked about somebody."""
        return name in self._asked

    async def ask(self, name: str) -> None:
        """Wait until it is known whether somebody is there, or the broker does not tell."""
        if name in self.look([name])[1]:
            await asyncio.wait({self._asked[name]})

    def _is_known(self, name: str) -> bool:
        seen = self._seen.get(name)
        return seen is not None and clock.monotonic() - seen[0] < (FRESH if seen[1] else THERE)

    async def _ask(self, name: str) -> None:
        error = None
        try:
            async with asyncio.timeout(PATIENCE), self._free:
                error = None if await self._is_there(name) else _not_there(name)
        except (TimeoutError, Unavailable):
            error = None  # it cannot be told
        finally:
            self._asked.pop(name, None)
        while len(self._seen) >= MOST:
            del self._seen[next(iter(self._seen))]
        self._seen.pop(name, None)  # so that the first ones are those that were seen first
        self._seen[name] = clock.monotonic(), error
        self._heard()

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
