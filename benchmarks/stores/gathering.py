"""Calls that wait together, done as one: as lean as a bare driver's user can write it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any


class Gathered:
    """Does what waits while a round trip is under way in the next one.

    :param do: does many, and returns as many results.
    """

    def __init__(self, do: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]) -> None:
        self._do = do
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    def call(self, item: Any) -> asyncio.Future[Any]:
        """Return what an item returns."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return future

    async def _run(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting, []
            results = await self._do([item for item, _ in some])
            for (_, future), result in zip(some, results, strict=True):
                future.set_result(result)
            await asyncio.sleep(0)  # who was answered calls again, and is in the next one
        self._task = None
