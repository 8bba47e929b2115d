"""Before a container serves anybody, it finds out which tokens were revoked while it was not there.

It does so again when its broker was away.

Where the service ``identity`` does not answer in time, the container starts all the same, and goes
on asking; what is revoked from now on it hears as all do. Until it knows, it takes the tokens that
it can check (setting ``identity.revocations``: ``ask``), or none but the system's (``require``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging

from ion.base.errors import IonError, ServiceNotFound
from ion.base.tasks import Tasks
from ion.messaging.transport import TransportState
from ion.process.calling import Calling
from ion.process.identity.revocation_catch_up import SERVICE, catch_up

log = logging.getLogger(__name__)
WITHIN = 3.0  # seconds that a start waits for it
PAUSE = 1.0  # seconds between two tries
TRIES = 10  # until it is believed that there is no such service: others come back later than this


class RevocationSync:
    """Keeps one container told; :meth:`open` it once its agent hears of what is revoked."""

    def __init__(self, caller: Calling) -> None:
        self._caller = caller
        self._tasks = Tasks("revocation sync")
        self._task: asyncio.Task[None] | None = None
        self._was_away = self._is_closed = False
        self._settled = asyncio.Event()  # there is an answer, or nobody to give one

    async def open(self) -> None:
        """Ask what was revoked, and wait for the answer so long. Never raises."""
        if not self._caller._endpoint.auth.is_strict:
            return
        self._begin()
        self._caller._endpoint.transport.on_state(self._on_state)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITHIN):
                await self._settled.wait()

    def _begin(self) -> None:
        self._caller._endpoint.auth.asking()  # the broker may have been away for long
        if self._task is None or self._task.done():
            self._task = self._tasks.start(self._learn(), "what was revoked")

    def _on_state(self, state: TransportState) -> None:
        """Ask anew where the broker was away: what was revoked meanwhile was not heard."""
        desk = self._caller._endpoint.auth
        if state is TransportState.LOST:
            self._was_away = True
            desk.waits = desk.settings.revocations == "require"
        elif state is TransportState.CONNECTED and self._was_away and not self._is_closed:
            self._was_away = False
            self._begin()

    async def close(self) -> None:
        """Ask no more. Never raises."""
        self._is_closed = True
        await self._tasks.stop()

    async def _learn(self) -> None:
        endpoint, said = self._caller._endpoint, ""
        for tried in itertools.count(1):
            try:
                count = await self._asked()
            except ServiceNotFound:
                self._settled.set()
                if not endpoint.auth.waits and tried >= TRIES:
                    return  # nobody revokes anything here, or says so once it is there
                why = f"there is no service {SERVICE!r}" if endpoint.auth.waits else ""
            except IonError as error:
                why = error.message
            else:
                endpoint.auth.waits = False
                self._settled.set()
                log.log(logging.INFO if count else logging.DEBUG, "%d revocations are known", count)
                return
            if why and why != said:
                then = (
                    "no token is taken" if endpoint.auth.waits else "tokens are taken all the same"
                )
                log.warning("what was revoked is not known yet, and %s: %s", then, why)
            said = why
            await asyncio.sleep(PAUSE)

    async def _asked(self) -> int:
        """Return how much is known to be revoked, once all that was is.

        :raises ServiceNotFound: nobody answers for the service ``identity`` now.
        """
        endpoint = self._caller._endpoint
        info = await endpoint.transport.queue_info(f"{endpoint.namespace.sysname}.{SERVICE}")
        if info is None or not info.consumers:
            message = f"nobody is there for {SERVICE!r}"
            raise ServiceNotFound(message)
        return await catch_up(self._caller, WITHIN)
