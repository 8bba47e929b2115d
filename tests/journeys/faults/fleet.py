"""A fleet of OS processes that a journey starts, stops, freezes and kills."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.shell.forking import Forked, shared

ZYGOTE = "tests.journeys.faults.zygote"
ROOT = Path(__file__).parents[3]
PATIENCE = 30.0  # seconds for what takes milliseconds on a machine with nothing else to do
LIFETIME = 7200.0


class Member:
    """One OS process.

    :ivar pid: its id; 0 before it began.
    :ivar heard: what it said and what became of it, as (word, value), without what was awaited.
    :ivar served: whether it said that it was ready.
    :ivar error: what it failed with, or "".
    """

    def __init__(self) -> None:
        self.pid = 0
        self.alive = True
        self.served = False
        self.error = ""
        self.heard: deque[tuple[str, Any]] = deque()
        self._news = asyncio.Event()

    def hear(self, word: str, value: Any) -> None:
        """Take one line about it."""
        if word == "ended":
            self.alive = False
        if word == "ready":
            self.served = True
        if word == "failed":
            self.error = value
        self.heard.append((word, value))
        self._news.set()

    async def said(self, word: str, patience: float = PATIENCE) -> Any:
        """Return the value that comes with ``word``, once it was said; forget what came before.

        :raises AssertionError: it ended without, or did not say so in time.
        """
        try:
            async with asyncio.timeout(patience):
                while True:
                    while self.heard:
                        heard, value = self.heard.popleft()
                        if heard == word:
                            return value
                    assert self.alive, f"process {self.pid} ended without {word!r}: {self.error}"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"process {self.pid} never said {word!r}") from None

    def signal(self, number: int) -> None:
        """Send it a signal; nothing where it is gone."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def go(self) -> None:
        """Tell it to go on; each role says with what."""
        self.signal(signal.SIGUSR1)

    async def kill(self) -> None:
        """Kill it with SIGKILL, and see it dead."""
        self.signal(signal.SIGKILL)
        await self.over()

    async def stop(self) -> int:
        """Stop it as an operator would; return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.over()

    async def over(self, patience: float = PATIENCE) -> int:
        """Return its exit code (negative: the signal that killed it) once it is dead."""
        code: int = await self.said("ended", patience)
        self.heard.append(("ended", code))
        return code

    async def freeze(self) -> None:
        """Suspend it with SIGSTOP, and see it stopped."""
        self.signal(signal.SIGSTOP)
        await self.said("stopped")

    def thaw(self) -> None:
        """Let it go on after :meth:`freeze`, or after it has stopped itself."""
        self.signal(signal.SIGCONT)


class Fleet:
    """Forks processes from one that has ION imported; use it as an async context manager."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._members: dict[int, Member] = {}
        self._begun: dict[int, asyncio.Future[Member]] = {}
        self._zygote: Forked
        self._reading: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._zygote = await asyncio.to_thread(shared().feed, [], ROOT, ZYGOTE)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for member in self._members.values():
            member.signal(signal.SIGKILL)
        self._zygote.stdin.close()
        await asyncio.to_thread(self._zygote.wait, PATIENCE)
        await self._reading

    async def _read(self) -> None:
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), self._zygote.stdout
        )
        async for line in lines:
            pid, word, value = json.loads(line)
            if word == "started":
                member = self._members.setdefault(pid, Member())
                member.pid = pid
                self._begun.pop(value).set_result(member)
            else:  # a child may speak before its parent tells of it
                self._members.setdefault(pid, Member()).hear(word, value)
            if word == "ended":  # its number may be given to another
                del self._members[pid]

    async def start(self, role: str, **args: Any) -> Member:
        """Start a process that runs ``role``, a coroutine function of :mod:`roles`, and no more."""
        number = next(self._numbers)
        begun: asyncio.Future[Member] = asyncio.get_running_loop().create_future()
        self._begun[number] = begun
        order = {"number": number, "role": f"tests.journeys.faults.roles:{role}", "args": args}
        print(json.dumps(order), file=self._zygote.stdin, flush=True)
        async with asyncio.timeout(PATIENCE):
            return await begun

    async def host(self, url: str, sysname: str, target: str, **options: Any) -> Member:
        """Start a process that hosts ``target``; return once it serves. See ``roles.host``."""
        member = await self.start("host", url=url, sysname=sysname, target=target, **options)
        await member.said("ready")
        return member


class Keeper:
    """Keeps some processes that host a service running: one that is killed is replaced at once.

    As an async context manager; at its end they are stopped, and those that serve must drain.

    :ivar deaths: how many were killed.
    """

    def __init__(self, fleet: Fleet, count: int, url: str, sysname: str, **options: Any) -> None:
        self._fleet = fleet
        self._count = count
        self._options = {"url": url, "sysname": sysname, **options}
        self._tasks: list[asyncio.Task[None]] = []
        self._members: dict[int, Member] = {}
        self._is_over = False
        self.deaths = 0

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._keep(n)) for n in range(self._count)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        for member in self._members.values():
            member.signal(signal.SIGTERM)
        await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raise what ended the keeping of a process; none is replaced after that."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _keep(self, place: int) -> None:
        while not self._is_over:
            member = self._members[place] = await self._fleet.start("host", **self._options)
            if self._is_over:  # it was told to nobody that was there
                member.signal(signal.SIGTERM)
            code = await member.over(LIFETIME)
            if code == -signal.SIGKILL:
                self.deaths += 1
                continue
            assert self._is_over, f"it ended with {code}: {member.error}"
            assert code in {0, -signal.SIGTERM}, f"stopped, and ended with {code}: {member.error}"
            assert code == 0 or not member.served, "stopped, and did not drain"
