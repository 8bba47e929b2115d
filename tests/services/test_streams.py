"""The service of streams: registered, kept, played again, deleted."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ion import (
    ApplicationError,
    Conflict,
    Container,
    ContentTooLarge,
    InvalidRequest,
    NotFound,
    Process,
    ReceivedError,
    ServiceNotFound,
    StartError,
    Unavailable,
)
from ion.base import clock
from ion.process.granules import (
    Field,
    Granule,
    StreamDefinition,
    StreamPublisher,
    StreamSubscriber,
    consumer_lease,
)
from ion.process.granules.arrays import pieces
from ion.process.granules.names import store_of
from ion.process.granules.tracking import Seen
from ion.process.redelivery.deadletters import list_dead_letters, peek, replay
from ion.services.streams import log as keeps
from ion.services.streams import recorder, recorders, registry
from ion.services.streams.checkpoints import Checkpoints
from ion.services.streams.client import StreamsClient
from ion.services.streams.log import HEAD, INDICES, SILENT, Log
from ion.stores.opening import open_datastore

_names = itertools.count(1)
CTD = StreamDefinition("ctd", {"x": Field("f8", unit="m")})


@pytest.fixture(params=["memory", "amqp"])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, object]]:
    """Give a broker URL, and a configuration with a store that containers share."""
    config: dict[str, object] = {"store.url": f"sqlite:///{tmp_path}/ion.db"}
    if request.param == "memory":
        config["store.url"] = f"memory://streams-{next(_names)}"
        return f"memory://streams-{next(_names)}", config
    url: str = request.getfixturevalue("amqp_url")
    return url, config


async def until(condition: Callable[[], Any], timeout: float = 20.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


class Sensor(Process):
    async def open(
        self, stream: str = "ctd", definition: Any = None, **how: Any
    ) -> StreamPublisher:
        return await StreamPublisher.open(self, stream, definition, **how)


class Listener(Process):
    def __init__(self) -> None:
        self.heard: list[Granule] = []
        self.failing = 0

    async def listen(self, stream: str = "ctd", **how: Any) -> StreamSubscriber:
        return await StreamSubscriber.open(self, stream, self.on_granule, **how)

    async def on_granule(self, granule: Granule) -> None:
        if self.failing:
            self.failing -= 1
            raise RuntimeError("not today")
        self.heard.append(granule)


async def spawn(container: Container, kind: type[Any]) -> Any:
    return container.processes[await container.spawn(kind)]


async def started(container: Container, **config: Any) -> StreamsClient:
    await container.start_app("streams", **({"config": config} if config else {}))
    return StreamsClient(container, timeout=15)


async def fill(publisher: StreamPublisher, numbers: range) -> None:
    for n in numbers:
        await publisher.publish({"x": [float(n)]}, time=1000.0 + n)
    await publisher.flush()


async def kept(streams: StreamsClient, count: int, stream: str = "ctd") -> None:
    """Wait until so many were kept."""
    async with asyncio.timeout(20):
        while (await streams.describe(stream)).last < count:
            await asyncio.sleep(0.01)


def values(granules: list[Granule]) -> list[float]:
    return [float(granule["x"][0]) for granule in granules]


async def test_what_is_kept_is_read_by_offset_time_and_from_the_end(container: Container) -> None:
    streams = await started(container)
    await streams.register("ctd", CTD, description="a cast")
    await streams.persist("ctd")
    publisher = await (await spawn(container, Sensor)).open("ctd", CTD, register=True)
    await fill(publisher, range(150))
    await kept(streams, 150)

    async def read(**how: Any) -> list[float]:
        return values([granule async for granule in streams.read("ctd", **how)])

    assert await read() == [float(n) for n in range(150)]
    assert await read(after=140) == [float(n) for n in range(140, 150)]
    assert await read(since=1100.0, until=1103.0) == [100.0, 101.0, 102.0]
    assert await read(since=5000.0) == []
    assert await read(last=2) == [148.0, 149.0]
    assert await read(after=10, limit=1) == [10.0]
    last = (await streams.last("ctd"))[0]
    assert (last.offset, last.number, last.publisher, last.time) == (150, 150, publisher.id, 1149.0)
    about = await streams.describe("ctd")
    assert (about.first, about.last, about.since, about.waiting) == (1, 150, 1149.0, 0)
    assert about.persisting
    assert about.stream.definitions == (CTD,)


async def test_replay_goes_on_with_what_comes(container: Container) -> None:
    streams = await started(container)
    await streams.persist("ctd", create=True)
    publisher = await (await spawn(container, Sensor)).open()
    await fill(publisher, range(100))
    listeners = [await spawn(container, Listener) for _ in range(3)]
    filling = asyncio.create_task(fill(publisher, range(100, 200)))
    await listeners[0].listen(after=0, prefetch=3)
    await listeners[1].listen(after=90)
    await listeners[2].listen(since=1150.0)
    await filling
    await fill(publisher, range(200, 300))
    begins = (0, 90, 150)
    for begin, listener in zip(begins, listeners, strict=True):
        await until(lambda n=300 - begin, each=listener: len(each.heard) >= n)
        assert values(listener.heard) == [float(n) for n in range(begin, 300)]
        assert [g.offset for g in listener.heard] == list(range(begin + 1, 301))


class Crowded(Listener):
    """Has room for few messages, and takes its time."""

    mailbox = 3

    async def on_granule(self, granule: Granule) -> None:
        await asyncio.sleep(0)
        await super().on_granule(granule)


async def test_a_replay_waits_for_room_in_the_mailbox(container: Container) -> None:
    streams = await started(container)
    await streams.persist("ctd", create=True)
    await fill(await (await spawn(container, Sensor)).open(), range(60))
    await kept(streams, 60)
    listener = await spawn(container, Crowded)
    await listener.listen(after=0)
    await until(lambda: listener.heard and listener.heard[-1].offset == 60)
    assert values(listener.heard) == [float(n) for n in range(60)]


async def test_a_replay_with_a_name_goes_on_where_it_was(container: Container) -> None:
    streams = await started(container)
    await streams.persist("ctd", create=True)
    publisher = await (await spawn(container, Sensor)).open()
    await fill(publisher, range(10))
    first = await spawn(container, Listener)
    first.failing = 2
    await first.listen(name="ledger", after=0)
    await until(lambda: len(first.heard) == 10)
    await until(lambda: not first._active)
    await container.terminate_process(first.id)
    await fill(publisher, range(10, 20))
    second = await spawn(container, Listener)
    subscriber = await second.listen(name="ledger", after=0)
    await until(lambda: len(second.heard) == 10)
    assert values(first.heard + second.heard) == [float(n) for n in range(20)]
    await subscriber.delete()
    third = await spawn(container, Listener)
    await third.listen(name="ledger", after=0)
    await until(lambda: len(third.heard) == 20)


class Quitter(Listener):
    """Leaves in the middle of a granule, with others in its mailbox."""

    async def on_granule(self, granule: Granule) -> None:
        if granule.number == 8:
            await self.subscriber.cancel()
        await super().on_granule(granule)


class Picky(Process):
    """Fails at one granule, as long as it is told to; keeps offset and attempt of each it is given.

    Between two attempts it does other things.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.heard: list[tuple[int | None, int]] = []

    async def listen(self, **how: Any) -> StreamSubscriber:
        return await StreamSubscriber.open(self, "ctd", self.on_granule, **how)

    async def on_granule(self, granule: Granule) -> None:
        self.heard.append((granule.offset, self.message.attempt))
        if granule.number == 2 and self.error is not None:
            raise self.error


async def test_those_of_a_name_take_turns_at_a_replay(
    container: Container, other: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_lease, "LEASE", 1.5)
    streams = await started(container)
    await streams.persist("ctd", create=True)
    publisher = await (await spawn(container, Sensor)).open()
    await fill(publisher, range(5))
    kinds = ((container, Quitter), (other, Listener), (container, Listener))
    listeners = [await spawn(place, kind) for place, kind in kinds]
    listeners[0].subscriber = await listeners[0].listen(name="report", after=0)
    await until(lambda: len(listeners[0].heard) == 5)
    await listeners[1].listen(name="report", after=0)
    await fill(publisher, range(5, 20))
    await until(lambda: len(listeners[1].heard) == 12)
    await listeners[2].listen(name="report", after=0)
    await fill(publisher, range(20, 30))
    await until(lambda: len(listeners[1].heard) == 22)
    places = await Checkpoints.open(await container.datastore())
    async with asyncio.timeout(20):
        while (await places.claim("ctd", "report", "nobody", 100.0)).after != 30:
            await asyncio.sleep(0.005)
    await other.kill()
    await fill(publisher, range(30, 40))
    await until(lambda: len(listeners[2].heard) == 10)
    assert values([g for each in listeners for g in each.heard]) == [float(n) for n in range(40)]


@pytest.mark.parametrize(
    ("error", "attempts"), [(RuntimeError("no"), 3), (ApplicationError("bad", code=400), 1)]
)
async def test_what_a_replay_by_name_fails_at_is_tried_again_then_a_dead_letter(
    bus: tuple[str, dict[str, object]], error: Exception, attempts: int
) -> None:
    url, config = bus
    config = {**config, "service.attempts": 3, "service.retry_delays": [0.3, 0.01]}
    async with Container(url, sysname="picky", config=config) as container:
        streams = await started(container)
        await streams.persist("ctd", create=True)
        await fill(await (await spawn(container, Sensor)).open(), range(4))
        await kept(streams, 4)
        picky = await spawn(container, Picky)
        picky.error = error
        await picky.listen(name="picky", after=0)
        if attempts > 1:
            await until(lambda: len(picky.heard) == 2)
            assert await container.rpc_send(picky.id, "ping", timeout=5)
        await until(lambda: len(picky.heard) == 3 + attempts)
        tried = [(2, attempt) for attempt in range(1, attempts + 1)]
        assert picky.heard == [(1, 1), *tried, (3, 1), (4, 1)]

        key, letters = "sub.streams.picky", []
        async with asyncio.timeout(10):
            while not letters:
                letters = await peek(container.endpoint, key)
        assert [(each.attempt, each.cause) for each in letters] == [(attempts, str(error))]
        picky.error = None
        assert await replay(container.endpoint, key) == 1
        await until(lambda: len(picky.heard) == 4 + attempts)
        assert picky.heard[-1] == (2, 1)
        assert not await peek(container.endpoint, key)


@pytest.mark.parametrize("killed", [1, 3])
async def test_a_granule_that_kills_who_hears_it_is_given_up(
    bus: tuple[str, dict[str, object]], killed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, config = bus
    config = {**config, "service.attempts": 3, "service.retry_delays": [0.01]}
    async with Container(url, sysname="picky", config=config) as container:
        streams = await started(container)
        await streams.persist("ctd", create=True)
        await fill(await (await spawn(container, Sensor)).open(), range(4))
        await kept(streams, 4)
        places = await Checkpoints.open(await container.datastore())
        for n in range(killed):  # they become silent at once, the first one behind offset 1
            await places.claim("ctd", "picky", f"p{n}", 0.0)
            if not n:
                await places.keep("ctd", "picky", "p0", 1, 0.0, ends=False)
        monkeypatch.setattr("ion.process.granules.consumer_lease.LEASE", 0.2)
        picky = await spawn(container, Picky)
        await picky.listen(name="picky", after=0)
        await until(lambda: picky.heard and picky.heard[-1][0] == 4)
        tried = [(2, 2)] if killed == 1 else []
        assert picky.heard == [*tried, (3, 1), (4, 1)]
        letters = await list_dead_letters(container.endpoint, ["sub.streams.picky"])
        assert [each.messages for each in letters] == [0 if tried else 1]


async def test_where_the_service_is_away_it_goes_on_later(container: Container) -> None:
    streams = await started(container)
    await streams.persist("ctd", create=True)
    publisher = await (await spawn(container, Sensor)).open()
    listener = await spawn(container, Listener)
    await listener.listen(after=0)
    await fill(publisher, range(5))
    await until(lambda: len(listener.heard) == 5)
    await container.stop_app("streams")
    await fill(publisher, range(5, 10))
    await started(container)
    await fill(publisher, range(10, 15))
    await until(lambda: len(listener.heard) >= 15)
    assert values(listener.heard) == [float(n) for n in range(15)]


async def test_only_the_newest_are_kept(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "EXPIRE_EVERY", 0.05)
    streams = await started(container)
    await streams.persist("ctd", granules=10, create=True)
    await streams.persist("old", seconds=3600, create=True)
    publishers = [await (await spawn(container, Sensor)).open(name) for name in ("ctd", "old")]
    for publisher in publishers:
        await fill(publisher, range(100))
    await publishers[1].publish({"x": [100.0]}, time=time.time())
    await kept(streams, 100)
    await kept(streams, 101, "old")
    assert values(await streams.last("ctd", 50)) == [float(n) for n in range(90, 100)]
    async with asyncio.timeout(20):
        while (await streams.describe("old")).first != 101:
            await asyncio.sleep(0.01)
    assert values([g async for g in streams.read("old")]) == [100.0]


async def test_a_deleted_stream_is_gone_and_its_publishers_know(container: Container) -> None:
    streams = await started(container)
    await streams.persist("ctd", create=True)
    publisher = await (await spawn(container, Sensor)).open()
    await fill(publisher, range(5))
    await kept(streams, 5)
    queue = "test.sub.streams.persist-ctd"
    transport = container._endpoint.transport
    assert await transport.queue_info(queue) is not None
    assert await streams.delete("ctd")
    assert not await streams.delete("ctd")
    assert await transport.queue_info(queue) is None
    assert await streams.streams() == []
    with pytest.raises(NotFound):
        await streams.describe("ctd")
    with pytest.raises(NotFound):
        await streams.last("ctd")
    await until(lambda: publisher.is_closed)
    with pytest.raises(NotFound, match="was deleted"):
        await publisher.publish({"x": [1.0]})
    await streams.persist("ctd", create=True)
    again = await (await spawn(container, Sensor)).open()
    await fill(again, range(3))
    await kept(streams, 3)
    assert [g.offset for g in await streams.last("ctd", 10)] == [1, 2, 3]


async def test_who_publishes_for_ever_hears_that_the_stream_was_deleted(
    container: Container,
) -> None:
    class Busy(Process):
        """Publishes in one handler, which never ends by itself: nothing comes by the mailbox."""

        published = 0

        async def op_publish(self) -> None:
            publisher = await StreamPublisher.open(self, "ctd", CTD)
            while True:
                await publisher.publish({"x": [1.0]})
                self.published += 1
                await asyncio.sleep(0.001)

    streams = await started(container)
    await streams.persist("ctd", create=True)
    busy = await spawn(container, Busy)
    publishing = asyncio.create_task(container.rpc_send(busy.id, "publish", timeout=60))
    await until(lambda: busy.published > 5)
    assert await streams.delete("ctd")
    with pytest.raises(ReceivedError, match="was deleted"):
        await publishing
    await container.terminate_process(busy.id)


async def test_what_cannot_be_kept_is_a_dead_letter_and_the_stream_goes_on(
    container: Container,
) -> None:
    streams = await started(container)
    await streams.persist("ctd", create=True)
    publisher = await (await spawn(container, Sensor)).open()
    most = container._endpoint.max_content - 2000
    await publisher.publish({"x": np.zeros(most // 8)})
    largest = np.zeros(most // 8 + 200)
    with pytest.raises(ContentTooLarge):
        await publisher.publish({"x": largest})
    body = publisher._writer("other").write(1, 0.0, pieces({"x": largest}, None))
    await container.publish("streams", "ctd", msgspec.Raw(body))
    await container.publish("streams", "ctd", {"no": "granule"})
    wrong = {"stream": "raw", "publisher": "p", "number": 1, "time": 0.0, "fields": {}}
    await container.publish("streams", "ctd", wrong)
    await publisher.publish({"x": [7.0]})
    await kept(streams, 2)
    assert [g["x"].size for g in await streams.last("ctd", 5)] == [most // 8, 1]
    letters: list[Any] = []
    async with asyncio.timeout(10):
        while len(letters) < 3:
            letters = await peek(container._endpoint, "sub.streams.persist-ctd", 10)
    assert {each.cause_type for each in letters} == {
        "ContentTooLarge",
        "CodecError",
        "InvalidRequest",
    }


async def test_a_store_that_is_away_for_a_while(
    container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it did not take is tried again, and what it took before it went is not there twice."""
    monkeypatch.setattr(recorder, "PAUSE", 0.01)
    streams = await started(container)
    await streams.persist("ctd", create=True)
    publisher = await (await spawn(container, Sensor)).open()
    (service,) = [p for p in container.processes.values() if p.name == "streams"]
    log = service.recorders._recorders["ctd"].log  # type: ignore[attr-defined]
    store = log._store = Failing(log._store)
    count = 0
    while store.failures:
        await fill(publisher, range(count, count + 10))
        count += 10
        await kept(streams, count)
    assert values([g async for g in streams.read("ctd")]) == [float(n) for n in range(count)]
    assert 0 < caplog.text.count("is not kept for now") < 5  # what goes on is told of once


class Failing:
    """A store that is away at some writes: before they are done, or after."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.failures = ["after", "before", "after", "before", "before"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, batch: Any) -> Any:
        when = self.failures.pop() if self.failures else ""
        done = None if when == "before" else await self._store.write(batch)
        if when:
            raise Unavailable("the store is away")
        return done


async def test_definitions(container: Container) -> None:
    streams = await started(container)
    sensor = await spawn(container, Sensor)
    await sensor.open("ctd", CTD, register=True)
    newer = StreamDefinition("ctd", {"x": Field("f8", unit="m"), "y": "i4"}, version=2)
    assert (await streams.register("ctd", newer)).definitions == (CTD, newer)
    assert (await streams.register("ctd", newer)).definitions == (CTD, newer)
    for breaking in (
        StreamDefinition("ctd", {"y": "i4"}, version=3),
        StreamDefinition("ctd", {"x": Field("f4", unit="m"), "y": "i4"}, version=3),
        StreamDefinition("ctd", {"x": Field("f8", unit="m"), "y": "i4", "z": "i4"}, version=2),
    ):
        with pytest.raises(Conflict) as conflict:
            await streams.register("ctd", breaking)
        assert conflict.value.details["breaks"]
    with pytest.raises(ReceivedError, match="goes on as it is"):
        await sensor.open("ctd", StreamDefinition("ctd", {"y": "i4"}, version=3), register=True)


async def test_what_makes_no_sense(container: Container) -> None:
    with pytest.raises(ServiceNotFound):
        await (await spawn(container, Listener)).listen(after=0)
    streams = await started(container)
    await streams.register("ctd")
    for call in (
        streams.persist("ctd", granules=0),
        streams.persist("ctd", seconds=-1.0),
        streams.register("x" * 300),
        streams.last("ctd"),
        streams.last("ctd", -1),
    ):
        with pytest.raises(InvalidRequest):
            await call
    for call in (
        streams.describe("none"),
        streams.unpersist("none"),
        streams.last("none"),
        streams.persist("ctp"),
    ):
        with pytest.raises(NotFound) as missing:
            await call
    assert "did you mean 'ctd'" in missing.value.message
    with pytest.raises(NotFound):
        await streams.last("ctp")  # nothing was made of it
    with pytest.raises(ReceivedError) as none:
        await (await spawn(container, Listener)).listen("none", after=0)
    assert none.value.code == 404
    for place in ({"after": -1}, {"after": "1"}, {"since": float("nan")}, {"since": "now"}):
        with pytest.raises(InvalidRequest):
            await (await spawn(container, Listener)).listen("ctd", **place)
    for field in ({"dtype": "O"}, "O", 5, {"type": "f8"}, {"dtype": "f8", "shape": "x"}):
        with pytest.raises(ReceivedError, match=r"field 'x': .*; write its type, as \"f8\"") as bad:
            await streams._call("register", {"stream": "y", "definition": xy(field)})
        assert bad.value.code == 400


def xy(field: Any) -> dict[str, Any]:
    return {"name": "xy", "fields": {"x": field}}


async def test_the_type_of_a_field_is_enough(container: Container) -> None:
    streams = await started(container)
    for field in ("float64", "f8", {"dtype": "f8"}):
        await streams._call("register", {"stream": "xy", "definition": xy(field)})
    known = (await streams.describe("xy")).stream
    assert known.definitions == (StreamDefinition("xy", {"x": Field("f8")}),)


async def test_streams_of_the_configuration(container: Container) -> None:
    with pytest.raises(StartError, match="streams of the app's config"):
        await started(container, streams={"ctd": {"persist": {"days": 3}}})
    streams = await started(container, streams={"ctd": {"persist": {"granules": 5}}, "raw": {}})
    found = await streams.streams()
    assert [(s.name, s.keep is not None) for s in found] == [("ctd", True), ("raw", False)]


async def test_one_instance_at_a_time_keeps_a_stream(
    container: Container, other: Container
) -> None:
    streams = await started(container)
    await started(other)
    await streams.persist("ctd", create=True)
    publisher = await (await spawn(other, Sensor)).open()
    listener = await spawn(other, Listener)
    await listener.listen(after=0)
    await fill(publisher, range(20))
    await kept(streams, 20)
    await container.stop_app("streams")
    await fill(publisher, range(20, 40))
    await until(lambda: len(listener.heard) >= 40)
    assert values(listener.heard) == [float(n) for n in range(40)]


async def test_a_log_with_two_writers_and_what_comes_twice(tmp_path: Path) -> None:
    """Who comes too late is told, looks again, and then knows what is there already."""
    datastore = open_datastore(f"sqlite:///{tmp_path}/log.db")
    await datastore.open()
    granules = [
        (Granule("s", "p", n, float(n), {"x": np.zeros(1)}), str(n).encode()) for n in range(1, 9)
    ]
    one, two = await Log.open(datastore, "s"), await Log.open(datastore, "s")
    assert await one.append(granules[:4]) == 4
    with pytest.raises(Conflict):
        await two.append(granules[2:6])
    await two.refresh()
    assert await two.append(granules[2:6]) == 2
    await one.refresh()
    assert await one.append(granules) == 2
    assert [body for _, body in await one.read(0, 100)] == [body for _, body in granules]
    assert one.end.last == 8
    assert Seen(8, 255).take(3) is None
    assert HEAD == "head"
    assert recorders.PAGE > 0
    await datastore.close()


async def test_a_publisher_whose_clock_is_far_ahead_keeps_nothing_from_being_too_old() -> None:
    datastore = open_datastore("memory://")
    await datastore.open()
    now = time.time()
    times = (now, 1e300, now + 3600, now + 3 * 86_400)
    granules = [
        (Granule("s", "p", n, at, {"x": np.zeros(1)}), b"") for n, at in enumerate(times, 1)
    ]
    log = await Log.open(datastore, "s")
    await log.append(granules)
    assert await log.expire(now + 0.5) == 1
    assert await log.expire(now + 2 * 86_400) == 3
    await datastore.close()


async def test_of_many_names_few_are_compared_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand that are alike would keep all others waiting for half a second."""
    datastore = open_datastore("memory://")
    await datastore.open()
    streams = await registry.Registry.open(datastore)
    for n in range(100):
        await streams.change(f"station{n}-temperature", lambda made: made, make=True)
    compared: list[str] = []
    compare = registry.difflib.get_close_matches

    def counted(name: str, names: list[str]) -> list[str]:
        compared.extend(names)
        return compare(name, names)

    monkeypatch.setattr(registry.difflib, "get_close_matches", counted)
    for wrong in ("station71-temperatuer", "staton71-temperature"):
        with pytest.raises(NotFound, match="did you mean 'station71-temperature'"):
            await streams.get(wrong)
    assert len(compared) <= 40
    await datastore.close()


async def test_publishers_that_are_long_silent_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datastore = open_datastore("memory://")
    await datastore.open()
    log = await Log.open(datastore, "s")

    async def append(publisher: str, number: int = 1) -> int:
        granule = Granule("s", publisher, number, 1.0, {"x": np.zeros(1)})
        return await log.append([(granule, b"x")])

    class Later(clock.SystemClock):
        ahead = 0.0

        def now(self) -> float:
            return super().now() + self.ahead

    later = Later()
    with clock.using(later):
        rows = await datastore.index_store(store_of("s"), INDICES)
        await rows.put("p/old", b"\x92\x07\x01")  # as it was kept before there was a time
        assert await append("one") == 1
        later.ahead = SILENT
        assert await append("two") == 1
        assert await append("old", 7) == 0
        later.ahead += 60
        assert await log.forget() == 1
        assert await append("two") == await append("old", 7) == 0
        assert await append("one") == 1  # too late to be known again
        monkeypatch.setattr(keeps, "MOST_KNOWN", 2)
        assert await log.forget() == 0  # all are recent
        later.ahead += keeps.RECENT + 60
        assert await append("one", 2) == 1
        assert await log.forget() == 1
        assert await append("two") == 1
        assert await append("one", 2) == await append("old", 7) == 0
    await datastore.close()


@pytest.fixture
async def other(bus: tuple[str, dict[str, object]]) -> Any:
    """Give a second container of the system."""
    url, config = bus
    async with Container(url, sysname="test", config=config) as running:
        yield running
