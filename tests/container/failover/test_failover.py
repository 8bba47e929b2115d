"""Failover: an app of which the system runs one, in one of its containers, whichever lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from ion import ConfigurationError, Container, IonError, StartError, Unavailable
from ion.base.document import parse
from ion.container.apps.app import app_of, load_app
from ion.container.failover import standby
from ion.container.membership.membership import Beat
from ion.messaging import codec
from ion.messaging.envelope import Envelope
from tests.container.alone import Alone
from tests.process.supervised import until

QUICK = {
    "system.heartbeat": 0.1,
    "system.suspect_after": 1.0,
    "system.lost_after": 30.0,
    "system.grace": 1.2,
}
APP = """\
type: application
name: alone
version: 1.0.0
start_type: permanent
failover: {failover}
config: {{place: file}}
processes:
  - id: alone
    class: tests.container.alone:Alone
    args: {args}
supervision: {{intensity: 0}}
"""


class System:
    """The containers of a test."""

    def __init__(self, url: str, config: dict[str, Any], folder: Path) -> None:
        self.url = url
        self.config = {**config, **QUICK}
        self.folder = folder
        self.containers: list[Container] = []

    def write(self, failover: str = "true", args: str = "{}") -> Path:
        path = (
            self.folder / "res" / "apps" / "alone.app"
        )  # where any container finds it by its name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(APP.format(failover=failover, args=args))
        return path

    async def add(self, name: str | None = None) -> Container:
        config = {**self.config, "container.name": name}
        container = Container(self.url, sysname="fail", config=config)
        await container.start()
        self.containers.append(container)
        return container

    def state(self, container: Container) -> str:
        app = container.apps.get("alone")
        return app.state if app is not None else "none"

    def states(self) -> list[str]:
        return [self.state(container) for container in self.containers]

    async def who(self, container: Container) -> dict[str, Any]:
        return await container.rpc_send("alone", "who", {}, 20)


@pytest.fixture
async def system(bus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url, config = bus
    made = System(url, config, tmp_path)
    yield made
    for container in made.containers:
        await container.stop(5)


@pytest.fixture
async def memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = System(f"memory://{tmp_path.name}", {}, tmp_path)
    yield made
    for container in made.containers:
        await container.stop(5)


async def test_one_runs_it_and_the_other_stands_by_and_takes_over(system):
    path = system.write()
    one, other = await system.add(), await system.add()
    await one.start_app(path, config={"place": "here"}, args={"colour": "red"})
    await other.start_app(path)
    assert system.states() == ["ACTIVE", "STANDBY"]
    assert other.apps["alone"].describe()["state"] == "STANDBY"
    before = await system.who(other)
    assert before["pid"].startswith(one.id)
    await one.kill()
    await until(lambda: system.state(other) == "ACTIVE")
    after = await system.who(other)
    assert after["pid"].startswith(other.id)
    assert after["token"] > before["token"]
    assert (after["place"], after["colour"]) == ("here", "red")  # as it was started


async def test_a_container_that_never_was_told_of_it_takes_over(system):
    path = system.write()
    one = await system.add()
    await one.start_app(path)
    late = await system.add()
    await until(lambda: "alone" in late.failover.posts)
    await until(lambda: late.failover.posts["alone"].keeper.is_open)
    assert not late.apps
    await one.kill()
    await until(lambda: system.state(late) == "ACTIVE")
    assert (await system.who(late))["pid"].startswith(late.id)


async def test_a_file_of_its_own_goes_before_the_one_that_another_started(memory, tmp_path):
    path = memory.write()
    elsewhere = tmp_path / "elsewhere.app"
    elsewhere.write_text(path.read_text().replace("place: file", "place: elsewhere"))
    one, late = await memory.add(), await memory.add()
    await one.start_app(elsewhere)
    await until(lambda: "alone" in late.failover.posts)
    await until(lambda: late.failover.posts["alone"].keeper.is_open)
    assert (await memory.who(late))["place"] == "elsewhere"
    await one.kill()
    await until(lambda: memory.state(late) == "ACTIVE")
    assert (await memory.who(late))["place"] == "file"  # its own one of that name


async def test_a_file_that_another_started_will_do_where_there_is_no_own(memory, tmp_path):
    path = memory.write()
    elsewhere = tmp_path / "elsewhere.app"
    elsewhere.write_text(path.read_text().replace("place: file", "place: elsewhere"))
    path.unlink()
    one, late = await memory.add(), await memory.add()
    await one.start_app(elsewhere)
    await until(lambda: "alone" in late.failover.posts)
    await until(lambda: late.failover.posts["alone"].keeper.is_open)
    await one.kill()
    await until(lambda: memory.state(late) == "ACTIVE")
    assert (await memory.who(late))["place"] == "elsewhere"


async def test_what_a_container_without_the_key_claims_to_hold_is_not_stood_by_for(
    amqp_url, tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    system = System(amqp_url, {}, tmp_path)
    path = system.write()
    try:
        one = await system.add()
        beat = Beat("ghost", 1, 1.0, apps={"alone": (1, str(path))})
        envelope = Envelope("beat", codec.encode(beat)[0])
        await one.transport.publish_confirmed("fail.xs", "ctl.beat", envelope, timeout=5)
        await until(lambda: one.endpoint.counts["beats that are not sealed"])
        assert "alone" not in one.failover._looked
        assert one.heartbeat.members.find("ghost") is not None  # that it is there does no harm
        assert "beat 'ghost' is not believed: it is not sealed" in caplog.text
        other = await system.add()
        await one.start_app(path)
        await until(lambda: "alone" in other.failover.posts)  # what has the key is heard
    finally:
        for container in system.containers:
            await container.stop(5)


async def test_a_container_that_has_no_key_says_so(amqp_url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    system = System(amqp_url, {}, tmp_path)
    path = system.write()
    try:
        one = await system.add()
        one.endpoint.permission.key = None
        one.endpoint.permission.why_none = "the disk is full"
        with pytest.raises(ConfigurationError, match="takes the key of the system: the disk is"):
            await one.start_app(path)
    finally:
        await system.containers[0].stop(5)


async def test_a_drain_hands_it_over_without_a_grace(system):
    path = system.write("{grace: 30}")
    one, other = await system.add(), await system.add()
    await one.start_app(path)
    await other.start_app(path)
    began = time.monotonic()
    await one.stop()
    await until(lambda: system.state(other) == "ACTIVE")
    assert time.monotonic() - began < 20
    assert (await system.who(other))["pid"].startswith(other.id)


async def test_what_a_failed_start_had_begun_is_taken_over_by_nobody(system):
    path = system.write()
    one, late = await system.add(), await system.add()
    one.undoes = True
    await one.start_app(path)
    await until(lambda: "alone" in late.failover.posts)
    await until(lambda: late.failover.posts["alone"].keeper.is_open)
    started = len(Alone.started)
    await one.stop()
    await until(lambda: "alone" not in late.failover.posts)
    assert (system.state(late), len(Alone.started)) == ("none", started)
    await late.start_app(path)
    assert system.state(late) == "ACTIVE"


async def test_a_failed_start_stops_nothing_that_others_had_begun(system):
    path = system.write()
    one, other, third = await system.add(), await system.add(), await system.add()
    await one.start_app(path)
    other.undoes = third.undoes = True
    await other.start_app(path)
    await third.start_app(path)
    assert system.states() == ["ACTIVE", "STANDBY", "STANDBY"]
    await other.stop()
    assert system.states() == ["ACTIVE", "none", "STANDBY"]
    await one.kill()
    await until(lambda: system.state(third) == "ACTIVE")
    last = await system.add()
    await last.start_app(path)
    await third.stop()  # it had taken it over: it goes on
    await until(lambda: system.state(last) == "ACTIVE")


async def test_what_was_stopped_is_started_by_nobody(system):
    path = system.write()
    one, other = await system.add(), await system.add()
    await one.start_app(path)
    await other.start_app(path)
    before = await system.who(one)
    await one.stop_app("alone")
    assert not one.apps
    await until(lambda: not other.apps)
    started = len(Alone.started)
    await asyncio.sleep(1.5 * 1.2)  # well beyond the grace
    assert len(Alone.started) == started
    await other.start_app(path)
    assert system.states() == ["none", "ACTIVE"]
    assert (await system.who(one))["token"] > before["token"]


async def test_one_that_stands_by_can_be_told_not_to(memory):
    path = memory.write()
    one, other, third = await memory.add(), await memory.add(), await memory.add()
    for container in memory.containers:
        await container.start_app(path)
    await other.stop_app("alone")
    assert not other.apps
    await one.kill()
    await until(lambda: memory.state(third) == "ACTIVE")
    assert not other.apps
    assert "alone" not in other.failover.posts


async def test_an_app_that_fails_goes_to_another_container(system):
    path = system.write()
    one, other = await system.add(), await system.add()
    await one.start_app(path)
    await other.start_app(path)
    with contextlib.suppress(IonError):
        await other.rpc_send("alone", "fail", {}, 5)
    await until(lambda: system.states() == ["STANDBY", "ACTIVE"])
    assert one.state == "ACTIVE"  # not the end of its container, as that of other apps
    assert (await system.who(one))["pid"].startswith(other.id)


async def test_a_survivor_that_cannot_run_it_gives_it_on(memory, caplog):
    path = memory.write(args="{broken: _b}")
    one = await memory.add("one_a")
    await memory.add("two_b")
    await memory.add("three_c")
    await one.start_app(path)
    for container in memory.containers[1:]:
        await container.start_app(path)
    assert memory.states() == ["ACTIVE", "STANDBY", "STANDBY"]
    await one.kill()
    await until(lambda: memory.states()[1:] == ["STANDBY", "ACTIVE"])
    assert "app alone does not run here" in caplog.text
    assert "it does not run here" in caplog.text


async def test_who_failed_stands_by_again_as_soon_as_the_broker_lets_it(memory, monkeypatch):
    monkeypatch.setattr(standby, "PAUSES", (0.01,))
    path = memory.write()
    one = await memory.add()
    await one.start_app(path)
    keeper = one.failover.posts["alone"].keeper
    opened, away = keeper.open, [Unavailable("the broker is away")] * 3

    async def open_() -> None:
        if away:
            raise away.pop()
        await opened()

    monkeypatch.setattr(keeper, "open", open_)
    with contextlib.suppress(IonError):
        await one.rpc_send("alone", "fail", {}, 5)
    await until(lambda: not away and memory.states() == ["ACTIVE"])


async def test_what_fails_everywhere_stays_down_until_it_is_started_again(memory, caplog):
    path = memory.write("{attempts: 3}")
    one, other = await memory.add(), await memory.add()
    await one.start_app(path)
    await other.start_app(path)
    began = len(Alone.started)
    memory.write("{attempts: 3}", args="{broken: all}")
    await one.kill()
    await until(lambda: "stays down everywhere" in caplog.text)
    assert len(Alone.started) == began + 3
    assert other.apps == {}
    assert other.state == "ACTIVE"
    [record] = [r for r in caplog.records if "stays down" in r.getMessage()]
    assert record.levelno == logging.ERROR
    with pytest.raises(StartError, match="it does not run here"):
        await other.start_app(path)
    memory.write("{attempts: 3}")
    await other.start_app(path)
    assert memory.state(other) == "ACTIVE"
    await memory.who(other)


async def test_a_first_start_that_fails_is_undone_and_nobody_else_tries(memory):
    path = memory.write(args="{broken: _a}")
    one, other = await memory.add("one_a"), await memory.add("two_b")
    with pytest.raises(StartError, match="it does not run here"):
        await one.start_app(path)
    assert not one.apps
    began = len(Alone.started)
    await asyncio.sleep(0.5)
    assert len(Alone.started) == began
    await other.start_app(path)
    assert memory.state(other) == "ACTIVE"


async def test_a_container_without_the_app_does_not_stand_by(memory, tmp_path, monkeypatch):
    path = memory.write()
    one, other = await memory.add(), await memory.add()
    await one.start_app(path)
    other.failover._looked.clear()
    await until(lambda: "alone" in other.failover.posts)
    await other.failover.posts["alone"].close()
    path.unlink()
    other.failover._looked.clear()
    await until(lambda: "alone" in other.failover._looked)
    beats = other.heartbeat.members.find(one.id).beat.number
    await until(lambda: other.heartbeat.members.find(one.id).beat.number > beats + 2)
    assert "alone" not in other.failover.posts


async def test_a_blocked_loop_ends_it_before_its_tasks_go_on(memory, tmp_path):
    book = tmp_path / "book"
    path = memory.write(args=f"{{book: {book}}}")
    one = await memory.add()
    await one.start_app(path)
    [process] = [p for p in one.processes.values() if isinstance(p, Alone)]
    await until(lambda: process.steps > 3)
    steps = process.steps
    time.sleep(1.2)  # noqa: ASYNC251 - as bad code does
    assert process.lease is not None
    assert not process.lease.held
    await until(lambda: process.state == "TERMINATED")
    assert process.steps == steps  # it has done nothing since
    await until(lambda: memory.state(one) == "ACTIVE")  # nobody else is there
    after = await memory.who(one)
    assert after["token"] > process.lease.token


async def test_a_start_that_blocks_the_loop_until_its_lease_is_lost_says_so(memory):
    path = memory.write(args="{blocks: 1.2}")
    one = await memory.add()
    with pytest.raises(StartError, match="the lease of app 'alone' was lost while it started"):
        await one.start_app(path)


async def test_a_restart_keeps_it_here(memory):
    path = memory.write()
    one, other = await memory.add(), await memory.add()
    await one.start_app(path)
    await other.start_app(path)
    before = await memory.who(one)
    await one.restart_app("alone")
    after = await memory.who(one)
    assert memory.states() == ["ACTIVE", "STANDBY"]
    assert after["pid"] != before["pid"]
    assert after["pid"].startswith(one.id)


async def test_a_release_with_it_starts_on_two_containers(memory, tmp_path):
    memory.write()
    rel = tmp_path / "two.rel"
    rel.write_text(
        "type: release\nname: two\nversion: 1.0.0\napps:\n"
        "  - {name: alone, config: {place: rel}, args: {colour: blue}}\n"
    )
    one, other = await memory.add(), await memory.add()
    await asyncio.gather(one.start_rel(rel), other.start_rel(rel))
    assert sorted(memory.states()) == ["ACTIVE", "STANDBY"]
    holder, waiting = (one, other) if memory.state(one) == "ACTIVE" else (other, one)
    await holder.kill()
    await until(lambda: memory.state(waiting) == "ACTIVE")
    said = await memory.who(waiting)
    assert (said["place"], said["colour"]) == ("rel", "blue")


async def test_it_runs_once_whatever_a_release_says(memory, tmp_path):
    memory.write()
    rel = tmp_path / "twice.rel"
    rel.write_text(
        "type: release\nname: twice\nversion: 1.0.0\n"
        "apps:\n  - {name: alone}\n  - {name: alone, mult: true}\n"
    )
    one = await memory.add()
    with pytest.raises(ConfigurationError, match="runs once in the system"):
        await one.start_rel(rel)
    assert not one.apps


def test_what_an_app_file_may_say(tmp_path):
    path = tmp_path / "alone.app"
    path.write_text(APP.format(failover="{grace: 5, attempts: 2}", args="{}"))
    takeover = load_app(path).takeover
    assert takeover is not None
    assert (takeover.grace, takeover.attempts) == (5.0, 2)
    path.write_text(APP.format(failover="false", args="{}"))
    assert load_app(path).takeover is None
    text = APP.format(failover="{graze: 5}", args="{}")
    _, findings = app_of(parse(text, "x.app", either=True))
    assert [str(f) for f in findings] == [
        "x.app:5: failover.graze: unknown key (did you mean 'grace'?)"
    ]
    text = APP.format(failover="true", args="{}").replace("permanent", "temporary")
    _, findings = app_of(parse(text, "x.app", either=True))
    assert [finding.key for finding in findings] == ["failover"]
    assert "start_type: permanent" in findings[0].message


async def test_a_broker_that_starts_again_finds_one(
    amqp_url, rabbitmq_server, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    system = System(amqp_url, {}, tmp_path)
    path = system.write()
    try:
        for _ in range(3):
            await (await system.add()).start_app(path)
        before = await system.who(system.containers[0])
        await asyncio.to_thread(rabbitmq_server.kill)
        await until(lambda: system.states() == ["STANDBY"] * 3)
        await asyncio.to_thread(rabbitmq_server.start)
        async with asyncio.timeout(60):
            while "ACTIVE" not in system.states():
                await asyncio.sleep(0.01)
        assert sorted(system.states()) == ["ACTIVE", "STANDBY", "STANDBY"]
        assert (await system.who(system.containers[1]))["token"] > before["token"]
    finally:
        for container in system.containers:
            await container.stop(5)
