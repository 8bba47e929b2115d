"""Effects that happen once: containers are killed at every step of a unit of work, and at random.

A payer counts a payment and sends its booking, in one unit of work; a booker counts it in another.
Whoever is killed, and whenever: each payment and each booking is counted once. With ION_SOAK=1 a
thousand are killed on each engine.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ion import Container, DeadlineExceeded, Unavailable
from ion.process.exactly_once.message_store import OUTBOX
from tests.journeys.faults.fleet import Fleet, Keeper
from tests.journeys.faults.tally import PROPERTY, Effects, Tally
from tests.journeys.faults.waiting import until
from tests.journeys.mortals import MOMENTS

SOAK = bool(os.environ.get("ION_SOAK"))
EACH = 100 if SOAK else 2  # kills at each moment
RANDOM_KILLS = 300 if SOAK else 4
CALLS = 500 if SOAK else 10
PATIENCE = 3600 if SOAK else 90
HOSTS = 2
SYSTEM = "once"

pytestmark = [
    pytest.mark.amqp,
    pytest.mark.slow,
    pytest.mark.timeout(2 * PATIENCE),
]


@pytest.fixture(params=["sqlite", "postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Give the configuration of all containers of a test: one store, short pauses."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/store.db"
    else:
        url = request.getfixturevalue("postgres_url")
    # Those that are near a message that kills count attempts, too: here they are killed often.
    tries = {"service.retry_delays": [0.05], "service.attempts": 100}
    return {"store.url": url, "store.lease": 0.5, **tries}


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Give the counts of a test; their line is printed at the end of the run."""
    counts = Tally(f"exactly once, {request.node.name}")
    yield counts
    request.node.user_properties.append((PROPERTY, counts.line()))


class Scene:
    """Payers and bookers that are kept running, and a container that looks at what they do."""

    def __init__(
        self, container: Container, keepers: list[Keeper], effects: Effects, marks: Path
    ) -> None:
        self.container = container
        self.keepers = keepers
        self.effects = effects
        self.marks = marks

    @property
    def deaths(self) -> int:
        """How many processes were killed."""
        return sum(keeper.deaths for keeper in self.keepers)

    def killed(self) -> set[str]:
        """Return the keys that have killed somebody."""
        return {path.name for path in self.marks.iterdir()} if self.marks.exists() else set()

    async def counts(self, who: str) -> dict[str, int]:
        """Return how often each key was done."""
        store = await (await self.container.datastore()).store(who)
        page = await store.scan(limit=10_000)
        return {entry.key: int(entry.value) for entry in page.items}

    async def settled(self, keys: list[str]) -> None:
        """Return once each key was booked, and nothing is on its way any more."""
        outbox = await (await self.container.datastore()).store(OUTBOX)

        async def all_booked() -> bool:
            for keeper in self.keepers:
                keeper.check()
            booked = await self.counts("booker")
            return len(booked) >= len(keys) and not (await outbox.keys(limit=1)).items

        await until(all_booked, "bookings are missing, or the outbox is not empty", PATIENCE)

    async def check(self, keys: list[str], tally: Tally) -> None:
        """Hold that all was done, and once."""
        tally.effects = self.effects.all()
        runs = Counter(effect.key.partition(" ")[0] for effect in tally.effects)
        tally.notes |= {
            "killed": self.deaths,
            "runs of payers": runs["payer"],
            "of bookers": runs["booker"],
        }
        for who in MOMENTS:
            counts = await self.counts(who)
            tally.notes[f"{who} counted"] = sum(counts.values())
            assert counts == dict.fromkeys(keys, 1), f"of {who}"
            info = await self.container.transport.queue_info(f"{SYSTEM}.{who}.dlq")
            assert info is not None
            assert info.messages == 0, f"dead letters of {who}"


@asynccontextmanager
async def running(url: str, config: dict[str, Any], folder: Path) -> AsyncIterator[Scene]:
    effects = Effects(folder / "effects")
    options = {"args": {"effects": str(effects.path)}, "config": config}
    marks = Path(f"{effects.path}.killed")
    async with (
        Fleet() as fleet,
        Container(url, sysname=SYSTEM, config=config) as container,
        Keeper(fleet, HOSTS, url, SYSTEM, target="tests.journeys.mortals:Payer", **options) as p,
        Keeper(fleet, HOSTS, url, SYSTEM, target="tests.journeys.mortals:Booker", **options) as b,
    ):
        for who in MOMENTS:
            await container.transport.declare_queue(container.namespace.service_queue(who))
            await container.transport.bind(f"{SYSTEM}.{who}", f"{SYSTEM}.xs", who)
        yield Scene(container, [p, b], effects, marks)


async def test_killed_at_every_step(
    amqp_url: str, config: dict[str, Any], tmp_path: Path, tally: Tally
) -> None:
    moments = [f"{who}.{moment}" for who, each in MOMENTS.items() for moment in each] * EACH
    wanted, keys = len(moments), []
    numbers = itertools.count()
    async with running(amqp_url, config, tmp_path) as scene:
        while moments:
            more = [f"{moment}-{next(numbers)}" for moment in moments]
            for key in more:
                await scene.container.send("payer", "pay", {"key": key}, timeout=60)
            keys += more
            await scene.settled(keys)
            # One whose process is killed for another's sake right after its commit is done by then,
            # and never comes to its own moment: that is tried again with a new one.
            moments = [key.partition("-")[0] for key in set(more) - scene.killed()]
        tally.sent = len(keys)
        # what the killed had in hand comes again, and must change nothing
        await until(lambda: _quiet(scene.container), "messages are left", PATIENCE)
        await scene.check(keys, tally)
    assert scene.deaths >= wanted


async def test_killed_at_random(
    amqp_url: str, config: dict[str, Any], tmp_path: Path, tally: Tally
) -> None:
    numbers = itertools.count()
    keys: list[str] = []
    chance = random.Random(1)
    async with running(amqp_url, config, tmp_path) as scene:

        async def send_more() -> None:
            while scene.deaths < RANDOM_KILLS:
                keys.append(f"plain-{next(numbers)}")
                await scene.container.send("payer", "pay", {"key": keys[-1]}, timeout=60)
                await asyncio.sleep(0.005)

        sending = asyncio.create_task(send_more())
        while not sending.done():
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            members = [m for k in scene.keepers for m in k._members.values() if m.served]
            if members:
                chance.choice(members).signal(signal.SIGKILL)
        await sending
        tally.sent = len(keys)
        await scene.settled(keys)
        await until(lambda: _quiet(scene.container), "messages are left", PATIENCE)
        await scene.check(keys, tally)


async def test_calls_are_repeated_until_they_are_answered(
    amqp_url: str, config: dict[str, Any], tmp_path: Path, tally: Tally
) -> None:
    """Who calls again under the same id is told of the one time that it was done.

    The result is what the op returned, or, where that died with its container, an error that says
    that it was done.
    """
    chance = random.Random(2)
    moments = [f"{who}.{moment}" for who, each in MOMENTS.items() for moment in each]
    keys = [f"{chance.choice(moments)}-{n}" for n in range(CALLS)]

    async def call(container: Container, key: str) -> Any:
        while True:
            try:
                content = {"key": key}
                return await container.rpc_send("payer", "pay", content, 2.0, message_id=key)
            except (DeadlineExceeded, Unavailable) as error:
                tally.ended(error)

    async with running(amqp_url, config, tmp_path) as scene:
        gate = asyncio.Semaphore(10)

        async def in_turn(key: str) -> Any:
            async with gate:
                return await call(scene.container, key)

        answers = await asyncio.gather(*map(in_turn, keys), return_exceptions=True)
        tally.sent = len(keys)
        for answer in answers:
            if isinstance(answer, BaseException):
                assert getattr(answer, "type", "") == "ResultLost", repr(answer)
                tally.ended(answer)
            else:
                assert answer == 1
                tally.ended(None)
        await scene.settled(keys)
        await until(lambda: _quiet(scene.container), "messages are left", PATIENCE)
        await scene.check(keys, tally)


async def _quiet(container: Container) -> bool:
    """Tell whether no message waits in the queues of the system or on its ladder."""
    names = [f"{SYSTEM}.{who}{kind}" for who in MOMENTS for kind in ("", ".suspect")]
    for name in [*names, f"{SYSTEM}.retry.50"]:
        info = await container.transport.queue_info(name)
        if info is not None and info.messages:
            return False
    return True
