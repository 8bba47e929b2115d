"""A service that tells everybody what happens.

An *event* is published to an exchange point under a topic; the publisher neither knows nor cares
who hears it. Whoever subscribes does so by patterns of topics: see ``listener.py`` beside this.
"""

from __future__ import annotations

from ion.base.errors import ApplicationError
from ion.process.service import Service

POINT = "events"
DOORS = ("front", "back", "garden")


class HelloEventsService(Service, name="hello_events", version="0.1.0"):
    """Lets guests in, and tells."""

    async def op_arrive(self, name: str, door: str = "front") -> None:
        """Let a guest in: published as ``hello.arrived.<door>``, with ``{"name", "door"}``."""
        if door not in DOORS:
            message = f"there is no {door} door, only: {', '.join(DOORS)}"
            raise ApplicationError(message, details={"doors": DOORS})
        await self.publish(POINT, f"hello.arrived.{door}", {"name": name, "door": door})
