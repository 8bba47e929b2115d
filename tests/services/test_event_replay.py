"""Replays: what the repository holds, then what comes, each event once, while more are told."""

from __future__ import annotations

import asyncio
import itertools
import random
import time

import pytest

from ion import BadRequest, Container, LifecycleError, Process, ServiceNotFound, Unavailable
from ion.process.events.deduplication import Deduplication
from ion.process.events.replaying import Replay, ReplayBegun
from ion.process.identity import acting
from ion.process.identity.trust import issuer_of
from ion.process.pubsub.subscription import BOUND, HEARD, Subscription
from ion.process.redelivery import deadletters
from ion.services.events.client import EventsClient
from tests.process.hearing import Hurricane, Listener, Storm, Weather, listen, until
from tests.services.test_events import stored

_names = itertools.count(1)


@pytest.fixture(params=["memory", "amqp"])
async def containers(request, tmp_path):
    """Give two containers: the first has the repository, the second hears."""
    url = (
        f"memory://replay-{next(_names)}"
        if request.param == "memory"
        else request.getfixturevalue("amqp_url")
    )
    config = {
        "events.lifecycle": "off",
        "store.url": f"sqlite:///{tmp_path}/events.db",
        "service.retry_delays": [0.05],
    }
    system = f"replay{next(_names)}"
    async with (
        Container(url, sysname=system, config=config) as one,
        Container(url, sysname=system, config=config) as two,
    ):
        await one.start_app("events")
        yield one, two


@pytest.fixture
async def here(tmp_path):
    config = {
        "events.lifecycle": "off",
        "store.url": f"sqlite:///{tmp_path}/events.db",
        "service.retry_delays": [0.02],
    }
    async with Container("memory://", config=config) as container:
        await container.start_app("events")
        yield container


async def publish(container: Container, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        await container.publish_event(Storm(origin=f"o{n % 3}", force=n))


class Flood:
    """Tells of storms all the while, until it is ended."""

    def __init__(self, container: Container, start: int) -> None:
        self.told = start
        self._container = container
        self._ends = False
        self._task = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while not self._ends:
            await publish(self._container, 1, self.told)
            self.told += 1
            await asyncio.sleep(0.001)  # it is not faster than all others together

    async def end(self) -> int:
        """Stop; return how many were told altogether."""
        self._ends = True
        await self._task
        return self.told


@pytest.mark.parametrize("name", [None, "archive"], ids=["own", "durable"])
async def test_no_gap_and_nothing_twice_at_the_seam(containers, name):
    one, two = containers
    await publish(one, 300)
    await stored(EventsClient(one), 300)
    flood = Flood(one, 300)
    await until(lambda: flood.told > 350)
    wanted = {"name": name} if name else {}
    listener = await listen(two, of=Weather, after=0, **wanted)
    await listener.subscription.caught_up()
    before = flood.told
    await until(lambda: flood.told > before + 100)
    told = await flood.end()
    await until(lambda: len(listener.heard) >= told)
    numbers = [event.force for event in listener.heard]
    assert sorted(numbers) == list(range(told))  # no gap, and nothing twice
    assert numbers == sorted(numbers)  # and in order: there was one publisher


async def test_workers_who_share_a_replay_have_each_event_once(containers, monkeypatch):
    monkeypatch.setattr("ion.process.events.replaying.PAUSE", 0.05)
    one, two = containers
    await publish(one, 100)
    await stored(EventsClient(one), 100)
    flood = Flood(one, 100)
    workers = [await listen(c, of=Storm, name="crew", after=0) for c in (one, two, two)]
    for worker in workers:
        await worker.subscription.caught_up()
    before = flood.told
    await until(lambda: flood.told > before + 100)
    told = await flood.end()
    await until(lambda: sum(len(worker.heard) for worker in workers) >= told)
    numbers = sorted(event.force for worker in workers for event in worker.heard)
    assert numbers == list(range(told))
    for worker in workers:  # it is done: who comes later hears only what comes
        await worker._host.terminate_process(worker.id)
    await publish(one, 1, 5000)
    late = await listen(two, of=Storm, name="crew", after=0)
    await until(lambda: late.heard)
    assert [event.force for event in late.heard] == [5000]
    await late.subscription.delete()
    again = await listen(two, of=Storm, name="crew", after=0)
    await until(lambda: len(again.heard) == told + 1)


async def test_from_a_time_an_offset_an_origin_and_of_a_type(here):
    await publish(here, 6)
    await here.publish_event(Hurricane(origin="sea.1", force=100, created=time.time() + 3600))
    await stored(EventsClient(here), 7)
    wanted = [
        ({"after": 4}, [4, 5, 100]),
        ({"after": 0, "origin": "o1"}, [1, 4]),
        ({"since": time.time() + 1800}, [100]),
        ({"since": 0, "of": Hurricane}, [100]),
        ({"after": 0, "origin": "*.1"}, [100]),
        ({"after": 999}, []),
        ({"after": -5, "sub_type": ""}, [0, 1, 2, 3, 4, 5, 100]),
    ]
    for args, numbers in wanted:
        listener = await listen(here, **{"of": Weather, **args})
        await listener.subscription.caught_up()
        await until(lambda heard=listener.heard, numbers=numbers: len(heard) >= len(numbers))
        assert [event.force for event in listener.heard] == numbers, args


async def test_what_cannot_be_replayed_is_refused(here):
    listener = await listen(here)
    with pytest.raises(BadRequest, match="since"):
        await listener.subscribe_events(Storm, listener.on_event, since=1, after=1)
    with pytest.raises(BadRequest, match="since"):
        await listener.subscribe_events(Storm, listener.on_event, after="1")
    async with Container("memory://") as alone:
        stranger = await listen(alone)
        with pytest.raises(ServiceNotFound, match="start 'events'"):
            await stranger.subscribe_events(Storm, stranger.on_event, after=0)
        assert len(alone.exchange.subscriptions.of(stranger.id)) == 1


async def test_what_fails_in_a_replay_is_tried_again_and_is_a_dead_letter_then(here):
    for n in range(5):
        text = "bad" if n == 1 else ""
        await here.publish_event(Storm(origin="x", force=n, description=text))
    await stored(EventsClient(here), 5)
    listener = await listen(here, of=Storm, name="critic", after=0, fails=True)

    async def is_dead() -> bool:
        letters = await deadletters.peek(here.endpoint, "sub.events.critic")
        return [letter.content["force"] for letter in letters] == [1]

    await until(is_dead)
    assert sorted(event.force for event in listener.heard) == [0, 2, 3, 4]
    assert listener.tries == 4 + 5


async def test_a_replay_waits_for_a_repository_that_is_away(here, monkeypatch):
    monkeypatch.setattr("ion.process.events.replaying.TIMEOUT", 0.2)
    monkeypatch.setattr("ion.process.events.replaying.PAUSE", 0.02)
    await publish(here, 20)
    await stored(EventsClient(here), 20)
    listener = await listen(here, of=Storm, after=0)
    await here.stop_app("events")
    await publish(here, 5, 20)
    await asyncio.sleep(0.1)
    await here.start_app("events")
    await listener.subscription.caught_up()
    await until(lambda: len(listener.heard) == 25)
    third = await listen(here, of=Storm, after=0)
    await here.stop_app("events")
    await third.subscription.cancel()
    if third.subscription.replay.caught_up.cancelled():
        with pytest.raises(LifecycleError, match="before all was replayed"):
            await third.subscription.caught_up()


class Unlucky(Listener):
    """Finds the broker away when it tells its mark, which is lost the next time."""

    marks = 0

    async def publish_event(self, event, **how):
        """Publish an event, the third time."""
        self.marks += 1
        if self.marks == 1:
            raise Unavailable("the broker is away")
        if self.marks == 2:
            event.id, event.created = "mark", time.time()
            return event
        return await super().publish_event(event, **how)


@pytest.mark.parametrize("name", [None, "unlucky"])
async def test_a_replay_outlives_a_broker_that_is_away_and_a_mark_that_is_lost(
    here, monkeypatch, name
):
    monkeypatch.setattr("ion.process.events.replaying.PAUSE", 0.02)
    monkeypatch.setattr("ion.process.events.replaying.TELL_AGAIN", 0.1)
    advance, away = Subscription.advance, [BOUND, HEARD]

    async def when_there(self, stage):
        if stage in away:
            away.remove(stage)
            raise Unavailable("the broker is away")
        await advance(self, stage)

    monkeypatch.setattr(Subscription, "advance", when_there)
    await publish(here, 20)
    await stored(EventsClient(here), 20)
    pid = await here.spawn(Unlucky, args={"of": Storm, "after": 0, "name": name})
    listener = here.processes[pid]
    await listener.subscription.caught_up()
    await publish(here, 5, 20)
    await until(lambda: len(listener.heard) == 25)
    assert [event.force for event in listener.heard] == list(range(25))
    assert listener.marks >= 3
    assert not away


class Gated(Listener):
    """Waits before each event until it may go on."""

    def __init__(self, gate: asyncio.Event, **wanted: object) -> None:
        super().__init__(**wanted)
        self.gate = gate

    async def on_event(self, event):
        """Keep an event, in time."""
        await self.gate.wait()
        await super().on_event(event)


async def test_what_goes_before_it_is_replayed_is_said_and_the_rest_is_heard(
    here, monkeypatch, caplog
):
    monkeypatch.setattr("ion.process.events.replaying.PAGE", 10)
    await publish(here, 60)
    await stored(EventsClient(here), 60)
    gate = asyncio.Event()
    pid = await here.spawn(Gated, args={"gate": gate, "of": Storm, "after": 0, "prefetch": 5})
    listener = here.processes[pid]
    await until(lambda: listener.waiting)
    (service,) = [p for p in here.processes.values() if p.name == "events"]
    await service._log.trim(None, 7)  # but the first page was read
    gate.set()
    await listener.subscription.caught_up()
    await publish(here, 1, 60)
    await until(lambda: len(listener.heard) == 10 + 7 + 1)
    assert [event.force for event in listener.heard] == [*range(10), *range(53, 61)]
    assert "events 11 to 53 are not kept any more" in caplog.text


async def test_one_that_is_gone_is_taken_over_where_it_was(here, monkeypatch):
    monkeypatch.setattr("ion.process.events.replaying.LEASE", 0.3)
    monkeypatch.setattr("ion.process.events.replaying.PAUSE", 0.02)
    monkeypatch.setattr("ion.process.events.replaying.PAGE", 10)
    await publish(here, 60)
    await stored(EventsClient(here), 60)
    first = await listen(here, of=Storm, name="relay", after=0, stops_at=25)
    await until(lambda: first.tries > 25)
    second = await listen(here, of=Storm, name="relay", after=0)
    await here.terminate_process(first.id, timeout=0.0)
    await second.subscription.caught_up()
    await until(lambda: {e.force for e in first.heard + second.heard} == set(range(60)))
    twice = {e.force for e in first.heard} & {e.force for e in second.heard}
    assert len(twice) <= 2 * 10  # a page is what may come again, and what was in hand
    assert {event.force for event in second.heard} & {0, 1, 2, 3, 4, 5, 6, 7, 8, 9} == set()


async def test_what_came_late_to_the_repository_and_not_by_the_queue_is_heard(here, monkeypatch):
    monkeypatch.setattr("ion.process.events.replaying.GRACE", 0.05)
    monkeypatch.setattr("ion.process.events.replaying.LOOK_EVERY", 0.05)
    await publish(here, 3)
    await stored(EventsClient(here), 3)
    listener = await listen(here, of=Storm, after=0)
    await listener.subscription.caught_up()
    late = {"path": "Event.Weather.Storm", "origin": "late", "force": 77}
    when = {"old": time.time() - 60, "new": time.time() + 60}
    for own, created in when.items():  # of which the queue gets nothing: its topic is another
        await here.publish("events", "Event.Late", {**late, "id": own, "created": created})
    await here.publish_event(Storm(origin="live", force=3))
    await until(lambda: len(listener.heard) == 5)
    assert sorted(event.force for event in listener.heard) == [0, 1, 2, 3, 77]
    assert [event.id for event in listener.heard if event.force == 77] == ["old"]


async def test_marks_are_events_too(here):
    listener = await listen(here, of=ReplayBegun)
    other = await listen(here, of=Storm, after=0)
    await until(lambda: listener.heard)
    assert listener.heard[0].origin == other.subscription.queue


def test_a_seam_takes_each_event_one_way():
    """Events come by the repository, by the queue, or by both, in any order: each is taken once."""
    for seed in range(300):
        chance = random.Random(seed)
        seam = Deduplication("mark", 100.0)
        taken = []
        events = [(f"e{n}", 90.0 + n) for n in range(12)]
        told_before = events[: chance.randrange(12)]  # of which the queue has only some
        in_queue = [e for e in events if e not in told_before or chance.random() < 0.3]
        replayed = [e for e in told_before if chance.random() < 0.7]
        for event, _ in replayed:
            seam.replay(event)
            taken.append(event)
        late = [e for e in events if e not in replayed]
        steps = [("queue", e) for e in in_queue] + [("late", e) for e in late]
        chance.shuffle(steps)
        for way, (event, created) in steps:
            if way == "queue" and seam.hear(event, created):
                taken.append(event)
            if way == "late" and seam.is_late(event, created):
                seam.replay(event)
                taken.append(event)
        assert len(set(taken)) == len(taken), seed
        assert {e for e, created in events if created <= 101.0} <= set(taken), seed


async def test_what_is_replayed_where_messages_are_signed_is_signed(amqp_url, tmp_path):
    interceptors = {
        "in": ["ion.process.identity.signed:checking"],
        "out": ["ion.process.identity.signed:signing"],
    }
    config = {
        "store.url": f"sqlite:///{tmp_path}/events.db",
        "agent.key": "ab" * 32,
        "messaging.interceptors": interceptors,
        "service.retry_delays": [0.05],
    }
    async with Container(amqp_url, sysname=f"signed{next(_names)}", config=config) as container:
        await container.start_app("events")
        await publish(container, 3)
        await stored(EventsClient(container), 3, Storm)
        await until(lambda: EventsClient(container).count("AppStarted"))
        listener = await listen(container, of=Storm, name="signed", after=0, fails=True)
        await listener.subscription.caught_up()
        await container.publish_event(Storm(origin="live", force=3))
        await until(lambda: [event.force for event in listener.heard] == [0, 1, 2, 3])
        assert container.endpoint.counts["unsigned"] == 0


class Book(Process):
    """Counts each event, in a unit of work."""

    async def on_activate(self) -> None:
        """Subscribe."""
        self.counts = await self.store("counts")
        self.subscription = await self.subscribe_events(Storm, self.on_event, name="book", after=0)

    async def on_event(self, event):
        """Count an event."""
        async with self.unit_of_work("counts") as uow:
            counts = uow.store("counts")
            await counts.put(str(event.force), b"I" + (await counts.get(str(event.force)) or b""))

    async def counted(self):
        """Return how often each event was counted."""
        return {entry.key: entry.value for entry in (await self.counts.scan()).items}

    async def has_counted(self, events):
        """Return whether it has counted so many events."""
        return len(await self.counted()) == events


async def test_what_was_heard_is_known_where_it_is_replayed_to_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setattr("ion.process.events.replaying.LEASE", 0.3)
    monkeypatch.setattr("ion.process.events.replaying.PAUSE", 0.02)
    config = {
        "store.url": f"sqlite:///{tmp_path}/events.db",
        "agent.key": "ab" * 32,
        "identity": {"verify": "present", "token": "system"},
        "events.lifecycle": "off",
    }
    async with Container("memory://", config=config) as container:
        await container.start_app("events")
        issuer = issuer_of(container.endpoint.permission, container.settings.identity, "ion")
        with monkeypatch.context() as never_done:
            never_done.setattr(Replay, "_after_seam", lambda *_: asyncio.Event().wait())
            first = container.processes[await container.spawn(Book)]
            await first.subscription.caught_up()
            with acting(issuer.token("ada")):
                for force in range(3):
                    await container.publish_event(Storm(origin="o", force=force))
            await container.publish_event(Storm(origin="o", force=3))
            await stored(EventsClient(container), 4, Storm)
            await until(lambda: first.has_counted(4))
            await container.terminate_process(first.id)
        second = container.processes[await container.spawn(Book)]
        await second.subscription.caught_up()
        await container.publish_event(Storm(origin="o", force=4))
        await until(lambda: second.has_counted(5))
        assert await second.counted() == dict.fromkeys("01234", b"I")
