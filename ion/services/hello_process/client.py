"""The typed client of a hello process."""

from __future__ import annotations

from ion.process.client import ServiceClient


class HelloProcessClient(ServiceClient):
    """Calls one hello process: ``await HelloProcessClient(pid, container).hello("you")``."""

    async def hello(self, text: str = "Hi there", *, timeout: float | None = None) -> str:
        """Return a greeting that repeats ``text``.

        :raises ProcessNotFound: it is gone.
        """
        answer: str = await self._call("hello", {"text": text}, timeout=timeout, returns=str)
        return answer

    async def count(self, *, timeout: float | None = None) -> int:
        """Return how many greetings it has given."""
        answer: int = await self._call("count", timeout=timeout, returns=int)
        return answer
