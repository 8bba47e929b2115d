"""Typed events: told and heard by type, origin, origin type and sub type; of unknown types; bad."""

from __future__ import annotations

import asyncio
import itertools
import re

import msgspec
import numpy
import pytest

from ion import BadRequest, CodecError, Container, DeadlineExceeded, Service, connect
from ion.messaging import codec
from ion.messaging.envelope import Envelope
from ion.process.events import Event
from ion.process.events.event import content_of, event_from, path_of
from ion.process.events.topics import selection, topic_of, word
from ion.process.events.types import ResourceEvent, ResourceModified
from ion.process.redelivery import deadletters
from tests.process.hearing import Hurricane, Storm, Weather, listen, until

_names = itertools.count(1)
OFF = {"events.lifecycle": "off"}  # only what the tests tell is heard


@pytest.fixture(params=["memory", "amqp"])
def bus(request):
    if request.param == "memory":
        return f"memory://events-{next(_names)}", OFF
    return request.getfixturevalue("amqp_url"), OFF


# who hears what


async def test_a_type_is_heard_by_those_who_want_it_or_one_above(container, other):
    everything = await listen(container)
    weather = await listen(other, of=Weather)
    storms = await listen(other, of=Storm)
    hurricanes = await listen(other, of=Hurricane)
    for event in (
        Storm(origin="north", force=9),
        ResourceModified(origin="r1"),
        Weather(origin="n", sub_type="Storm", origin_type="Hurricane"),  # no type of that name
        Hurricane(origin="south", force=12, name="Ada", seen=[1.5]),
    ):
        assert await container.publish_event(event) is event
    await until(lambda: len(everything.heard) == 4 and len(weather.heard) == 3)
    await until(lambda: len(storms.heard) == 2 and len(hurricanes.heard) == 1)
    ada = hurricanes.heard[0]
    assert (type(ada), ada.force, ada.name, ada.seen) == (Hurricane, 12, "Ada", [1.5])
    assert ada.path == "Event.Weather.Storm.Hurricane"
    assert ada.type == "Hurricane"
    assert ada.id
    assert ada.created > 0
    assert ada.extra == {}
    assert [type(event) for event in weather.heard] == [Storm, Weather, Hurricane]
    assert storms.heard[1].id == ada.id == everything.heard[3].id


ORIGINS = ["a", "a.b", "a_2eb", "_", "é*#. /", "station.1", "station.2", "x station.1"]


async def test_origins_origin_types_and_sub_types_are_heard_by_themselves_and_by_patterns(
    container, other
):
    wanted = {
        "station.1": {"origin": "station.1"},
        "stations": {"origin": "station.*"},
        "odd": {"origin": "é*#. /"},
        "escaped": {"origin": "a_2eb"},
        "lab": {"origin_type": "lab", "sub_type": "new"},
        "untyped": {"origin_type": ""},
    }
    listeners = {key: await listen(container, **args) for key, args in wanted.items()}
    for origin in ORIGINS:
        await other.publish_event(Event(origin=origin))
    await other.publish_event(Event(origin="lab.1", origin_type="lab", sub_type="new"))
    await other.publish_event(Event(origin="lab.2", origin_type="lab", sub_type="newer"))
    expected = {
        "station.1": ["station.1"],
        "stations": ["station.1", "station.2"],
        "odd": ["é*#. /"],
        "escaped": ["a_2eb"],
        "lab": ["lab.1"],
        "untyped": ORIGINS,
    }
    for key, origins in expected.items():
        heard = listeners[key].heard
        await until(lambda heard=heard, origins=origins: len(heard) >= len(origins))
        assert [event.origin for event in heard] == origins


def test_no_two_texts_are_the_same_word():
    letters = ["", "_", ".", "_2e", "_5f", "a", "A", "é", "-", "2e", "f0", "_f", "*"]
    texts = {a + b + c for a in letters for b in letters for c in letters}
    words = {word(text) for text in texts}
    assert len(words) == len(texts)
    assert all(re.fullmatch("[A-Za-z0-9_-]+", each) for each in words)


# what cannot be told


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"origin": "a"}, TypeError),
        ("text", TypeError),
        (Event(origin=""), BadRequest),
        (Event(origin=None), BadRequest),
        (Event(origin="a" * 250), BadRequest),
        (Event(origin="é" * 50, sub_type="b" * 50), BadRequest),
        (Event(origin="a\0"), BadRequest),
        (Event(origin="\ud800"), BadRequest),
        (Event(origin="a", sub_type=5), BadRequest),
        (Event(origin="a", created="\ud800"), CodecError),
    ],
    ids=ascii,
)
async def test_what_cannot_be_told_is_refused(event, error):
    async with Container("memory://") as container:
        with pytest.raises(error):
            await container.publish_event(event)


class Place(msgspec.Struct):
    x: float = 0.0


class Sighting(Event):
    """Something was seen, with all that a field can be."""

    at: Place = msgspec.field(default_factory=Place)
    near: dict[str, list[int]] = msgspec.field(default_factory=dict)
    depth: float = 0.0
    raw: bytes = b""
    what: object = None


@pytest.mark.parametrize(
    ("event", "field", "said"),
    [
        (Storm(origin="x", force="9"), "force", "expected `int`, got `str`"),
        (Hurricane(origin="x", force=9, seen=[1.0, "two"]), "seen[1]", "got `str`"),
        (Sighting(origin="x", at=Place("here")), "at.x", "expected `float`"),
        (Sighting(origin="x", near={"a": [1, None]}), "near[...][1]", "expected `int`"),
        (Sighting(origin="x", created="today"), "created", "expected `float`"),
        (Sighting(origin="x", extra={5: 1}), "extra", "names"),
    ],
    ids=str,
)
async def test_what_does_not_fit_its_type_is_told_to_nobody(event, field, said):
    async with Container("memory://", config=OFF | {"store.url": "memory://"}) as container:
        listener = await listen(container)
        with pytest.raises(BadRequest) as caught:
            await container.publish_event(event)
        with pytest.raises(BadRequest, match=re.escape(field)):
            async with listener.unit_of_work() as uow:
                await uow.publish_event(event)
        fits = Sighting(origin="x", near={"a": [1]}, depth=numpy.float32(0.5), raw=b"\xff")
        fits.at, fits.what = Place(2), {"any": [None, 1.5]}
        await container.publish_event(fits)
        await until(lambda: listener.heard)
    heard = listener.heard
    assert [(e.depth, e.raw, e.at.x, e.what) for e in heard] == [(0.5, b"\xff", 2, fits.what)]
    assert type(event).__name__ in caught.value.message
    assert said in caught.value.message
    assert caught.value.details == {"event": path_of(type(event)), "field": field}


async def test_what_cannot_be_subscribed_to_is_refused():
    async with Container("memory://") as container:
        listener = await listen(container)
        for of, handler, wanted, error in (
            (dict, listener.on_event, {}, TypeError),
            (Event, listener.on_activate, {}, TypeError),
            (Event, print, {}, TypeError),
            (Event, listener.on_event, {"origin": 5}, BadRequest),
            (Event, listener.on_event, {"origin": "a" * 256}, BadRequest),
        ):
            with pytest.raises(error):
                await listener.subscribe_events(of, handler, **wanted)


def test_a_type_of_two_bases_or_a_name_that_is_no_word_is_refused():
    with pytest.raises(TypeError, match="one type of event"):
        type("Both", (Weather, ResourceEvent), {})
    with pytest.raises(TypeError, match="Déjà"):
        type("Déjà", (Event,), {})


# what a foreign program may tell


FOREIGN = {"path": "Event.Weather.Storm.Typhoon", "origin": "east", "force": 11, "eye": [1, 2]}


async def test_an_event_of_an_unknown_type_is_the_nearest_type_above_that_is_known(container):
    listener = await listen(container, of=Weather)
    topic = "Event.Weather.Storm.Typhoon._._.east"
    for content_type in ("application/msgpack", "application/json"):
        await container.publish("events", topic, FOREIGN, content_type=content_type)
    body = codec.encode(FOREIGN)[0]  # as one that says nowhere when it was
    exchange = container.namespace.exchange_point("events").name
    container.transport.publish(exchange, topic, Envelope("event", body, message_id="bare"))
    await until(lambda: len(listener.heard) == 3)
    for event in listener.heard:
        assert type(event) is Storm
        assert event.force == 11
        assert event.extra == {"eye": [1, 2]}
        assert event.type == "Typhoon"
        assert event.id
        assert event.created
    known = await listen(container, of=Storm)
    await container.publish_event(listener.heard[0])  # told again by someone who does not know it
    await until(lambda: known.heard)
    assert known.heard[0] == listener.heard[0]


@pytest.mark.parametrize(
    "content",
    [
        {"path": "Event.Weather.Storm", "origin": "x"},
        {"path": "Event.Weather.Storm", "origin": "x", "force": "much"},
        {"path": "Event.Weather.Storm", "force": 1},
        {"path": "Event.Weather.Storm", "origin": "", "force": 1},
        {"origin": "x", "force": 1},
        {"path": "Thing.Weather", "origin": "x"},
        ["no", "map"],
        7,
    ],
    ids=str,
)
async def test_what_does_not_fit_its_type_is_a_dead_letter_with_the_reason(content):
    async with Container("memory://", config={"service.retry_delays": [0.01]}) as container:
        listener = await listen(container, of=Weather, name="watch")
        await container.publish("events", "Event.Weather.Storm._._.x", content)
        await container.publish_event(Storm(origin="good", force=1))
        await until(lambda: listener.heard)
        letters = []

        async def dead() -> bool:
            letters[:] = await deadletters.peek(container.endpoint, "sub.events.watch")
            return bool(letters)

        await until(dead)
        assert letters[0].cause_type == "BadRequest"
        assert "event" in letters[0].cause
        assert [event.origin for event in listener.heard] == ["good"]
        assert listener.tries == 1


async def test_one_who_always_fails_holds_up_nobody_and_keeps_what_it_could_not_do(bus):
    url, _ = bus
    config = {"service.retry_delays": [0.02], "service.attempts": 3}
    async with Container(url, config=config, sysname=f"fail{next(_names)}") as container:
        failing = await listen(container, of=Storm, name="failing", fails=True)
        fine = await listen(container, of=Storm, name="fine")
        own = await listen(container, of=Storm)
        for n in range(5):
            text = "bad" if n == 2 else ""
            await container.publish_event(Storm(origin="x", force=n, description=text))
        await until(lambda: len(fine.heard) == len(own.heard) == 5 and len(failing.heard) == 4)
        await until(lambda: failing.tries == 4 + 3)

        async def dead() -> bool:
            letters = await deadletters.peek(container.endpoint, "sub.events.failing")
            return [letter.content["force"] for letter in letters] == [2]

        await until(dead)


# durable, and waiting


async def test_a_durable_subscription_is_shared_and_keeps_what_is_told_meanwhile(container, other):
    first = await listen(container, of=Weather, name="shared")
    second = await listen(other, of=Weather, name="shared")
    for n in range(40):
        await container.publish_event(Storm(origin="x", force=n))
    await until(lambda: len(first.heard) + len(second.heard) == 40)
    assert {e.force for e in first.heard + second.heard} == set(range(40))
    assert first.heard
    assert second.heard
    for process in (first, second):
        await process._host.terminate_process(process.id)
    await other.publish_event(Storm(origin="x", force=99))
    third = await listen(other, of=Weather, name="shared")
    await until(lambda: [e.force for e in third.heard] == [99])
    await third.subscription.delete()


class Asker(Service, name="asker"):
    concurrency = 1

    async def op_ask(self) -> int:
        async with self.expect_event(Storm, origin="asked") as expected:
            await self.publish_event(Storm(origin="other", force=1))
            await self.publish_event(Storm(origin="asked", force=2))
            return (await expected.wait(timeout=10)).force


async def test_a_handler_and_a_script_wait_for_an_event(container, bus):
    await container.spawn(Asker)
    assert await container.rpc_send("asker", "ask") == 2
    async with connect(bus[0], sysname="test") as script:
        waiting = asyncio.ensure_future(script.wait_for_event(Weather, timeout=20))
        while not waiting.done():
            await container.publish_event(Storm(origin="now", force=3))
            await asyncio.sleep(0.01)
        assert (await waiting).force == 3
        with pytest.raises(DeadlineExceeded, match="within"):
            await script.wait_for_event(Storm, origin="never", timeout=0.05)


async def test_who_acts_is_told_and_an_event_told_twice_is_the_same(container):
    listener = await listen(container)
    event = Event(origin="x", actor="me", created=5.0, id="mine")
    await container.publish_event(event)
    await container.publish_event(event)
    await until(lambda: len(listener.heard) == 2)
    assert [(e.actor, e.created, e.id) for e in listener.heard] == [("me", 5.0, "mine")] * 2


def test_an_event_is_the_same_after_its_travel():
    event = Hurricane(origin="a.b", force=1, seen=[2.5], extra={"more": {"a": 1}, "force": 7})
    event.path = path_of(Hurricane)
    assert topic_of(event) == "Event.Weather.Storm.Hurricane._._.a_2eb"
    back = event_from(content_of(event), Event)
    assert type(back) is Hurricane
    assert back.extra == {"more": {"a": 1}}
    assert back.seen == [2.5]
    assert selection(Hurricane, origin="a.*").takes(back)
    assert not selection(Hurricane, origin="a?b").takes(back)
