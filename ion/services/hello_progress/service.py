"""A service that tells how far it is.

A *request* is a conversation for work that takes a while: the service agrees or refuses, reports
progress, and ends with a result or a failure; the caller may cancel it at any time, which cancels
the op. The steps are checked by a state machine on both sides.
"""

from __future__ import annotations

from ion.base import clock
from ion.base.errors import Refused
from ion.process.service import Service

PLACES = ("mailbox", "exchange", "broker", "kitchen", "garden")


class HelloProgressService(Service, name="hello_progress", version="0.1.0"):
    """Shows visitors around."""

    async def op_tour(self, stops: int = 3, pause: float = 0.2) -> str:
        """Report each stop; say at the end how many there were.

        More stops than there are places are refused. Who calls by rpc does not follow progress:
        the same tour, silent.
        """
        if not 1 <= stops <= len(PLACES):
            message = f"a tour has 1 to {len(PLACES)} stops, not {stops}"
            raise Refused(message)
        for stop, place in enumerate(PLACES[:stops], 1):
            step = {"stop": stop, "of": stops, "place": place}
            await self.reply_progress(self.message, step)
            await clock.sleep(pause)
        return f"{stops} stops seen"
