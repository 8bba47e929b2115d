"""T6: three containers are restarted in turn under constant load; nobody notices.

Each is an `ioncc` of its own, ended with SIGTERM and started again, while calls come at a steady
rate, each with its own key: no error, none lost, none executed twice.
"""

from __future__ import annotations

import asyncio

import pytest

from ion import Container, IonError
from tests.journeys.program import Program

pytestmark = [pytest.mark.amqp, pytest.mark.slow]

CONTAINERS = 3
RATE = 300  # calls a second
TIMEOUT = 15.0
PAUSE = 0.02  # seconds in the handler: some calls are always at work
ROUNDS = (1, 20)


class Load:
    """Calls at a steady rate, until it is over."""

    def __init__(self, container: Container, tally) -> None:
        self.container = container
        self.tally = tally
        self.over = False
        self.worst = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        begun: set[asyncio.Task[None]] = set()
        at = loop.time()
        while not self.over:
            task = asyncio.create_task(self._call(f"call-{self.tally.sent}"))
            begun.add(task)
            task.add_done_callback(begun.discard)
            self.tally.sent += 1
            at += 1 / RATE
            await asyncio.sleep(max(at - loop.time(), 0))
        await asyncio.gather(*begun)

    async def _call(self, key: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answer = await self.container.rpc_send("plain", "do", {"key": key}, timeout=TIMEOUT)
        except IonError as error:
            self.tally.ended(error)
        else:
            assert answer == key
            self.tally.ended(None)
            self.worst = max(self.worst, loop.time() - began)


@pytest.fixture
async def three(tmp_path, amqp_url, effects):
    text = (
        "type: application\nname: rolling\nversion: 1.0.0\n"
        "mod:\n  name: tests.journeys.faults.actors:Plain\n"
        f"  kwargs: {{effects: '{effects.path}', pause: {PAUSE}}}\n"
    )
    (tmp_path / "rolling.app").write_text(text)
    started = [
        Program(tmp_path, amqp_url, "rolling.app", sysname="rolling") for _ in range(CONTAINERS)
    ]
    await asyncio.gather(*(one.start() for one in started))
    yield started
    for one in started:
        await one.close()


async def test_nobody_notices_a_rolling_restart(three, amqp_url, effects, new_tally, size):
    tally = new_tally("T6 three ioncc/SIGTERM in turn")
    rounds = size(*ROUNDS)
    async with Container(amqp_url, sysname="rolling") as container:
        load = Load(container, tally)
        running = asyncio.create_task(load.run())
        for _ in range(rounds):
            for one in three:
                assert await one.stop() == 0, one.said
                await one.start()
        load.over = True
        await running
        assert len(container.endpoint.conversations.open) == 0
    tally.effects = effects.all()
    tally.lost = tally.sent - tally.ends
    tally.notes |= {"restarts": rounds * CONTAINERS, "slowest": f"{load.worst:.2f}s"}
    assert tally.failed == {}
    assert tally.lost == 0
    assert tally.answered == tally.sent
    assert tally.repeats == []
    assert tally.executed == tally.sent
