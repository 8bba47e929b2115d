"""What the tests of failover run: a service of which there must be one."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar

from ion import ApplicationError, Service

STEP = 0.01


class Alone(Service, name="alone", version="1.0.0"):
    """Tells who it is, and notes in a file when it was at work, and with what token.

    :param book: the file.
    :param broken: containers in which it fails at its start, by the end of their id; or ``all``.
    :param blocks: seconds for which its start holds up the loop.
    """

    started: ClassVar[list[str]] = []

    def __init__(
        self, book: str = "", broken: str = "", colour: str = "", blocks: float = 0.0
    ) -> None:
        self.book = Path(book) if book else None
        self.blocks = blocks
        self.broken = broken
        self.colour = colour
        self.steps = 0

    async def on_activate(self) -> None:
        Alone.started.append(self.id)
        if self.broken and (self.broken == "all" or self._container().endswith(self.broken)):
            raise ApplicationError("it does not run here")
        if self.blocks:
            time.sleep(self.blocks)  # noqa: ASYNC251 - as bad code does
            await asyncio.sleep(10 * STEP)
        if self.book is not None:
            self.run(self._work())

    def _container(self) -> str:
        return self.id.rpartition(".")[0]

    async def _work(self) -> None:
        while True:
            self.note("works")
            self.steps += 1
            await asyncio.sleep(STEP)

    def note(self, word: str) -> None:
        """Append a line to the book, in one write."""
        assert self.book is not None
        assert self.lease is not None
        line = json.dumps([self.lease.token, time.monotonic(), os.getpid(), word])
        with self.book.open("a") as file:
            file.write(line + "\n")

    async def op_who(self) -> dict[str, Any]:
        token = self.lease.token if self.lease is not None else None
        return {"pid": self.id, "token": token, "colour": self.colour, **self.app_config}

    async def op_add(self, key: str) -> str:
        if self.book is not None:
            self.note(key)
        return key

    async def op_fail(self) -> None:
        self.fail("told to")
