"""The client of the hello_events service."""

from __future__ import annotations

from ion.process.client import ServiceClient


class HelloEventsClient(ServiceClient, service="hello_events"):
    """Comes to visit."""

    async def arrive(self, name: str, door: str = "front", *, timeout: float | None = None) -> None:
        """Let a guest in; whoever listens hears of it."""
        await self._call("arrive", {"name": name, "door": door}, timeout=timeout)
