"""Requests about children of a supervisor that wait until these are up, or down."""

from __future__ import annotations

import asyncio
from typing import Literal

from ion.base.errors import LifecycleError

What = Literal["up", "down"]
UP: What = "up"
DOWN: What = "down"


class Requests:
    """Who waits for what; each is answered once."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, What], list[asyncio.Future[None]]] = {}

    def add(self, id: str, what: What) -> asyncio.Future[None]:
        """Return what is done when the child is ``what``, or raises LifecycleError."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.setdefault((id, what), []).append(future)
        return future

    def met(self, id: str, what: What) -> None:
        """Tell those who wait for it that the child is."""
        for future in self._open.pop((id, what), ()):
            if not future.done():
                future.set_result(None)

    def failed(self, id: str, message: str) -> None:
        """Tell those who wait for the child to come up that it does not."""
        for future in self._open.pop((id, UP), ()):
            if not future.done():
                future.set_exception(LifecycleError(message))

    def close(self, message: str) -> None:
        """Tell all that is left: all children are down."""
        for child, what in list(self._open):
            if what == DOWN:
                self.met(child, what)
            else:
                self.failed(child, message)
