"""Singletons: one instance of a service at a time takes requests, and the broker chooses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ion import ConfigurationError, Container, Service
from ion.messaging.envelope import Envelope
from ion.process.endpoint.bounded_set import MAX_EXPECTED, SOON
from tests.process.delivery import until


class Lone(Service, name="lone", version="1.0.0", singleton=True, concurrency=1):
    """Tells who it is."""

    async def op_who(self) -> str:
        return self.id

    async def op_slow(self) -> str:
        await asyncio.sleep(0.02)
        return self.id


class Many(Service, name="many", version="1.0.0"):
    """Not a singleton, unless the settings say so."""

    async def op_who(self) -> str:
        return self.id


async def who(container: Container, name: str = "lone") -> set[str]:
    calls = [container.rpc_send(name, "who", {}, 20) for _ in range(20)]
    return set(await asyncio.gather(*calls))


async def test_one_instance_takes_all_until_it_ends(container, other):
    first = await container.spawn(Lone)
    second = await other.spawn(Lone)
    assert await who(other) == {first}
    assert await who(container, "lone.v1") == {first}
    await container.terminate_process(first)
    assert await who(other) == {second}
    third = await container.spawn(Lone)
    assert await who(container) == {second}
    await other.kill()
    assert await who(container) == {third}


async def test_a_call_that_waits_goes_to_the_next_one(container, other):
    first = await container.spawn(Lone)
    second = await other.spawn(Lone)
    calls = [asyncio.create_task(other.rpc_send("lone", "slow", {}, 20)) for _ in range(20)]
    assert await calls[0] == first
    await container.kill()
    assert {await call for call in calls[10:]} == {second}


class Writer(Service, name="writer", version="0.1.0", singleton=True, concurrency=1):
    """Writes down in which order it is at work."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    async def op_write(self, number: int) -> None:
        self.lines.append(f"{number} begins, attempt {self.message.attempt}")
        await asyncio.sleep(0.003)
        self.lines.append(f"{number} ends")


def in_order(count: int) -> list[str]:
    return [line for n in range(count) for line in (f"{n} begins, attempt 1", f"{n} ends")]


async def test_one_that_stops_hands_over_in_order_and_not_before_it_has_ended(container, other):
    lines: list[str] = []
    places = (container, other, container)
    pids = [await place.spawn(Writer, args={"lines": lines}) for place in places]
    for number in range(40):
        await other.send("writer", "write", {"number": number})
    for place, pid, so_far in zip(places, pids, (20, 50), strict=False):
        await until(lambda: len(lines) > so_far)  # noqa: B023
        await place.terminate_process(pid)
    await until(lambda: len(lines) == 80)
    assert lines == in_order(40)


BAD_NEWS = (
    None, 5, [], {"queue": 5, "count": 1}, {"queue": "q"}, {"queue": "q", "count": "1"},
    {"queue": "q", "count": 0}, {"queue": "q", "count": -1}, {"queue": "q", "count": 1 << 40},
)  # fmt: skip


async def test_what_is_said_of_a_hand_over_may_be_anything(memory_pair):
    one, two = memory_pair
    await one.spawn(Lone)
    for content in BAD_NEWS:
        await two.send("ctl.lone", "ctl.handed-over", content)
    xs, rubbish = two.endpoint.namespace.xs, Envelope("ctl.handed-over", b"\xc1")
    two.endpoint.transport.publish(xs, "ctl.lone", rubbish)
    await until(lambda: one.endpoint.counts["unheard"] == 1)
    assert not one.endpoint.unbegun._expected
    for number in range(MAX_EXPECTED + 5):
        content = {"queue": str(number), "count": 2}
        await two.send("ctl.lone", "ctl.handed-over", content, confirm=False)
    await until(lambda: str(MAX_EXPECTED + 4) in one.endpoint.unbegun._expected)
    assert len(one.endpoint.unbegun._expected) == MAX_EXPECTED
    queue, now = str(MAX_EXPECTED + 4), one.endpoint.time()
    assert [one.endpoint.unbegun.is_expected(queue, now) for _ in range(3)] == [True, True, False]
    assert not one.endpoint.unbegun.is_expected(str(MAX_EXPECTED), now + SOON)


async def test_the_settings_make_a_singleton(bus):
    url, config = bus
    settings: dict[str, Any] = {**config, "services": {"many": {"singleton": True}}}
    async with (
        Container(url, sysname="set", config=settings) as one,
        Container(url, sysname="set", config=settings) as two,
    ):
        first = await one.spawn(Many)
        await two.spawn(Many)
        assert await who(two, "many") == {first}
        assert await who(one, "many") == {first}


async def test_the_settings_make_it_none(memory_pair):
    one, two = memory_pair
    first, second = await one.spawn(Lone), await two.spawn(Lone)
    assert await who(one) == {first, second}


@pytest.fixture
async def memory_pair():
    config = {"services": {"lone": {"singleton": False}}}
    async with (
        Container("memory://no-singleton", config=config) as one,
        Container("memory://no-singleton", config=config) as two,
    ):
        yield one, two


async def test_what_killed_the_one_before_is_tried_again_by_the_next(container, other):
    await container.spawn(Lone)
    second = await other.spawn(Lone)
    queue = await other.transport.queue_info("test.lone.suspect")
    assert queue is None  # or another instance could take from it, at the same time
    await container.kill()
    assert await who(other) == {second}


async def test_a_queue_of_another_kind_is_refused(container, other):
    await container.spawn(Many)
    with pytest.raises(Exception, match="many") as caught:
        await other.spawn(type("Many", (Many,), {"singleton": True}))
    assert isinstance(caught.value.__cause__, ConfigurationError)
