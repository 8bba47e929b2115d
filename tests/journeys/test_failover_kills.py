"""Failover in earnest: containers that are killed, suspended and stopped, under steady calls.

Each is an `ioncc` of its own on a real RabbitMQ. The service notes each moment that it is at work,
and the fencing token that it works with: never two at once, and tokens grow. With ION_SOAK=1 ten
holders are killed in a row.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ion import IonError, connect
from ion.process.connection import Connection
from tests.container.failover.test_failover import APP
from tests.journeys.faults.fleet import PATIENCE
from tests.journeys.program import Program

pytestmark = [pytest.mark.amqp, pytest.mark.slow]

SOAK = bool(os.environ.get("ION_SOAK"))
KILLS = 10 if SOAK else 2
AGAIN = 5.0  # seconds until it serves again
SLACK = 1.0 if SOAK else 5.0  # on a machine with much else to do
RATE = 50.0  # calls a second
TIMEOUT = 20.0


@dataclass(frozen=True)
class Line:
    """A moment at which the service was at work."""

    token: int
    at: float
    pid: int
    word: str


class Book:
    """What the instances of the service have written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self) -> list[Line]:
        return [Line(*json.loads(line)) for line in self.path.read_text().splitlines()]

    def last(self) -> Line:
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - 4096))
            return Line(*json.loads(file.read().splitlines()[-1]))

    def check(self) -> list[int]:
        """Return the tokens, in order: none was at work when another one was, and they grow."""
        spans: dict[int, list[float]] = {}
        for line in self.lines():
            first, last = spans.get(line.token, [line.at, line.at])
            spans[line.token] = [min(first, line.at), max(last, line.at)]
        tokens = sorted(spans)
        for earlier, later in itertools.pairwise(tokens):
            assert spans[earlier][1] < spans[later][0], (earlier, later, spans)
        return tokens


class Load:
    """Calls at a steady rate, until it is over, and what became of each."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.sent = 0
        self.failed: dict[str, int] = {}
        self.answered: list[tuple[float, float]] = []  # begun, ended
        self.over = False

    async def run(self) -> None:
        begun: set[asyncio.Task[None]] = set()
        while not self.over:
            task = asyncio.create_task(self._call(f"call-{self.sent}"))
            begun.add(task)
            task.add_done_callback(begun.discard)
            self.sent += 1
            await asyncio.sleep(1 / RATE)
        await asyncio.gather(*begun)

    async def _call(self, key: str) -> None:
        began = time.monotonic()
        try:
            answer = await self.connection.rpc_send("alone", "add", {"key": key}, timeout=TIMEOUT)
        except IonError as error:
            self.failed[type(error).__name__] = self.failed.get(type(error).__name__, 0) + 1
        else:
            assert answer == key
            self.answered.append((began, time.monotonic()))

    @property
    def lost(self) -> int:
        return self.sent - len(self.answered) - sum(self.failed.values())

    def served_after(self, moment: float) -> float | None:
        """Return when the first call that began later was answered."""
        return min((end for begin, end in self.answered if begin > moment), default=None)


@pytest.fixture
async def scene(tmp_path, amqp_url):
    book = Book(tmp_path / "book")
    (tmp_path / "alone.app").write_text(APP.format(failover="true", args=f"{{book: {book.path}}}"))
    members: list[Program] = []

    async def add() -> Program:
        members.append(Program(tmp_path, amqp_url, "alone.app", settings={"broker.heartbeat": 1}))
        await members[-1].start()
        return members[-1]

    for _ in range(3):
        await add()
    yield book, members, add
    for member in members:
        await member.close()


async def until(condition, complaint: str, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, complaint
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def loaded(url: str):
    # no container: that would stand by, too, and be killed for it
    async with connect(url, sysname="kills") as connection:
        load = Load(connection)
        running = asyncio.create_task(load.run())
        try:
            yield load
        finally:
            load.over = True
            await running


async def test_holders_are_killed_one_after_another(scene, amqp_url, record_property):
    book, _, add = scene
    gaps = []
    async with loaded(amqp_url) as load:
        await until(lambda: load.answered, "it never served")
        for _ in range(KILLS):
            pid = book.last().pid
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            await until(lambda: load.served_after(killed), "it does not serve again")  # noqa: B023
            gaps.append(load.served_after(killed) - killed)
            await add()
    tokens = book.check()
    text = (
        f"failover/kill -9 of the holder: {KILLS} kills, again after "
        f"{min(gaps):.1f} to {max(gaps):.1f} s; {load.sent} calls, {len(load.answered)} answered, "
        f"failed {load.failed or 'none'}, lost {load.lost}, tokens {len(tokens)}"
    )
    record_property("journey", text)
    assert load.lost == 0
    assert len(tokens) == KILLS + 1
    assert max(gaps) < AGAIN + SLACK, gaps
    assert set(load.failed) <= {"ReceivedContainerError"}, load.failed


async def test_a_holder_that_is_suspended_does_not_serve_beside_the_next(scene, amqp_url):
    book, members, _ = scene
    async with loaded(amqp_url) as load:
        await until(lambda: load.answered, "it never served")
        first = book.last()
        sleeper = next(member for member in members if member.pid == first.pid)
        os.kill(first.pid, signal.SIGSTOP)
        await until(lambda: book.last().token > first.token, "nobody took it over")
        second = book.last()
        count = len(load.answered)
        await until(lambda: len(load.answered) > count + 20, "it does not serve")
        os.kill(first.pid, signal.SIGCONT)
        await until(
            lambda: any("not held any more" in line for line in sleeper.said),
            "the sleeper does not know",
        )
        count = len(load.answered)
        await until(lambda: len(load.answered) > count + 50, "it does not serve any more")
        assert book.last().pid == second.pid
    assert book.check() == [first.token, second.token]
    assert load.lost == 0
    assert sleeper.process.poll() is None
    os.kill(first.pid, signal.SIGTERM)
    assert await sleeper.over() == 0


async def test_holders_that_are_stopped_hand_over_without_a_gap(scene, amqp_url):
    book, members, _ = scene
    async with loaded(amqp_url) as load:
        await until(lambda: load.answered, "it never served")
        for _ in range(2):
            token = book.last().token
            holder = next(member for member in members if member.pid == book.last().pid)
            os.kill(holder.pid, signal.SIGTERM)
            await until(lambda: book.last().token > token, "nobody took it over")  # noqa: B023
            assert await holder.over() == 0
    assert len(book.check()) == 3
    assert load.failed == {}
    assert load.lost == 0
