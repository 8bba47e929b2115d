"""The typed client of the echo service."""

from __future__ import annotations

from typing import Any

from ion.process.client import ServiceClient


class EchoClient(ServiceClient, service="echo"):
    """Calls the echo service."""

    async def rot13(self, text: str, *, timeout: float | None = None) -> str:
        """Return ``text`` with each letter moved by half the alphabet."""
        answer: str = await self._call("rot13", {"text": text}, timeout=timeout, returns=str)
        return answer

    async def echo(self, content: Any, *, timeout: float | None = None) -> dict[str, Any]:
        """Return a map: ``content`` as it came, ``sender``, ``content_type``."""
        answer: dict[str, Any] = await self._call(
            "echo", content, timeout=timeout, returns=dict[str, Any]
        )
        return answer
