"""What all parts of the identity service share: the book, the issuer, and the telling."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from ion.base.errors import IonError
from ion.observe.context import current_call
from ion.process.identity.issuer import Issuer
from ion.process.identity.revocations import ACTOR, ONE, Revocation
from ion.process.identity.telling import tell
from ion.process.process import Process
from ion.services.identity.book import Book

log = logging.getLogger(__name__)
PATIENCE = 5.0  # seconds for all containers to say that they have heard


class Office(Process):
    """Base of the parts of the service; holds nothing that is not in the store.

    :ivar book: what is kept; issuer: makes the tokens.
    """

    book: Book
    issuer: Issuer
    _max_life: float = 86_400.0

    async def revoke(self, kind: str, name: str, reason: str) -> int:
        """Revoke a token, or an actor's tokens so far; return how many containers have heard.

        It is kept first: whoever did not hear it is told again.
        """
        now = time.time()
        what = ONE if kind == ONE else ACTOR
        revocation = Revocation(what, name, now, now + self._max_life + 60.0, reason)
        await self.book.revoke(revocation)
        return await self.announce([revocation])

    async def announce(self, told: Sequence[Revocation]) -> int:
        """Tell all containers what was revoked; return how many have heard. Never raises."""
        self._endpoint.desk.revoke(told)
        task = asyncio.create_task(self._tell(told), name="revocations")
        return await asyncio.shield(task)

    async def _tell(self, told: Sequence[Revocation]) -> int:
        current_call.set(None)  # it is the service's own call, and not of who has asked
        try:
            return await tell(self._endpoint, told, PATIENCE)
        except IonError as error:
            log.warning("what was revoked is not told yet, and will be: %s", error)
            return 0
