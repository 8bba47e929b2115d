"""The agent: commands, sessions, direct access, memory, its driver, events and samples."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from ion import Container, Forbidden, Process, ReceivedError, StartError, acting
from ion.messaging.envelope import Envelope
from ion.messaging.transport import TransportState
from ion.process.events.types import AgentEvent
from ion.process.granules.granule import Granule
from ion.process.granules.subscriber import StreamSubscriber
from ion.services.instrument import driver as driver_module
from ion.services.instrument import states
from ion.services.instrument.agent import InstrumentAgent
from ion.services.instrument.batching import Batch
from ion.services.instrument.client import InstrumentClient
from ion.services.instrument.driver import Driver
from ion.services.instrument.events import AgentCommandDone, AgentErrorRaised
from ion.services.resource_registry.client import ResourceRegistryClient
from ion.services.simulator.client import SimulatorClient
from ion.services.simulator.device import SimulatedDevice
from ion.services.simulator.model import Spell
from tests.process.policy.policed import policed, token, write
from tests.services.instrument.conftest import FAST, STORE, Gps, device, spawned, until

Bus = tuple[str, dict[str, object]]


class Listener(Process):
    """Hears what an agent tells, and what it samples."""

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []
        self.granules: list[Granule] = []

    async def on_activate(self) -> None:
        await self.subscribe_events(AgentEvent, self.on_event)
        await StreamSubscriber.open(self, "gps1", self.on_granule)

    async def on_event(self, event: AgentEvent) -> None:
        self.events.append(event)

    async def on_granule(self, granule: Granule) -> None:
        self.granules.append(granule)


def wrong(error: pytest.ExceptionInfo[ReceivedError]) -> str:
    return error.value.type


# the whole way, on each bus


async def test_samples_go_from_the_device_to_who_subscribes(bus: Bus) -> None:
    url, config = bus
    async with Container(url, sysname="test", config={**config, **STORE}) as container:
        listener: Any = container.processes[await container.spawn(Listener)]
        await container.start_app("simulator", args={"rate": 20.0})
        settings = {"service": "simulator", "batch_seconds": 0.1}
        await container.start_app("gps", args={"device": settings})
        gps, simulator = InstrumentClient("gps1", container), SimulatorClient(container)

        async def streams() -> bool:
            return (await gps.status()).state == "STREAMING"

        await until(streams)
        assert await gps.set({"rate": 50}) == {"rate": 50.0}
        assert await gps.get() == {"rate": 50.0, "sentences": "GGA+RMC+VTG", "version": "ION-GPS-1"}
        await simulator.misbehave("close", 0.2)

        async def back() -> bool:
            status = await gps.status()
            return status.losses > 0 and status.state == "STREAMING" and status.samples > 10

        await until(back)
        assert not (await simulator.status()).faults
    names = [(type(e).__name__, e.origin, e.origin_type) for e in listener.events]
    assert ("AgentConnectionLost", "gps1", "Instrument") in names
    assert ("AgentConnected", "gps1", "Instrument") in names
    assert ("AgentConfigured", "gps1", "Instrument") in names
    assert "STREAMING" in [getattr(event, "state", "") for event in listener.events]


async def test_it_is_entered_into_the_registry(talker: SimulatedDevice) -> None:
    async with Container("memory://", sysname="test", config=STORE) as container:
        await container.start_app("resource_registry")
        registry = ResourceRegistryClient(container)
        for stream in ("one", "two"):
            gps = await spawned(container, talker, stream=stream)

            async def entered(stream: str = stream) -> bool:
                found = (await registry.find("Instrument")).items
                return [(r.id, r.attributes["stream"]) for r in found] == [("gps1", stream)]

            await until(entered)
            await container.terminate_process(gps.process("InstrumentAgent").id)


async def test_a_granule_is_a_batch_of_samples_in_order(gps: Gps) -> None:
    listener: Any = gps.container.processes[await gps.container.spawn(Listener)]

    async def heard() -> bool:
        return len(listener.granules) > 3

    await until(heard)
    times = [time for granule in listener.granules for time in granule["time"].tolist()]
    assert times == sorted(set(times))
    assert {name: str(a.dtype) for name, a in listener.granules[0].fields.items()}[
        "lat"
    ] == "<f8" or listener.granules[0]["lat"].dtype == "float64"
    numbers = [granule.number for granule in listener.granules]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    last = await gps.client.last()
    assert last is not None
    assert 44.6 < last["lat"] < 44.7


# commands, and who may give them


async def test_commands_lead_from_state_to_state(gps: Gps) -> None:
    client = gps.client
    assert await client.command("stop_streaming") == "COMMAND"
    samples = (await gps.status()).samples
    assert await client.command("pause") == "STOPPED"
    with pytest.raises(ReceivedError, match="not done in STOPPED") as raised:
        await client.set({"rate": 5})
    assert wrong(raised) == "WrongState"
    with pytest.raises(ReceivedError, match="'run' is not allowed in STOPPED"):
        await client.command("run")
    with pytest.raises(ReceivedError, match="'fly' is no command"):
        await client.command("fly")
    assert [c.name for c in await client.capabilities() if c.kind == "agent_command"] == [
        "resume",
        "clear",
        "go_inactive",
        "reset",
    ]
    assert await client.go("UNINITIALIZED") == "UNINITIALIZED"
    assert not any(type(p).__name__ == "NmeaDriver" for p in gps.container.processes.values())
    assert (await gps.status()).samples == samples
    assert await client.go("STREAMING") == "STREAMING"
    await gps.more()
    with pytest.raises(ReceivedError, match="no command leads"):
        await client.go("NOWHERE")
    assert await client.execute("fix") is not None
    with pytest.raises(ReceivedError, match="no such thing") as raised:
        await client.execute("dance")
    assert wrong(raised) == "Wrong"


async def test_one_has_the_session_and_the_others_wait_their_turn(gps: Gps) -> None:
    ada, bob, eve = (InstrumentClient("gps1", gps.container) for _ in range(3))
    async with ada.alone("ada", lease=60):
        with pytest.raises(ReceivedError, match="ada has the session") as raised:
            await bob.command("stop_streaming")
        assert wrong(raised) == "SessionHeld"
        assert await bob.get(["version"])  # who only looks needs none
        waiting = asyncio.ensure_future(bob.acquire("bob", lease=1.0, wait=30))

        async def waits() -> bool:
            return (await gps.status()).waiting == 1

        await until(waits)
        with pytest.raises(ReceivedError, match="all the while"):
            await eve.acquire("eve", wait=0.1)
        assert await ada.command("stop_streaming") == "COMMAND"
        late = ada.session
    await waiting
    assert (await gps.status()).session == "bob"
    ada.session = late
    with pytest.raises(ReceivedError, match="is over") as raised:
        await ada.command("start_streaming")
    assert wrong(raised) == "NoSession"
    await eve.acquire("eve", wait=30)  # bob's lease runs out: he has forgotten it
    with pytest.raises(ReceivedError) as raised:
        await bob.renew()
    assert wrong(raised) == "NoSession"
    assert (await gps.status()).session == "eve"


async def test_many_who_wait_keep_nobody_from_being_heard(gps: Gps) -> None:
    await gps.client.acquire("ada", lease=60)
    others = [InstrumentClient("gps1", gps.container) for _ in range(100)]
    waiting = [asyncio.create_task(o.acquire("bob", lease=60, wait=50)) for o in others]

    async def all_wait() -> bool:
        return bool((await gps.status()).waiting == len(others))

    await until(all_wait)
    await gps.more()
    await gps.client.release()
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()


async def test_direct_access_is_for_who_has_the_session_and_ends_with_it(gps: Gps) -> None:
    client = gps.client
    await client.command("stop_streaming")
    with pytest.raises(ReceivedError) as raised:
        await client.command("go_direct_access")
    assert wrong(raised) == "NoSession"
    async with client.alone("ada"):
        with pytest.raises(ReceivedError, match="not done in COMMAND"):
            await client.direct(b"x")
        await client.command("go_direct_access")
        raw = await client.direct(b"$PION,VERSION*20\r\n", wait=0.2)
        assert b"$GPGGA," in raw
        assert b"$PION," in raw
        with pytest.raises(ReceivedError, match="not done in DIRECT_ACCESS"):
            await client.set({"rate": 5})
    assert (await gps.status()).state == "COMMAND"


@pytest.mark.parametrize(("name", "state"), [("go_direct_access", None), ("go_inactive", 1)])
async def test_a_session_that_ends_in_mid_command_leaves_no_direct_access(
    gps: Gps, name: str, state: int | None
) -> None:
    """Nor an agent that believes in a device that it has just let go."""
    await gps.client.command("stop_streaming")
    await gps.client.acquire("ada")
    if state:
        await gps.client.command("go_direct_access")
    driver, go_on = gps.process("InstrumentAgent")._driver, asyncio.Event()
    ask, asked = driver.ask, asyncio.Event()

    async def slow(op: str, *words: Any, **others: Any) -> Any:
        answer = await ask(op, *words, **others)
        if op in ("direct", "disconnect"):
            asked.set()
            await go_on.wait()
        return answer

    driver.ask = slow
    doing = asyncio.ensure_future(gps.client.command(name))
    await asked.wait()
    await gps.client.release()
    go_on.set()
    if state:
        assert await doing == "INACTIVE"
    else:
        with pytest.raises(ReceivedError) as raised:
            await doing
        assert wrong(raised) == "NoSession"
    assert (await gps.status()).state == ("INACTIVE" if state else "COMMAND")
    assert await gps.client.go("IDLE") == "IDLE"


# what happens to it


async def test_a_driver_that_crashes_is_started_again(gps: Gps) -> None:
    listener: Any = gps.container.processes[await gps.container.spawn(Listener)]
    await gps.client.set({"rate": 40})
    driver = gps.process("NmeaDriver")
    driver.fail("it divides by zero")

    async def another() -> bool:
        status = await gps.status()
        return status.losses == 1 and status.state == "STREAMING"

    await until(another)
    await gps.more()
    assert gps.process("NmeaDriver").id != driver.id
    assert await gps.client.get(["rate"]) == {"rate": 40.0}
    lost = [e for e in listener.events if type(e).__name__ == "AgentConnectionLost"]
    assert "the driver has ended" in lost[0].reason


async def test_a_driver_that_crashes_hands_over_what_it_has_sampled(
    talker: SimulatedDevice,
) -> None:
    async with Container("memory://", sysname="test", config=STORE) as container:
        gps = await spawned(container, talker, device=device(talker, batch_seconds=600))
        driver = gps.process("NmeaDriver")
        await until(_has(driver, 3))
        driver.fail("it divides by zero")

        async def published() -> bool:
            return (await gps.status()).samples >= 3

        await until(published)


def _has(driver: Any, count: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return len(driver.batches._samples) >= count

    return check


async def test_what_was_sampled_is_published_when_it_ends(talker: SimulatedDevice) -> None:
    async with Container("memory://", sysname="test", config=STORE) as container:
        listener: Any = container.processes[await container.spawn(Listener)]
        gps = await spawned(container, talker, device=device(talker, batch_seconds=600))
        driver = gps.process("NmeaDriver")

        async def sampled() -> int:
            return len(driver.batches._samples)

        await until(sampled)
        assert listener.granules == []
        await container.terminate_process(gps.process("InstrumentAgent").id)

        async def heard() -> bool:
            return bool(listener.granules)

        await until(heard)


async def test_it_comes_back_to_where_it_was_with_what_was_set(
    talker: SimulatedDevice, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="ion.services.instrument")
    config = {"store.url": f"sqlite:///{tmp_path}/store.db"}
    for restart in range(2):
        async with Container("memory://", sysname="test", config=config) as container:
            gps = await spawned(container, talker, restore=True)
            await gps.at("COMMAND" if restart else "STREAMING")
            assert ("goes to COMMAND, as it was left" in caplog.text) == bool(restart)
            if not restart:
                await gps.client.set({"rate": 25})
                await gps.client.go("COMMAND")
                talker._reset()
    assert talker.status().settings["rate"] == 25.0


async def test_a_device_that_is_away_at_first_is_waited_for(talker: SimulatedDevice) -> None:
    await talker._deafen()
    async with Container("memory://", sysname="test", config=STORE) as container:
        gps = await spawned(container, talker)
        status = await gps.at("LOST_CONNECTION")
        assert "nothing to connect to" in status.reason
        with pytest.raises(ReceivedError, match="not done in LOST_CONNECTION"):
            await gps.client.get()
        await talker._listen()
        await gps.at("STREAMING")
        await gps.client.go("INACTIVE")
        assert await gps.client.go("COMMAND") == "COMMAND"
        await gps.client.go("INACTIVE")
        await talker._deafen()
        with pytest.raises(ReceivedError, match="nothing to connect to") as raised:
            await gps.client.command("go_active")
        assert wrong(raised) == "DeviceError"
        assert (await gps.status()).state == "INACTIVE"


async def test_it_never_tries_without_a_pause(gps: Gps) -> None:
    for values in ({"reconnect_first": 1e-9}, {"reconnect_cap": 3601}, {"patience": 1}):
        with pytest.raises(ReceivedError) as raised:
            await gps.container.rpc_send("gps1", "set_agent", {"values": values})
        assert wrong(raised) == "Wrong"
    assert await gps.container.rpc_send("gps1", "get_agent", {}) == FAST


async def test_it_can_be_told_to_give_up_on_a_lost_device(gps: Gps) -> None:
    await gps.talker._deafen()
    await gps.at("LOST_CONNECTION")
    assert await gps.client.command("go_inactive") == "INACTIVE"
    await gps.talker._listen()
    assert (await gps.status()).state == "INACTIVE"
    assert await gps.client.go("STREAMING") == "STREAMING"


async def test_a_command_that_fails_while_the_device_is_away_keeps_it_not_from_coming_back(
    gps: Gps,
) -> None:
    await gps.talker._deafen()
    await gps.at("LOST_CONNECTION")
    with pytest.raises(ReceivedError, match="nothing to connect to"):
        await gps.client.go("COMMAND")
    status = await gps.status()
    assert (status.state, status.desired) == ("LOST_CONNECTION", "COMMAND")
    await gps.talker._listen()
    await gps.at("COMMAND")


async def test_who_commands_before_it_has_come_to_its_state_is_not_undone(
    talker: SimulatedDevice,
) -> None:
    async with Container("memory://", sysname="test", config=STORE) as container:
        args = {"resource": "gps1", "device": device(talker), "start": "COMMAND"}
        agent: Any = container.processes[await container.spawn(InstrumentAgent, args=args)]
        async with agent._busy:  # as by a command

            async def waits() -> Any:
                return agent._is_at_post and agent._busy._waiters

            await until(waits)
            agent._desire("INACTIVE")

        async def done() -> bool:
            return not agent._busy.locked() and not agent._busy._waiters

        await until(done)
        assert (agent._at, agent._desired) == ("INACTIVE", "INACTIVE")


async def test_an_agent_whose_driver_nobody_keeps_running_fails(gps: Gps) -> None:
    await gps.container.terminate_process(gps.process("Supervisor").id)

    async def gone() -> bool:
        processes = gps.container.processes.values()
        return not any(isinstance(each, InstrumentAgent) for each in processes)

    await until(gone)


async def test_a_second_one_stands_by_until_it_is_needed(
    bus: Bus, talker: SimulatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "POST_WANTED", 0.1)
    url, config = bus
    config = {**config, **STORE}
    async with Container(url, sysname="test", config=config) as second:
        async with Container(url, sysname="test", config=config) as first:
            gps = await spawned(first, talker)
            await gps.at("STREAMING")
            args = {"resource": "gps1", "device": device(talker)}
            pid = await second.spawn(InstrumentAgent, args=args)
            await asyncio.sleep(0.3)  # it could connect, if it would
            assert (await InstrumentClient(pid, second).status()).state == "INACTIVE"
            assert talker.accepted == 1
        await Gps(second, talker, InstrumentClient("gps1", second)).at("STREAMING")


async def test_one_that_was_replaced_lets_the_device_go(
    gps: Gps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "POST_WANTED", 0.02)
    agent, said = gps.process("InstrumentAgent"), "other.1"

    async def who() -> str:
        return said

    agent._who = who
    await gps.at("INACTIVE")
    await until(_nobody_listens(gps))
    said = agent.id
    await gps.at("STREAMING")
    await gps.more()


async def test_one_that_was_cut_off_looks_at_once_whether_it_is_still_the_agent(
    gps: Gps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For five seconds two had sampled the device after each loss of the broker."""
    agent, said = gps.process("InstrumentAgent"), [0]

    async def who() -> str:
        said[0] += 1
        return str(agent.id)

    monkeypatch.setattr(states, "POST_HELD", 3600)
    monkeypatch.setattr(states, "POST_LATE", 3600)  # a machine that stands still is another case
    agent._who = who
    await until(_asked(said, 1))  # the pause before was a short one
    transport = gps.container.transport
    transport.state = TransportState.LOST
    await asyncio.sleep(2 * states.POST_STEP)  # it could ask, if it would
    assert said == [1]
    transport.state = TransportState.CONNECTED
    await until(_asked(said, 2))


def _asked(said: list[int], times: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return said[0] >= times

    return check


async def test_who_may_command_the_agent_needs_no_right_to_its_driver(
    talker: SimulatedDevice, tmp_path: Path
) -> None:
    """And the samples that he has asked for do not end with his token."""
    rules = write(tmp_path / "policy.yml", "{id: operate, allow: 'gps1.*', to: [OPERATOR]}")
    bus = ("memory://", {**STORE, "identity.leeway": 0.0})
    async with policed(bus, rules) as container:
        gps = await spawned(container, talker, start="INACTIVE")
        ada = token(container, "ada", ["OPERATOR"], life=1.0)
        with acting(ada):
            assert await gps.client.go("STREAMING") == "STREAMING"
            assert await gps.client.set({"rate": 50.0}) == {"rate": 50.0}
        over = container.endpoint.auth.identify(ada).expires
        while time.time() < over:
            await gps.more(1)
        await gps.more()
        driver = gps.process("NmeaDriver")
        with pytest.raises(Forbidden), acting(token(container, "ada", ["OPERATOR"])):
            await container.rpc_send(driver.id, "set", {"values": {"rate": 1.0}})


def _nobody_listens(gps: Gps) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return not gps.talker._writers

    return check


class Fleeting(Driver):
    """A device that is gone at once when it is first connected; the agent hears it late."""

    fields: ClassVar = {"time": "s"}
    connects: ClassVar = 0
    untold: ClassVar = 0

    async def connect(self) -> None:
        Fleeting.connects += 1
        if Fleeting.connects < 3:
            await self.lose("gone at once")

    async def disconnect(self) -> None:
        pass

    async def _tell(self, op: str, content: dict[str, Any]) -> bool:
        if op == "lost" and Fleeting.untold < 2:
            Fleeting.untold += 1
            return False
        return await super()._tell(op, content)


async def test_a_loss_is_heard_of_whenever_it_comes(
    talker: SimulatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fleeting, "connects", 0)
    monkeypatch.setattr(Fleeting, "untold", 0)
    monkeypatch.setattr(driver_module, "AGAIN", 0.01)
    async with Container("memory://", sysname="test", config=STORE) as container:
        gps = await spawned(container, talker, driver=f"{__name__}:Fleeting", device={})
        await gps.at("STREAMING")
        assert (Fleeting.connects, Fleeting.untold) == (3, 2)


async def test_a_device_that_refuses_what_was_set_is_used_all_the_same(gps: Gps) -> None:
    with pytest.raises(ReceivedError, match="wrong type"):
        await gps.client.set({"rate": 30, "sentences": 5})
    assert gps.talker.status().settings["rate"] == 30.0  # the first was set, and is remembered
    gps.process("InstrumentAgent")._saved.kept.parameters["sentences"] = "NONE"
    gps.talker._reset()
    gps.talker.plan([Spell("close", 0, 0.05)])

    async def back() -> bool:
        status = await gps.status()
        return bool(status.losses and status.state == "STREAMING")

    await until(back)
    assert gps.talker.status().settings["rate"] == 30.0


# what others say to it


async def test_a_batch_that_comes_twice_counts_once(gps: Gps) -> None:
    driver = gps.process("NmeaDriver")
    driver.is_streaming = False  # it says what the test says
    await asyncio.sleep(0)
    status = await gps.status()
    columns = dict.fromkeys(driver.fields, b"\x00" * 8)
    batch = Batch(driver.batches._number + 100, 1, columns)
    for _ in range(2):
        assert await driver._tell("samples", {"batch": batch})
    assert (await gps.status()).samples == status.samples + 1
    short = Batch(batch.number + 1, 2, columns)
    assert not await driver._tell("samples", {"batch": short})
    agent = gps.process("InstrumentAgent")
    same, publish = msgspec.structs.replace(batch, number=batch.number + 2), agent._stream.publish

    async def slow(*words: Any) -> None:
        await asyncio.sleep(0)  # the broker has no room just now
        await publish(*words)

    agent._stream.publish = slow
    await asyncio.gather(agent._take(same), agent._take(same))
    assert (await gps.status()).samples == status.samples + 2


async def test_what_one_driver_has_sent_last_hides_nothing_of_the_next(gps: Gps) -> None:
    """And counts once, also where it has ended meanwhile."""
    agent, driver = gps.process("InstrumentAgent"), gps.process("NmeaDriver")
    publish, room = agent._stream.publish, asyncio.Event()
    columns = dict.fromkeys(driver.fields, b"\x00" * 8)
    numbers: list[int] = []

    async def late(batch: Batch, *words: Any) -> None:
        await room.wait()
        numbers.append(batch.number)
        await publish(batch, *words)

    agent._stream.publish = late
    last = Batch(10**6, 1, columns)
    taking = [asyncio.ensure_future(agent._take(last)) for _ in range(2)]  # it did not hear so
    await asyncio.sleep(0)
    driver.fail("it divides by zero")

    async def another() -> bool:
        pid = agent._driver.pid
        return bool(pid) and pid != driver.id

    await until(another)
    room.set()
    await asyncio.gather(*taking)
    await gps.at("STREAMING")
    await gps.more()
    assert numbers.count(last.number) == 1


async def test_strangers_are_no_drivers_and_command_none(gps: Gps) -> None:
    """Nor does who has read all that agent and driver have said, and says it once more."""
    stranger: Any = gps.container.processes[await gps.container.spawn(Process)]
    driver, endpoint = gps.process("NmeaDriver"), gps.container.endpoint
    sent: list[tuple[str, Envelope]] = []
    publish = endpoint.transport.publish

    def spy(exchange: str, key: str, envelope: Envelope, **more: Any) -> None:
        sent.append((key, envelope))
        publish(exchange, key, envelope, **more)

    endpoint.transport.publish = spy
    await gps.client.set({"rate": 5})
    secret = driver._channel._secret
    assert not [e for _, e in sent if secret in e.body or secret in repr(e.headers).encode()]
    said = next((key, e) for key, e in sent if e.op == "set" and key == driver.id)
    bond = said[1].headers["bond"]
    for to, op, content in (
        ("gps1", "driver_up", {}),
        ("gps1", "lost", {"reason": "x"}),
        ("gps1", "samples", {"batch": Batch(10_000, 0, {})}),
        (driver.id, "disconnect", {}),
        (driver.id, "execute", {"command": "reset", "args": {}}),
        (driver.id, "set", {"values": {"rate": 5}}),
    ):
        with pytest.raises(ReceivedError) as raised:
            await stranger.rpc_send(to, op, content)
        assert raised.value.code == 403, (to, op)
        liar = driver.id if to == "gps1" else driver.agent
        for stolen in (bond, "x", None):  # nor one that says it is another
            more = {"bond": stolen}
            with pytest.raises(ReceivedError) as raised:
                await endpoint.rpc(liar, to, op, content, 5, extra=more)
            assert raised.value.code == 403, (to, op)
    assert (await gps.status()).state == "STREAMING"


async def test_commands_and_failures_are_told(gps: Gps) -> None:
    listener: Any = gps.container.processes[await gps.container.spawn(Listener)]
    async with gps.client.alone("ada"):
        await gps.client.set({"rate": 20})
        with pytest.raises(ReceivedError):
            await gps.client.set({"rate": 1e9})
        with pytest.raises(ReceivedError, match="wrong type"):
            await gps.client.set({"rate": "fast"})
        with pytest.raises(ReceivedError, match="no such thing"):
            await gps.client.execute("x\0" * 10_000)

    async def told() -> bool:
        return len([e for e in listener.events if isinstance(e, AgentErrorRaised)]) == 3

    await until(told)
    (done,) = [e for e in listener.events if isinstance(e, AgentCommandDone)]
    assert (done.sub_type, done.owner, done.args) == ("set", "ada", {"rate": 20})
    errors = [e for e in listener.events if isinstance(e, AgentErrorRaised)]
    assert [(e.error, e.sub_type) for e in errors] == [
        ("DeviceError", "set"),
        ("Wrong", "set"),
        ("Wrong", ""),
    ]
    assert max(len(e.reason) for e in errors) == 1000
    # and who asks for one thing ten thousand times does not cost the others the device
    assert await gps.client.get(["rate"] * 10_000) == {"rate": 20.0}
    assert (await gps.status()).losses == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"driver": "ion.services.nowhere:Driver"}, "nowhere"),
        ({"device": {"colour": "red"}}, "unknown setting 'colour'"),
        ({"start": "FLYING"}, "FLYING"),
        ({"resource": "a.b"}, "is not a name"),
    ],
)
async def test_an_agent_that_cannot_be_does_not_start(
    args: dict[str, Any], said: str, talker: SimulatedDevice
) -> None:
    async with Container("memory://", sysname="test", config=STORE) as container:
        with pytest.raises(StartError, match=said):
            await spawned(container, talker, **args)


async def test_what_is_to_be_installed_is_said(
    talker: SimulatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.startswith("ion.services.instrument.nmea")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pynmeagps", None)
    async with Container("memory://", sysname="test", config=STORE) as container:
        with pytest.raises(StartError, match=r"pip install 'ioncore\[instruments\]'"):
            await spawned(container, talker)
