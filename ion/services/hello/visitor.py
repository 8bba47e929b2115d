"""A visitor of the hello services: something to see when nobody has typed anything yet.

It teaches how one process calls others: by typed clients that are given ``self``.
"""

from __future__ import annotations

import logging

from ion.base import clock
from ion.base.errors import IonError, ReceivedError
from ion.process.process import Process
from ion.services.hello.client import HelloClient
from ion.services.hello_errors.client import HelloErrorsClient
from ion.services.hello_progress.client import HelloProgressClient

log = logging.getLogger(__name__)


class Visitor(Process):
    """Greets, takes a tour and asks for somebody unknown; then greets again, and falls silent.

    :param interval: seconds between greetings.
    :param visits: greetings until it falls silent.
    """

    def __init__(self, interval: float = 10.0, visits: int = 3) -> None:
        self.interval = interval
        self.visits = visits

    async def on_activate(self) -> None:
        """Begin in the background: the visitor is up before its visit is over."""
        self.run(self._visit(), "visit")

    async def _visit(self) -> None:
        await clock.sleep(min(1.0, self.interval))  # let the shell have the first word
        try:
            await self._greet(1)
            await self._tour()
            await self._ask_for("Godot")
            for visit in range(2, self.visits + 1):
                await clock.sleep(self.interval)
                await self._greet(visit)
        except IonError as error:  # a service was stopped meanwhile: no harm done
            log.warning("the visit is cut short: %s", error)
        else:
            log.info("the visitor has seen it all, and is quiet from now on")

    async def _greet(self, visit: int) -> None:
        log.info("hello answers: %s", await HelloClient(self).hello(f"visitor ({visit})"))

    async def _tour(self) -> None:
        tour = HelloProgressClient(self).tour(stops=3)
        async for step in tour:
            log.info("the tour is at stop %(stop)s of %(of)s: the %(place)s", step)
        log.info("the tour is over: %s", await tour)

    async def _ask_for(self, name: str) -> None:
        try:
            await HelloErrorsClient(self).greet(name)
        except ReceivedError as error:
            log.info("hello_errors answers with error %s %s: %s", error.code, error.type, error)
