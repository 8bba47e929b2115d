"""What a login of the broker can put into queues by hand, and what policy makes of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from ion import Forbidden, Process, Service
from ion.messaging.envelope import Envelope
from ion.process.events import Event
from ion.process.events.types import ContainerRecovered
from ion.process.granules.subscriber import StreamSubscriber
from ion.process.policy.owners import MAX_NAME, Owners
from tests.process.policy.policed import call, policed, write

PATIENCE = 30.0
ALLOWED = "{allow: ['@news/public.*', '@streams/public*', '@events/*'], to: [anyone]}"


class Hearer(Process, name="hearer"):
    """Hears of secrets alone."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_activate(self) -> None:
        await self.subscribe_events(Event, self.on_event)
        stream = await StreamSubscriber.open(self, "secret", self.on_granule, name="own")
        assert stream._subscription is not None
        made = [await self.subscribe("news", "secret.#", self.on_news, name=n) for n in (None, "s")]
        self.queues = [each.queue for each in (*made, stream._subscription)]

    async def on_event(self, event: Event) -> None:
        self.heard.append(event.origin)

    async def on_news(self, text: str) -> None:
        self.heard.append(text)

    async def on_granule(self, granule: Any) -> None:
        self.heard.append("granule")


class Store(Service, name="store"):
    """Has an op with a default that a rule forbids."""

    async def op_clear(self, name: str = "all") -> str:
        return name


async def until(holds: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_topic_that_is_told_by_a_header_is_one_of_the_subscription(bus, tmp_path):
    path = write(tmp_path / "p.yml", ALLOWED)
    async with policed(bus, path) as container:
        hearer = container.processes[await container.spawn(Hearer)]
        publish, counts = container.endpoint.transport.publish, container.endpoint.counts
        for queue in hearer.queues:
            for topic in ("public.x", "public/secret.x", "public." + "x" * 300, "public"):
                headers = {"receiver": topic, "performative": "request", "protocol": "none"}
                publish("", queue, Envelope("news", b"\xa5false", headers=headers))
        await until(lambda: counts["dropped"] + counts["dead-lettered"] == 12)
        assert hearer.heard == []


async def test_what_came_back_from_the_ladder_is_still_decided_by_its_topic(bus, tmp_path):
    path = write(tmp_path / "p.yml", "{allow: '@news/secret.*', to: [anyone]}")
    async with policed(bus, path) as container:
        hearer = container.processes[await container.spawn(Hearer)]
        headers = {"receiver": "secret.x", "performative": "request", "protocol": "none"}
        for queue in hearer.queues[:2]:
            container.endpoint.transport.publish(
                "", queue, Envelope("news", b"\xa5again", headers=headers)
            )
        await until(lambda: hearer.heard == ["again"] * 2)


async def test_an_event_that_no_topic_holds_is_none_and_nothing_of_it_is_kept(bus, tmp_path):
    path = write(tmp_path / "p.yml", ALLOWED)
    async with policed(bus, path) as container:
        hearer = container.processes[await container.spawn(Hearer)]
        counts = container.endpoint.counts
        for n in range(3):
            long = {"path": "Event", "origin": f"{n}" * 10_000, "id": f"{n}", "created": 1.0}
            await container.publish("events", "Event._._.o", long)
        odd = {"path": "Event.x/y z", "origin": "o", "id": "o", "created": 1.0}
        await container.publish("events", "Event._._.o", odd)
        await until(lambda: counts["dropped"] >= 4)
        assert hearer.heard == []
        assert container.active_rules is not None
        assert all(len(each) < 300 for each in container.active_rules.interceptor.judge._candidates)


async def test_no_content_is_no_way_around_a_rule_about_content(bus, tmp_path):
    path = write(
        tmp_path / "p.yml",
        "{allow: store.clear, to: [anyone]}",
        "{deny: store.clear, to: [anyone], when: {fields: {name: [all]}}}",
    )
    async with policed(bus, path) as container:
        await container.spawn(Store)
        assert await call(container, "store", "clear", {"name": "some"}) == "some"
        for nothing in (msgspec.Raw(b"\xc0"), {}):
            with pytest.raises(Forbidden):
                await call(container, "store", "clear", nothing)


def test_a_name_of_any_length_leaves_nothing_behind():
    owners = Owners()
    long = "x" * (MAX_NAME + 1)
    owners.learn(long, "ann", owners.mark)
    owners.doubt(long)
    owners.want(long)
    assert owners.of(long) is None
    assert not owners._doubts
    assert not owners.wanted(9)


async def test_whoever_says_that_the_broker_was_away_does_not_make_it_learn_a_hundred_times(
    bus, tmp_path
):
    """Each time all owners are learnt anew; said meanwhile, once more, not each time."""
    asked = 0

    class Registry(Service, name="resource_registry"):
        async def op_find(self, limit: int, cursor: str | None) -> dict[str, Any]:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.1)
            return {"items": [], "cursor": None}

        async def op_read_many(self, ids: list[str]) -> list[dict[str, str]]:
            return []

    path = write(
        tmp_path / "p.yml",
        "{allow: store.clear, to: [anyone], when: {owner: name}}",
        "{allow: ['resource_registry.*', '@*'], to: [anyone]}",
    )
    async with policed(bus, path) as container:
        await container.spawn(Registry)
        heard = container.processes[await container.spawn(Hearer)].heard
        before = asked
        for _ in range(100):
            await container.publish_event(ContainerRecovered(origin=container.id))
        await until(lambda: len(heard) == 100)
        await until(lambda: asked > before)
        assert asked - before < 50
