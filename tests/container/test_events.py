"""What containers tell of their own life, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from ion import Container, Process, Service, StartError
from ion.container import events
from ion.process.events import Event
from ion.process.events.types import (
    AppEvent,
    AppFailed,
    ContainerEvent,
    ContainerLost,
    ProcessEvent,
    ProcessRestarted,
    ProcessSpawned,
)
from ion.services.events.client import EventsClient
from tests.process.hearing import listen, until
from tests.services.test_events import stored

_names = itertools.count(1)
OFF = {"events.lifecycle": "off"}


@pytest.fixture(params=["memory", "amqp"])
def url(request):
    if request.param == "memory":
        return f"memory://lifecycle-{next(_names)}"
    return request.getfixturevalue("amqp_url")


class Fragile(Service, name="fragile"):
    async def op_break(self) -> None:
        self.fail("it broke")


class Stillborn(Service, name="stillborn"):
    async def on_init(self) -> None:
        raise ValueError("not today")


class Plain(Process):
    pass


APP = """
type: application
name: {name}
version: 1.2.0
processes:
  - {{id: one, class: "tests.container.test_events:{cls}"}}
supervision: {{backoff: null}}
"""


@pytest.fixture
def fragile(tmp_path):
    file = tmp_path / "frail.app"
    file.write_text(APP.format(name="frail", cls="Fragile"))
    return file


async def test_containers_apps_and_services_tell_of_their_lives(url, fragile, tmp_path):
    system = f"lifecycle{next(_names)}"
    async with Container(url, sysname=system, config=OFF) as watch:
        listener = await listen(watch)
        async with Container(url, sysname=system) as container:
            await container.start_app(fragile)
            await container.spawn(Plain)  # is not told of
            await container.send("fragile", "break")
            await until(lambda: _types(listener)[-1:] == ["ProcessRestarted"])
            with pytest.raises(StartError):
                await container.spawn(Stillborn)
            bad = tmp_path / "bad.app"
            bad.write_text(APP.format(name="bad", cls="Stillborn"))
            with pytest.raises(StartError):
                await container.start_app(bad)
        await until(lambda: _types(listener)[-1:] == ["ContainerStopped"])
        assert _types(listener)[:9] == [
            "ContainerStarted",
            "ProcessSpawned",
            "AppStarted",
            "ProcessFailed",
            "ProcessRestarted",
            "ProcessFailed",  # stillborn
            "ProcessFailed",  # and once more, in an app
            "AppFailed",
            "ContainerStopping",
        ]
        rest = ["AppStopped", "ContainerStopped", "ProcessTerminated"]
        assert sorted(_types(listener)[9:]) == rest
        by_type = {event.type: event for event in listener.heard}
        assert by_type["ContainerStarted"].origin == container.id
        restarted = by_type["ProcessRestarted"]
        assert isinstance(restarted, ProcessSpawned)
        assert (restarted.origin, restarted.origin_type, restarted.restarts) == (
            "fragile",
            "Service",
            1,
        )
        assert restarted.container == container.id
        assert "it broke" in listener.heard[3].error
        failed = by_type["AppFailed"]
        assert (failed.origin, failed.version) == ("bad", "1.2.0")
        assert "not today" in failed.error


def _types(listener) -> list[str]:
    return [event.type for event in listener.heard]


async def test_all_processes_or_none_where_the_settings_say_so():
    url = f"memory://lifecycle-{next(_names)}"
    async with Container(url, config=OFF) as watch:
        listener = await listen(watch, of=ProcessEvent)
        async with Container(url, config=OFF) as silent:
            await silent.spawn(Fragile)
        async with Container(url, config={"events.lifecycle": "all"}) as container:
            pid = await container.spawn(Plain, name="any text: é")
            await container.terminate_process(pid)
            await until(lambda: [e.pid for e in listener.heard].count(pid) == 2)
        spawned, ended = [event for event in listener.heard if event.pid == pid]
        assert (spawned.type, spawned.origin) == ("ProcessSpawned", "any text: é")
        assert (ended.type, ended.reason) == ("ProcessTerminated", "shutdown")
        assert {event.container for event in listener.heard} == {container.id}


async def test_one_that_is_lost_is_told_of_once_in_the_repository(tmp_path):
    url = f"memory://lifecycle-{next(_names)}"
    config = {
        "store.url": f"sqlite:///{tmp_path}/events.db",
        "system.heartbeat": 0.05,
        "system.suspect_after": 0.2,
        "system.lost_after": 0.5,
    }
    async with (
        Container(url, config=config) as one,
        Container(url, config=config) as two,
        Container(url, config=config) as gone,
    ):
        await one.start_app("events")
        live = await listen(two, of=ContainerLost)
        await until(lambda: all(len(list(c.heartbeat.members)) >= 2 for c in (one, two)))
        await gone.kill()
        await until(lambda: len(live.heard) == 2)
        assert {event.by for event in live.heard} == {one.id, two.id}
        assert {event.origin for event in live.heard} == {gone.id}
        client = EventsClient(one)
        await stored(client, 1, ContainerLost)
        found = await client.find(ContainerLost)
        assert [filed.content["origin"] for filed in found.events] == [gone.id]


async def test_nobody_waits_where_the_broker_does_not_answer(monkeypatch):
    monkeypatch.setattr(events, "MOST", 5)
    async with Container("memory://") as container:
        listener = await listen(container, of=ContainerEvent)

        async def never(*_: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(container.transport, "wait_writable", never)
        begun = time.monotonic()
        for _ in range(10):
            await container.terminate_process(await container.spawn(Fragile))
        assert container.endpoint.counts["lifecycle events dropped"] == 15
        await container.stop()
        assert time.monotonic() - begun < 10
        assert not listener.heard


def test_every_type_says_what_it_is_and_has_fields_with_defaults():
    from ion.process.events import types

    made = [each(origin="x") for each in vars(types).values() if _is_type(each)]
    assert len(made) > 20
    assert all(event.__doc__ for event in made)


def _is_type(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Event)


async def test_the_repository_has_what_was_told_of_apps(tmp_path, fragile):
    config = {"store.url": f"sqlite:///{tmp_path}/events.db"}
    async with Container("memory://", config=config) as container:
        await container.start_app("events")
        await container.start_app(fragile)
        await container.stop_app("frail")
        client = EventsClient(container)
        await stored(client, 3, AppEvent)
        found = await client.find(AppEvent)
        told = [(filed.event.type, filed.event.origin) for filed in found.events]
        assert told == [("AppStarted", "events"), ("AppStarted", "frail"), ("AppStopped", "frail")]
        assert await client.count(AppFailed) == await client.count(ProcessRestarted) == 0
