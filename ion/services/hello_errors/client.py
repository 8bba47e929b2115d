"""The typed client of the hello_errors service."""

from __future__ import annotations

from ion.process.client import ServiceClient


class HelloErrorsClient(ServiceClient, service="hello_errors"):
    """Calls the hello_errors service."""

    async def greet(self, name: str, *, timeout: float | None = None) -> str:
        """Return a greeting with the guest's title.

        :raises ReceivedApplicationError: 404, type ``Stranger``: there is no such guest.
        """
        answer: str = await self._call("greet", {"name": name}, timeout=timeout, returns=str)
        return answer

    async def share(self, cakes: int, guests: int, *, timeout: float | None = None) -> float:
        """Return each guest's share.

        :raises ReceivedContainerError: 500, type ``ZeroDivisionError``: there are no guests.
        """
        content = {"cakes": cakes, "guests": guests}
        answer: float = await self._call("share", content, timeout=timeout, returns=float)
        return answer
