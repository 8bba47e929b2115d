"""The client of the work queue."""

from __future__ import annotations

from typing import Any, Protocol


class Sender(Protocol):
    """What can send: a process, a container, or what ``ion.connect`` gives."""

    async def send(self, to: str, op: str, content: Any = None, **options: Any) -> None:
        """Send one message that nobody answers."""


class WorkQueueClient:
    """Hands out jobs, whose results go to a collector.

    :param collector: process id of a ``Collector``.
    """

    def __init__(self, sender: Sender, collector: str) -> None:
        self._sender = sender
        self._collector = collector

    async def square(self, number: int) -> None:
        """Hand out a job; return when the broker has it, not when it is done.

        :raises ServiceNotFound: there is no such queue: no worker has ever run in this system.
        """
        content = {"number": number, "collector": self._collector}
        await self._sender.send("workqueue", "square", content)
