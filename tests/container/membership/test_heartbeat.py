"""Beats: containers see one another, and that one has vanished."""

from __future__ import annotations

import asyncio
import logging
import time

import msgspec
import pytest

from ion import Container, Process
from ion.container.membership.membership import Beat
from ion.messaging import codec
from ion.messaging.envelope import Envelope
from ion.process.supervision.exit_reason import DownNotice
from tests.journeys.faults.conftest import fleet  # noqa: F401 - a fixture
from tests.process.supervised import until

QUICK = {"system.heartbeat": 0.05, "system.suspect_after": 0.3, "system.lost_after": 60.0}


class Watcher(Process, name="watcher"):
    """Hears of ends."""

    def __init__(self) -> None:
        self.heard: list[DownNotice] = []

    async def on_down(self, notice: DownNotice) -> None:
        self.heard.append(notice)


class Watched(Process, name="watched"):
    """Does nothing."""


@pytest.fixture
async def pair(bus):
    url, config = bus
    async with (
        Container(url, sysname="heartbeat", config={**config, **QUICK}) as one,
        Container(url, sysname="heartbeat", config={**config, **QUICK}) as other,
    ):
        yield one, other


async def test_containers_see_one_another(pair):
    one, other = pair
    await until(
        lambda: one.heartbeat.members.find(other.id) and other.heartbeat.members.find(one.id)
    )
    await until(lambda: one.heartbeat.latency is not None)
    assert one.heartbeat.latency < 20
    assert one.heartbeat.members.find(one.id) is not None


async def test_the_processes_of_a_vanished_container_are_told_to_be_lost(pair):
    one, other = pair
    watcher = one.processes[await one.spawn(Watcher)]
    pid = await other.spawn(Watched)
    await watcher.monitor(pid)
    await until(lambda: one.heartbeat.members.find(other.id))
    await other.kill()
    await until(lambda: watcher.heard)
    assert [(notice.pid, notice.reason) for notice in watcher.heard] == [(pid, "lost")]
    assert one.heartbeat.members.find(other.id) is None


async def test_a_container_that_stops_says_goodbye(pair, caplog):
    caplog.set_level(logging.INFO)
    one, other = pair
    watcher = one.processes[await one.spawn(Watcher)]
    await watcher.monitor(await other.spawn(Watched))
    await until(lambda: one.heartbeat.members.find(other.id))
    await other.stop()
    await until(lambda: one.heartbeat.members.find(other.id) is None)
    await until(lambda: watcher.heard)
    assert [notice.reason for notice in watcher.heard] == ["shutdown"]
    assert f"container {other.id} has gone" in caplog.text
    assert f"container {other.id} is lost" not in caplog.text


async def test_what_is_no_beat_does_no_harm(pair):
    one, other = pair
    bodies = [b"", b"\xc1", codec.encode("text")[0], codec.encode({"container": 1})[0]]
    bodies.append(codec.encode(Beat("x", 1, float("nan"), every=float("nan")))[0])
    for body in bodies:
        envelope = Envelope("beat", body)
        await other.transport.publish_confirmed("heartbeat.xs", "ctl.beat", envelope, timeout=5)
    await until(lambda: one.endpoint.counts["beats that are none"] == 4)
    await until(lambda: one.heartbeat.members.find(other.id))


async def test_a_flood_of_containers_is_not_a_flood_of_lines(pair, caplog):
    caplog.set_level(logging.INFO, "ion.container.membership.heartbeat")
    one, other = pair
    for number in range(300):
        envelope = Envelope("beat", codec.encode(Beat(f"fake_{number}", 1, 1.0))[0])
        other.transport.publish("heartbeat.xs", "ctl.beat", envelope, mandatory=False)
    await until(lambda: one.heartbeat.members.find("fake_299"))
    came = [r for r in caplog.records if "container fake_" in r.getMessage()]
    assert 0 < len(came) < 300  # 20 a second, of each of two
    assert "not all are named" in caplog.text


async def test_a_beat_of_another_with_its_own_name_is_not_heard(pair):
    one, other = pair
    await until(lambda: one.heartbeat.members.find(one.id))
    started = one.heartbeat.members.find(one.id).beat.started
    forged = codec.encode(Beat(one.id, 1, started + 9))[0]
    marker = codec.encode(Beat("marker", 1, 1.0))[0]
    for body in (forged, marker):
        await other.transport.publish_confirmed(
            "heartbeat.xs", "ctl.beat", Envelope("beat", body), timeout=5
        )
    await until(lambda: one.heartbeat.members.find("marker"))
    assert one.heartbeat.members.find(one.id).beat.started == started


async def test_a_killed_container_is_noticed_and_its_processes_are_lost(amqp_url, fleet, tmp_path):  # noqa: F811
    async with Container(amqp_url, sysname="heartbeat") as one:
        watcher = one.processes[await one.spawn(Watcher)]
        args = {"effects": str(tmp_path / "effects")}
        where = {"url": amqp_url, "sysname": "heartbeat"}
        member = await fleet.start("host", target="Plain", args=args, **where)
        other = await member.said("ready")
        await until(lambda: one.heartbeat.members.find(other))
        await watcher.monitor(f"{other}.1")
        loop = asyncio.get_running_loop()
        await member.kill()
        killed = loop.time()
        await until(lambda: watcher.heard)
        assert watcher.heard[0].reason == "lost"
        assert loop.time() - killed < 10  # 2.5 s of silence, on a machine with much else to do


async def test_a_container_that_is_cut_off_loses_nobody(amqp_url, rabbitmq_server):
    config = {**QUICK, "system.lost_after": 20.0}
    async with (
        Container(amqp_url, sysname="cut", config=config) as one,
        Container(amqp_url, sysname="cut", config=config) as other,
    ):
        watcher = one.processes[await one.spawn(Watcher)]
        await watcher.monitor(await other.spawn(Watched))
        await until(lambda: one.heartbeat.members.find(other.id))
        beats = one.heartbeat.members.find(other.id).beat.number
        await asyncio.to_thread(rabbitmq_server.suspend)
        await asyncio.sleep(1.0)  # beyond suspect_after
        assert one.heartbeat.members.find(other.id)
        await asyncio.to_thread(rabbitmq_server.resume)
        await until(lambda: one.heartbeat.members.find(other.id).beat.number > beats + 3)
        assert watcher.heard == []


async def test_a_beat_that_is_said_again_keeps_nobody_alive(pair):
    """Whoever reads the queues has what was sealed, and can say it once more, not newly."""
    one, other = pair
    publish, said = other.transport.publish, []

    def spy(exchange, key, envelope, **more):
        said.append((exchange, key, envelope))
        publish(exchange, key, envelope, **more)

    other.transport.publish = spy
    await until(lambda: len([each for each in said if each[1] == "ctl.beat"]) > 2)
    beats = [each for each in said if each[1] == "ctl.beat"]
    await other.kill()
    await until(lambda: one.heartbeat.members.find(other.id) is None)
    told = []
    one.heartbeat.hearers.append(told.append)
    for exchange, key, envelope in beats:
        one.transport.publish(exchange, key, envelope)
    counts = one.endpoint.counts
    await until(lambda: counts["beats that were said again"] == len(beats))
    assert one.heartbeat.members.find(other.id) is None
    assert told == []


@pytest.mark.parametrize(
    ("sent", "why"), [(1.0, "was sent"), (0.0, "does not say when")], ids=["late", "of old"]
)
async def test_who_has_known_nobody_before_believes_no_old_beat(pair, caplog, sent, why):
    one, other = pair
    await until(
        lambda: one.heartbeat.members.find(other.id) and other.heartbeat.members.find(one.id)
    )
    held = {"app": (7, "app.app")}
    late = Beat("ghost", 9, 1.0, apps=held, sent=sent)
    told = []
    one.heartbeat.hearers.append(told.append)
    for beat in (late, msgspec.structs.replace(late, container="friend", sent=time.time())):
        body = codec.encode(beat)[0]
        headers = other.endpoint.permission.seal("beat", beat.container, body)
        other.transport.publish("heartbeat.xs", "ctl.beat", Envelope("beat", body, headers=headers))
    await until(lambda: any(each.container == "friend" for each in told))
    assert all(each.container != "ghost" for each in told)
    assert f"a beat of container ghost {why}" in caplog.text
