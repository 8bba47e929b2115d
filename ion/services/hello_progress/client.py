"""The client of the hello_progress service."""

from __future__ import annotations

from typing import Any, Protocol

from ion.process.conversations.request import RequestConversation


class Requester(Protocol):
    """What can make requests: a process, a container, or what ``ion.connect`` gives."""

    def request(
        self, to: str, op: str, content: Any = None, timeout: float | None = None
    ) -> RequestConversation:
        """Begin a request conversation."""


class HelloProgressClient:
    """Takes tours.

    ::

        tour = HelloProgressClient(container).tour(stops=3)
        async for step in tour:
            print(step["place"])
        print(await tour)
    """

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def tour(
        self, stops: int = 3, pause: float = 0.2, *, timeout: float | None = None
    ) -> RequestConversation:
        """Begin a tour: iterate it for its stops, await it for its end, cancel it to leave.

        Awaiting it raises ``Refused`` where there are not so many places.
        """
        content = {"stops": stops, "pause": pause}
        return self._requester.request("hello_progress", "tour", content, timeout)
