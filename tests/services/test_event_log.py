"""The log of events on every store: each event once, in order, whoever writes at the same time."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from ion import BadRequest, InvalidRequest, LifecycleError, Unavailable
from ion.services.events.checkpoints import Checkpoints
from ion.services.events.log import EventLog
from ion.services.events.model import INDICES, Arrived, Wanted, arrived, offset_of, query_of
from ion.services.events.writer import Writer
from ion.stores.opening import open_datastore

_names = itertools.count(1)


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis"])
async def datastore(request, tmp_path):
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/log.db"}
    url = urls.get(request.param) or request.getfixturevalue(f"{request.param}_url")
    opened = open_datastore(url, timeout=10.0, sysname=f"log{next(_names)}")
    await opened.open()
    yield opened
    await opened.close()


def event(n: int, path: str = "Event.Weather", **fields: object) -> Arrived:
    content = {"path": path, "origin": f"o{n % 3}", "id": f"e{n}", "created": float(n), **fields}
    return arrived(content, "", 0.0)


async def found(log: EventLog, **wanted: object) -> list[str]:
    query = query_of(Wanted(**wanted), await log.known(), limit=1000)
    page = await log.page(query)
    return [str(entry.index["event"]) for entry in page.items]


async def test_two_writers_of_one_log_keep_each_event_once_and_in_order(datastore):
    name = f"log_{next(_names)}_{time.time_ns()}"
    logs = [EventLog(await datastore.index_store(name, INDICES)) for _ in range(2)]
    for log in logs:
        await log.open()
    batches = [[event(n) for n in range(start, start + 7)] for start in range(0, 60, 5)]
    await asyncio.gather(*(log.append(batch) for batch in batches for log in logs))
    one, two = logs
    assert await one.append(batches[0]) == 0
    ids = await found(one)
    assert sorted(ids) == sorted(f"e{n}" for n in range(62))
    page = await one.page(query_of(Wanted(), one.paths, limit=1000))
    assert [offset_of(entry.key) for entry in page.items] == list(range(1, 63))
    await two.append([event(100, "Event.Weather.Storm", sub_type="gust")])
    assert await found(two, type="Storm") == await found(two, sub_type="gu*") == ["e100"]
    assert await found(one, type="Storm") == ["e100"]  # though the other one has kept it
    assert set(await found(two, type="Weather", origin="o1")) == {
        f"e{n}" for n in (*range(1, 62, 3), 100)
    }
    assert await found(two, origin_type="", since=60.0) == ["e60", "e61", "e100"]
    assert await one.trim(None, 3) == 60
    assert await one.ends() == await two.ends() == (61, 63)
    again = EventLog(await datastore.index_store(name, INDICES))
    await again.open()
    await again.append([event(200)])
    assert (await again.ends())[1] == 64
    assert again.paths == {"Event.Weather", "Event.Weather.Storm"}


async def test_a_place_is_one_processes_at_a_time(datastore):
    places = Checkpoints(await datastore.store(f"places_{time.time_ns()}"))
    assert (await places.claim("crew", "a", 60.0)).owner == "a"
    assert (await places.claim("crew", "b", 60.0)).owner == "a"
    assert await places.keep("crew", "a", 17, False, 60.0)
    taken = await places.claim("crew", "b", 0.0)  # a has said nothing for so long
    assert (taken.owner, taken.after, taken.done) == ("b", 17, False)
    assert not await places.keep("crew", "a", 18, True, 60.0)
    assert await places.keep("crew", "b", 20, True, 60.0)
    assert (await places.claim("crew", "c", 60.0)).done
    await places.forget("crew")
    assert (await places.claim("crew", "c", 60.0)).after == 0


class Flaky(EventLog):
    """A log whose store is away, and that fails for one event."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.away = True

    async def append(self, events: list[Arrived]) -> int:
        if self.away:
            raise Unavailable("gone fishing")
        if any(each.id == "e3" for each in events):
            raise ValueError("I cannot take three")
        self.kept += [each.id for each in events]
        return len(events)


@pytest.mark.parametrize("batch", [1, 400])
async def test_while_the_store_is_away_events_wait_in_their_order(monkeypatch, batch):
    monkeypatch.setattr("ion.services.events.writer.PAUSE", 0.01)
    monkeypatch.setattr("ion.services.events.writer.BATCH", batch)
    log = Flaky()
    writer = Writer(log, lambda work, name: asyncio.create_task(work, name=name))
    waiting = [asyncio.create_task(writer.file(event(n))) for n in range(6)]
    while not writer.trouble:
        await asyncio.sleep(0.001)
    assert "gone fishing" in writer.trouble
    waiting[4].cancel()  # its process ends: it is not to be kept
    log.away = False
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert log.kept == ["e0", "e1", "e2", "e5"]
    assert isinstance(done[3], ValueError)
    assert isinstance(done[4], asyncio.CancelledError)
    assert writer.trouble == ""


async def test_what_comes_while_the_service_ends_is_kept():
    datastore = open_datastore("memory://")
    await datastore.open()
    log = EventLog(await datastore.index_store("events", INDICES))
    await log.open()

    def ends(work, name):
        work.close()
        raise LifecycleError(name)

    writer = Writer(log, ends)
    await asyncio.gather(*[writer.file(event(n)) for n in range(5)])
    assert log.last == 5
    await datastore.close()


def test_what_cannot_be_kept_is_refused_before():
    for fields, error in (
        ({"origin": ""}, BadRequest),
        ({"id": ""}, BadRequest),
        ({"origin": "x" * 2000}, InvalidRequest),
        ({"created": "now"}, BadRequest),
        ({"created": float("nan")}, InvalidRequest),
        ({"sub_type": "a\0"}, InvalidRequest),
        ({"depth": 10**30}, BadRequest),
    ):
        with pytest.raises(error):
            event(1, **fields)
