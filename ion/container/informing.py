"""Before a container serves anybody, it finds out which tokens were revoked while it was not there.

Where the service ``identity`` does not answer in time, the container starts all the same, and goes
on asking; what is revoked from now on it hears as all do. Until it knows, it takes the tokens that
it can check (setting ``identity.revocations``: ``ask``), or none but the system's (``require``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from ion.base.errors import IonError, ServiceNotFound
from ion.process.calling import Calling
from ion.process.identity.catching_up import SERVICE, catch_up

log = logging.getLogger(__name__)
WITHIN = 3.0  # seconds that a start waits for it
PAUSE = 1.0  # seconds between two tries


class Informing:
    """Informs one container; :meth:`open` it once its agent hears of what is revoked."""

    def __init__(self, caller: Calling) -> None:
        self._caller = caller
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # there is an answer, or nobody to give one

    async def open(self) -> None:
        """Ask what was revoked, and wait for the answer so long. Never raises."""
        if not self._caller._endpoint.desk.is_strict:
            return
        self._task = asyncio.create_task(self._learn(), name="what was revoked")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITHIN):
                await self._settled.wait()

    async def close(self) -> None:
        """Ask no more. Never raises."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _learn(self) -> None:
        endpoint, said = self._caller._endpoint, ""
        while True:
            try:
                count = await self._asked()
            except ServiceNotFound:
                self._settled.set()
                if not endpoint.desk.waits:
                    return  # nobody revokes anything here, or says so once it is there
                why = f"there is no service {SERVICE!r}"
            except IonError as error:
                why = error.message
            else:
                endpoint.desk.waits = False
                self._settled.set()
                log.log(logging.INFO if count else logging.DEBUG, "%d are revoked", count)
                return
            if why != said:
                then = (
                    "no token is taken" if endpoint.desk.waits else "tokens are taken all the same"
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
