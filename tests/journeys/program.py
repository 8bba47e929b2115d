"""An `ioncc` of its own, which a journey starts, kills and starts again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from tests.journeys.faults.fleet import PATIENCE, ROOT
from tests.shell.forking import Forked, shared


class Program:
    """One `ioncc` in a folder, where its store and its keys are, too.

    :param words: what it is to start, and more of its options.
    :param settings: configuration; ``store.url`` is an SQLite file in the folder by default.
    :ivar said: what it wrote on standard error, in all of its lives.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *words: str,
        sysname: str = "kills",
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = folder
        self.url = url
        self.store = f"sqlite:///{folder}/store.db"
        self.process: Forked | None = None
        self.said: list[str] = []
        self._reading: asyncio.Task[None] | None = None
        options = ["-n", "-b", url, "-s", sysname]
        for key, value in {"store.url": self.store, **(settings or {})}.items():
            options += ["--set", f"{key}={value}"]
        self._words = [*options, *words]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Start it; return when it is ready."""
        await self.close()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(self.folder)}
        self.process = await asyncio.to_thread(
            lambda: shared().start(self._words, self.folder, env, mute=True)
        )
        ready = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(ready))
        async with asyncio.timeout(PATIENCE):
            assert await ready, "".join(self.said)

    async def _read(self, ready: asyncio.Future[bool]) -> None:
        assert self.process is not None
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), self.process.stderr
        )
        async for line in lines:
            self.said.append(line.decode())
            if line.startswith(b"ready ") and not ready.done():
                ready.set_result(True)
        if not ready.done():
            ready.set_result(False)

    async def over(self) -> int:
        """Return how it ended, once it has."""
        assert self.process is not None
        assert self._reading is not None
        async with asyncio.timeout(PATIENCE):
            await asyncio.shield(self._reading)
        return await asyncio.to_thread(self.process.wait, PATIENCE)

    async def stop(self) -> int:
        """End it as an operator does; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.over()

    async def kill(self) -> None:
        """Kill it where it runs."""
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait, PATIENCE)

    async def close(self) -> None:
        """Leave nothing of it behind."""
        await self.kill()
        if self._reading is not None:
            await self._reading
