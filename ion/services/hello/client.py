"""The typed client of the hello service."""

from __future__ import annotations

from ion.process.client import ServiceClient


class HelloClient(ServiceClient, service="hello"):
    """Calls the hello service: ``await HelloClient(container).hello("you")``."""

    async def hello(self, text: str = "Hi there", *, timeout: float | None = None) -> str:
        """Return a greeting that repeats ``text``.

        :raises IonError: as every call; see ``ion.base.errors``.
        """
        answer: str = await self._call("hello", {"text": text}, timeout=timeout, returns=str)
        return answer
