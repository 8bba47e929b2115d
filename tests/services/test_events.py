"""The repository of events: each once, found by what it says, told again, and gone in time."""

from __future__ import annotations

import asyncio
import itertools

import msgspec
import pytest

from ion import (
    ApplicationError,
    BadRequest,
    Container,
    InvalidRequest,
    ReceivedApplicationError,
    Service,
    StartError,
)
from ion.base import clock
from ion.process.events import Event
from ion.process.events.event import path_of
from ion.process.redelivery import deadletters
from ion.services.events.client import EventsClient
from ion.services.events.service import EventsService
from tests.process.hearing import Hurricane, Storm, Weather, until

_names = itertools.count(1)


@pytest.fixture
def config(tmp_path):
    return {"events.lifecycle": "off", "store.url": f"sqlite:///{tmp_path}/events.db"}


@pytest.fixture(params=["memory", "amqp"])
def url(request):
    if request.param == "memory":
        return f"memory://repository-{next(_names)}"
    return request.getfixturevalue("amqp_url")


@pytest.fixture
async def container(url, config):
    async with Container(url, sysname=f"events{next(_names)}", config=config) as running:
        await running.start_app("events")
        yield running


@pytest.fixture
async def here(config):
    async with Container("memory://", config=config) as running:
        await running.start_app("events")
        yield running


async def stored(client: EventsClient, count: int, of: type[Event] | None = None) -> None:
    """Return when the repository has so many events of a type."""

    async def is_so() -> bool:
        return await client.count(of) == count

    await until(is_so)


WEATHER = [
    Storm(origin="pier.1", origin_type="Mast", force=8, created=10.0, actor="ann"),
    Weather(origin="pier.2", origin_type="Mast", sub_type="fog", created=20.0),
    Event(origin="pier.1", created=30.0, actor="ben"),
    Hurricane(origin="sea", force=12, name="Ada", created=40.0, sub_type="foggy"),
]


async def tell(container: Container, events: list[Event]) -> None:
    for event in events:
        await container.publish_event(msgspec.structs.replace(event, id="", path=""))


async def test_each_event_is_kept_once_whoever_tells_it_how_often(container):
    client = EventsClient(container)
    event = Storm(origin="x", force=1)
    for _ in range(3):
        await container.publish_event(event)
    foreign = {"path": "Event.Weather.Rain", "origin": "y", "mm": 3}
    await container.publish("events", "Event.Weather.Rain._._.y", foreign, message_id="foreign")
    await stored(client, 2)
    found = await client.find()
    assert [(filed.offset, filed.content["id"]) for filed in found.events] == [
        (1, event.id),
        (2, "foreign"),
    ]
    assert found.events[0].event == event
    rain = found.events[1].event
    assert type(rain) is Weather
    assert rain.type == "Rain"
    assert rain.extra == {"mm": 3}
    assert (await client.get(event.id)).offset == 1
    assert await client.get("nobody's") is None


FINDS = [
    ({}, [1, 2, 3, 4]),
    ({"of": Event}, [1, 2, 3, 4]),
    ({"of": Weather}, [1, 2, 4]),
    ({"of": "Storm"}, [1, 4]),
    ({"of": "Event.Weather.Storm.Hurricane"}, [4]),
    ({"of": "Sto"}, []),
    ({"of": "Event.Nothing"}, []),
    ({"origin": "pier.1"}, [1, 3]),
    ({"origin": "pier*", "of": Weather}, [1, 2]),
    ({"origin_type": "Mast"}, [1, 2]),
    ({"origin_type": ""}, [3, 4]),
    ({"sub_type": "fog"}, [2]),
    ({"sub_type": "fog*"}, [2, 4]),
    ({"actor": "ann"}, [1]),
    ({"since": 20.0}, [2, 3, 4]),
    ({"since": 20.0, "until": 40.0}, [2, 3]),
    ({"after": 2}, [3, 4]),
    ({"after": 2, "of": Weather}, [4]),
    ({"after": 99}, []),
    ({"order": "-offset"}, [4, 3, 2, 1]),
    ({"order": "-created", "of": Storm}, [4, 1]),
    ({"order": "-offset", "after": 2}, [4, 3]),
]


async def test_events_are_found_by_what_they_say(here):
    client = EventsClient(here)
    await tell(here, WEATHER)
    await stored(client, 4)
    for wanted, offsets in FINDS:
        found = await client.find(**wanted)
        assert [filed.offset for filed in found.events] == offsets, wanted
        assert (found.first, found.last) == (1, 4)
        if not {"order", "after"} & set(wanted):
            assert await client.count(**wanted) == len(offsets)
            assert [f.offset async for f in client.replay(**wanted)] == offsets
    assert await client.types() == [path_of(t) for t in (Event, Weather, Storm, Hurricane)]


async def test_pages_follow_one_another_also_while_events_come(here):
    client = EventsClient(here)
    for n in range(25):
        await here.publish_event(Storm(origin=f"o{n % 2}", force=n))
    await stored(client, 25)
    for order, wanted in (("offset", {}), ("-offset", {}), ("created", {"origin": "o1"})):
        seen, cursor = [], None
        while True:
            page = await client.find(Weather, limit=4, cursor=cursor, order=order, **wanted)
            seen += [filed.offset for filed in page.events]
            cursor = page.cursor
            if cursor is None:
                break
        ordered = sorted(seen, reverse=order.startswith("-"))
        assert seen == ordered
        assert len(set(seen)) == len(seen) == (12 if wanted else 25)


@pytest.mark.parametrize(
    "wanted",
    [
        {"origin": "*.1"},
        {"type": "Weather.Storm"},
        {"limit": 0},
        {"cursor": "nonsense"},
        {"origin": "a\0"},
        {"since": float("nan")},
    ],
    ids=str,
)
async def test_what_cannot_be_asked_is_refused(here, wanted):
    with pytest.raises((InvalidRequest, BadRequest)):
        await EventsClient(here).find(**wanted)


@pytest.mark.parametrize(
    "content",
    [
        {"path": "Event", "origin": ""},
        {"path": "Event", "origin": "x", "created": "today"},
        {"path": "Event", "origin": "x" * 2000},
        {"path": "Event", "origin": "x", "id": "a\0b"},
        {"path": "Event", "origin": "x", 7: 8},
        {"origin": "x"},
        "text",
    ],
    ids=lambda content: str(content)[:60],
)
async def test_what_is_no_event_is_a_dead_letter_and_holds_up_nobody(here, content):
    client = EventsClient(here)
    await here.publish("events", "Event._._.x", content)
    await here.publish_event(Event(origin="good"))
    await stored(client, 1)

    async def is_dead() -> bool:
        letters = await deadletters.peek(here.endpoint, "sub.events.repository")
        return bool(letters) and letters[0].cause_code == 400

    await until(is_dead)


@pytest.mark.parametrize("wrong", [{"trim_every": 0}, {"max_count": -1}, {"max_age": 0.0}], ids=str)
async def test_a_retention_that_cannot_be_does_not_start(here, wrong):
    with pytest.raises(StartError, match=next(iter(wrong))):
        await here.spawn(EventsService, args={"config": wrong})


async def test_old_events_go_and_offsets_only_grow(config):
    keep = {"max_count": 10, "max_age": 100.0, "trim_every": 0.01}
    async with Container("memory://", config=config) as container:
        await container.spawn(EventsService, args={"config": keep})
        client = EventsClient(container)
        for n in range(30):
            await container.publish_event(Storm(origin="x", force=n))

        async def is_trimmed() -> bool:
            info = await client.info()
            return (info.first, info.last, info.count) == (21, 30, 10)

        await until(is_trimmed)
        later = Later()
        with clock.using(later):
            later.ahead = 200.0
            await container.publish_event(Storm(origin="x", force=99))

            async def is_new() -> bool:
                info = await client.info()
                return (info.first, info.last) == (31, 31)

            await until(is_new)
            later.ahead = 400.0

            async def is_empty() -> bool:
                info = await client.info()
                return (info.first, info.last, info.count) == (32, 31, 0)

            await until(is_empty)
    async with Container("memory://", config=config) as container:
        await container.start_app("events")
        await container.publish_event(Storm(origin="x", force=0))
        client = EventsClient(container)
        await stored(client, 1)
        assert (await client.find()).events[0].offset == 32


async def test_of_types_that_are_told_fast_less_is_kept(config):
    limits = {"Hurricane": {"max_count": 3}, "Event.Weather.Storm": {"max_count": 5}, "None": {}}
    keep = {"max_count": 15, "trim_every": 0.01, "limits": limits}
    async with Container("memory://", config=config) as container:
        await container.spawn(EventsService, args={"config": keep})
        client = EventsClient(container)
        await container.publish_event(Weather(origin="rare"))
        for last in (9, 17, 25):  # more, by and by, than are kept of all
            for n in range(4):
                await container.publish_event(Hurricane(origin="x", force=n))
                await container.publish_event(Storm(origin="y", force=n))

            async def is_thinned(last: int = last) -> bool:
                info = await client.info()
                return (info.last, info.count) == (last, 6)

            await until(is_thinned)
        kept = [(filed.event.origin, filed.offset) for filed in (await client.find()).events]
        assert kept == [("rare", 1), ("y", 21), ("x", 22), ("y", 23), ("x", 24), ("y", 25)]
        assert (await client.info()).first == 1


class Later(clock.SystemClock):
    """The system's clock, some time ahead."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


async def test_two_repositories_on_one_store_keep_each_event_once(url, config):
    system = f"two{next(_names)}"
    async with (
        Container(url, sysname=system, config=config) as one,
        Container(url, sysname=system, config=config) as two,
    ):
        await one.start_app("events")
        await two.start_app("events")
        await asyncio.gather(
            *(
                each.publish_event(Storm(origin="x", force=n))
                for n in range(150)
                for each in (one, two)
            )
        )
        client = EventsClient(one)
        await stored(client, 300)
        found = await client.find(limit=1000)
        assert [filed.offset for filed in found.events] == list(range(1, 301))


async def test_a_replay_goes_on_with_what_comes(here):
    client = EventsClient(here)
    await tell(here, WEATHER)
    await stored(client, 4)
    seen = []
    async for filed in client.replay(Weather, after=1, follow=True, timeout=30):
        seen.append(filed.offset)
        if filed.offset == 4:
            await here.publish_event(Storm(origin="late", force=1))
        if filed.event.origin == "late":
            break
    assert seen == [2, 4, 5]


class Teller(Service, name="teller", delivery="effectively-once"):
    """Tells in a unit of work."""

    async def op_tell(self, force: int, fails: bool = False) -> str:
        async with self.unit_of_work() as work:
            event = await work.publish_event(Storm(origin="unit", force=force))
            if fails:
                raise ApplicationError("no")
            await work.reply(event.id)
        return "lost"


async def test_what_a_unit_of_work_tells_is_told_where_it_is_done(here):
    client = EventsClient(here)
    await here.spawn(Teller)
    with pytest.raises(ReceivedApplicationError, match="no"):
        await here.rpc_send("teller", "tell", {"force": 1, "fails": True})
    told = [
        await here.rpc_send("teller", "tell", {"force": 2}, message_id="once") for _ in range(3)
    ]
    await here.rpc_send("teller", "tell", {"force": 3})
    await stored(client, 2)
    found = await client.find(Storm, origin="unit")
    assert [filed.content["force"] for filed in found.events] == [2, 3]
    assert set(told) == {found.events[0].content["id"]}
