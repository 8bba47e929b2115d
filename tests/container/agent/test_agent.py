"""The agent: what it tells, and what it does for who may command it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

import msgspec
import pytest

import ion
from ion import (
    Container,
    Forbidden,
    IonError,
    LifecycleError,
    Operator,
    Process,
    Service,
    ServiceNotFound,
    StartError,
    Supervisor,
)
from ion.container.agent import reports
from ion.container.agent.describing import LISTED, process_of
from ion.container.agent.reports import Info, Pong, ProcessInfo, Stats
from ion.messaging import codec
from ion.messaging.envelope import MSGPACK, Envelope
from ion.process.command.signing import HEADER
from ion.process.discovery import gather_info, survey
from ion.services.hello.service import HelloService

Bus = tuple[str, dict[str, object]]
on_rabbitmq = pytest.mark.parametrize("bus", ["amqp", "amqp-plain"], indirect=True)


class Worker(Service, name="agent-worker", version="1.2.0"):
    async def op_work(self) -> str:
        return "done"

    async def op_break(self) -> None:
        raise RuntimeError("broken")


class Slow(Process):
    """Takes its time to start, and to end."""

    begun: asyncio.Event
    go: asyncio.Event
    ended = 0

    async def on_activate(self) -> None:
        Slow.begun.set()
        await Slow.go.wait()

    async def on_terminate(self) -> None:
        Slow.ended += 1


@pytest.fixture(autouse=True)
def fresh() -> None:
    Slow.begun, Slow.go, Slow.ended = asyncio.Event(), asyncio.Event(), 0


# what it tells


async def test_info_is_what_its_schema_says(container: Container, other: Container) -> None:
    await container.start_app("hello")
    pid = await container.spawn(Worker)
    answer = await Operator(other).info(container.id)
    info = msgspec.convert(answer, Info, strict=True)
    assert set(answer) == {field.encode_name for field in msgspec.structs.fields(Info)}
    assert (info.container, info.sysname, info.pid) == (container.id, "test", os.getpid())
    assert abs(info.now - time.time()) < 30
    assert info.started <= info.since <= info.now
    assert [app.name for app in info.apps] == ["hello"]
    assert info.processes[0].pid == f"{container.id}.0"
    worker = next(each for each in info.services if each.name == "agent-worker")
    assert (worker.version, worker.instances, worker.pids) == ("1.2.0", 1, [pid])
    assert {"queue": "test.agent-worker", "key": "agent-worker", "kind": "service"} in answer[
        "names"
    ]
    assert (info.key is None) == container.transport.is_private
    assert (await Operator(container).info(other.id))["key"] == info.key


async def test_nothing_that_describes_itself_tells_more_than_the_schema() -> None:
    async with Container("memory://") as container:
        await container.start_app("hello")
        await container.spawn(Worker)
        await container.spawn(Supervisor)
        fields = {field.encode_name for field in msgspec.structs.fields(ProcessInfo)}
        assert [set(p.describe()) - fields for p in container.processes.values()] == [set()] * 5
        fields = {field.encode_name for field in msgspec.structs.fields(reports.AppInfo)}
        assert set(container.apps["hello"].describe()) == fields
        answer = await container.rpc_send(f"{container.id}.0", "info_of", container.id)
        assert answer is None
        answer = await container.rpc_send(f"{container.id}.0", "info_of", f"{container.id}.0")
        assert answer["name"] == "agent"


async def test_two_stats_give_rates(container: Container, other: Container) -> None:
    pid = await container.spawn(Worker)
    operator = Operator(other)
    before = msgspec.convert(await operator.stats(container.id), Stats, strict=True)
    for _ in range(20):
        await other.rpc_send(pid, "work")
    for _ in range(3):
        with pytest.raises(IonError):
            await other.rpc_send(pid, "break")
    after = msgspec.convert(await operator.stats(container.id), Stats, strict=True)
    worker = next(each for each in after.processes if each.pid == pid)
    assert (worker.handled, worker.failed, worker.active, worker.waiting) == (23, 3, 0, 0)
    [service] = after.services
    assert (service.name, service.version, service.handled) == ("agent-worker", "1.2.0", 23)
    assert (service.failed, service.in_flight, service.instances) == (3, 0, 1)
    assert after.messages_in - before.messages_in >= 23
    assert after.messages_out - before.messages_out >= 23
    assert after.uptime > before.uptime > 0
    assert after.cpu >= before.cpu > 0
    assert after.rss > 1_000_000
    assert after.threads >= 1
    assert after.calls_at_hand >= 1  # this one
    await container.terminate_process(pid)
    last = msgspec.convert(await operator.stats(container.id), Stats, strict=True)
    assert last.messages_in >= after.messages_in  # what has ended has been, all the same


async def test_the_schemas_are_told(container: Container) -> None:
    schemas = await Operator(container).schemas(container.id)
    assert set(schemas) == {"ping", "info", "stats", "health"}
    for op, schema in schemas.items():
        definition = schema["$defs"][schema["$ref"].rpartition("/")[2]]
        answer = await container.rpc_send(f"{container.id}.0", op)
        assert set(answer) <= set(definition["properties"]), op


async def test_a_ping_of_all_tells_who_answers(container: Container, other: Container) -> None:
    await container.spawn(Worker)
    pongs = await survey(other.endpoint, "ctl.agent-worker", "ping")
    [pong] = [msgspec.convert(each, Pong, strict=True) for each in pongs]
    assert pong.version == "1.2.0"
    assert pong.keys == ["agent-worker", "agent-worker.v1"]
    assert pong.taking


async def test_answers_of_other_releases_are_read(container: Container) -> None:
    newer = {"container": "new_1_ab", "moons": 3, "services": [{"name": "x", "colour": "red"}]}
    info = msgspec.convert(newer, Info)
    assert (info.container, info.services[0].name, info.apps) == ("new_1_ab", "x", [])
    assert msgspec.convert({}, Stats) == Stats()


# commands


async def test_ops_that_change_something_are_marked(container: Container) -> None:
    ops = container.processes[f"{container.id}.0"].ops
    commands = {name for name, op in ops.items() if op.describe().get("command")}
    assert commands >= {
        "spawn", "terminate", "start_app", "stop_app", "restart_app", "start_rel", "drain",
    }  # fmt: skip
    assert not commands & {"ping", "info", "info_of", "stats", "health", "schemas", "log"}


@on_rabbitmq
async def test_a_command_that_is_recorded_cannot_be_played_again(
    bus: Bus, container: Container, other: Container
) -> None:
    seen: list[Envelope] = []
    endpoint = other.endpoint
    endpoint.outbound = (lambda envelope: seen.append(envelope) or envelope,)  # type: ignore[func-returns-value]
    agent = f"{container.id}.0"
    pid = await Operator(other).spawn(container.id, "ion.services.hello.service:HelloService")
    endpoint.outbound = ()
    [sent] = [each for each in seen if HEADER in each.headers]
    content = codec.decode(sent.body, MSGPACK)
    auth = {HEADER: sent.headers[HEADER]}
    with pytest.raises(Forbidden, match="given before"):
        await endpoint.rpc("x.1", agent, "spawn", content, 10, MSGPACK, auth)
    with pytest.raises(Forbidden, match="changed on its way"):
        await endpoint.rpc("x.1", agent, "spawn", {**content, "name": "x"}, 10, MSGPACK, auth)
    with pytest.raises(Forbidden, match="changed on its way"):
        await endpoint.rpc("x.1", f"{other.id}.0", "spawn", content, 10, MSGPACK, auth)
    with pytest.raises(Forbidden, match="changed on its way"):
        await endpoint.rpc("x.1", agent, "terminate", {"pid": pid}, 10, MSGPACK, auth)
    with pytest.raises(Forbidden, match="no signature of a kind"):
        await endpoint.rpc("x.1", agent, "spawn", content, 10, MSGPACK, {HEADER: "v9 x"})
    assert len(container.processes) == 2


@on_rabbitmq
async def test_a_command_to_all_agents_is_signed_for_all(
    container: Container, other: Container, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint, body = other.endpoint, codec.encode({"level": "DEBUG", "logger": "ion.test.all"})[0]
    assert endpoint.permission is not None
    agent = f"{container.id}.0"
    content = msgspec.Raw(body)
    headers = endpoint.permission.sign("ctl.agent", "log_level", body)
    try:
        told = await survey(endpoint, "ctl.agent", "log_level", content, extra=headers)
        assert told == ["DEBUG", "DEBUG"]
        with pytest.raises(Forbidden, match="given before"):
            await survey(endpoint, "ctl.agent", "log_level", content, extra=headers)
        with pytest.raises(Forbidden, match="another receiver"):
            await endpoint.rpc("x.1", agent, "log_level", content, 9, MSGPACK, headers)
        headers = endpoint.permission.sign(agent, "log_level", body)
        with pytest.raises(Forbidden, match="another receiver"):
            await survey(endpoint, "ctl.agent", "log_level", content, extra=headers)
    finally:
        logging.getLogger("ion.test.all").setLevel(logging.NOTSET)
    assert container.endpoint.counts["forbidden"] >= 2
    assert "refused command 'log_level' of" in caplog.text


def mirror(_: Any) -> Any:
    """Make an interceptor that turns bodies round."""
    return lambda envelope: envelope.replace(body=envelope.body[::-1])


async def test_interceptors_may_change_what_is_signed(bus: Bus) -> None:
    url, config = bus
    both = {"in": [f"{__name__}:mirror"], "out": [f"{__name__}:mirror"]}
    config = {**config, "messaging.interceptors": both}
    async with (
        Container(url, sysname="test", config=config) as container,
        ion.connect(url, sysname="test", config=config) as connection,
    ):
        pid = await Operator(connection).spawn(container.id, f"{__name__}:Worker")
        assert await connection.rpc_send(pid, "work") == "done"


@on_rabbitmq
async def test_a_command_from_a_clock_that_is_wrong(
    container: Container, other: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    permission = other.endpoint.permission
    assert permission is not None
    sign = permission.sign
    for apart, words in ((-3_600_000, "3600.. s before"), (3_600_000, "3600.. s after|3599.. s")):
        now = int(time.time() * 1000) + apart
        with monkeypatch.context() as patch:
            patch.setattr("ion.process.command.permission._now", lambda at=now: at)
            headers = sign(f"{container.id}.0", "stop_app", b"\x81\xa4name\xa1x")
        with pytest.raises(Forbidden, match=words):
            await other.endpoint.rpc(
                "x.1", f"{container.id}.0", "stop_app", {"name": "x"}, 10, MSGPACK, headers
            )


async def test_what_was_signed_before_the_container_was_there_is_not_heeded(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"container.name": "again"}
    async with Container(amqp_url, config=config) as container:
        permission = container.endpoint.permission
        assert permission is not None
        headers = permission.sign("again.0", "stop_app", b"\x81\xa4name\xa1x")
    async with Container(amqp_url, config=config) as container:
        with pytest.raises(Forbidden, match="before this container was started"):
            await container.endpoint.rpc(
                "x.1", "again.0", "stop_app", {"name": "x"}, 10, MSGPACK, headers
            )


async def test_looking_needs_no_key(bus: Bus, container: Container) -> None:
    url, config = bus
    config = {**config, "agent.key_file": "/proc/none/key"}
    async with ion.connect(url, sysname="test", config=config) as connection:
        operator = Operator(connection)
        assert (await operator.info(container.id))["container"] == container.id
        assert (await operator.stats(container.id))["container"] == container.id
        level = await operator.log_level(container.id)
        assert level == logging.getLevelName(logging.getLogger().getEffectiveLevel())
        if not container.transport.is_private:
            with pytest.raises(Forbidden, match="/proc/none/key"):
                await operator.log_level(container.id, "DEBUG")
            with pytest.raises(Forbidden, match="not signed"):
                await connection.rpc_send(f"{container.id}.0", "log_level", {"level": "DEBUG"})


async def test_the_level_of_a_logger(container: Container, other: Container) -> None:
    operator = Operator(other)
    try:
        assert await operator.log_level(container.id, "debug", "ion.test.level") == "DEBUG"
        assert await operator.log_level(container.id, logger="ion.test.level") == "DEBUG"
        with pytest.raises(IonError, match="no such log level"):
            await operator.log_level(container.id, "loud", "ion.test.level")
    finally:
        logging.getLogger("ion.test.level").setLevel(logging.NOTSET)


async def test_who_gives_up_undoes_a_start(container: Container, other: Container) -> None:
    starting = asyncio.create_task(Operator(other).spawn(container.id, f"{__name__}:Slow"))
    await Slow.begun.wait()
    starting.cancel()
    async with asyncio.timeout(20):
        while Slow.ended == 0:
            await asyncio.sleep(0.01)
    assert [each.name for each in container.processes.values()] == ["agent"]


async def test_who_gives_up_does_not_leave_an_app_half_restarted(
    container: Container, other: Container
) -> None:
    await container.start_app("hello")
    before = container.apps["hello"]
    restart = asyncio.create_task(Operator(other).restart_app(container.id, "hello"))
    async with asyncio.timeout(20):
        while before.state == "ACTIVE" and before._stopping is None:
            await asyncio.sleep(0)
    restart.cancel()
    async with asyncio.timeout(20):
        while container.apps.get("hello") is before or container.apps["hello"].state != "ACTIVE":
            await asyncio.sleep(0.01)
    assert container.apps["hello"].pids


async def test_what_fails_is_no_failure_of_the_agent(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    operator = Operator(container)
    with caplog.at_level(logging.ERROR, "ion.process"):
        with pytest.raises(StartError):
            await operator.spawn(container.id, "no.such:Thing")
        with pytest.raises(IonError):
            await operator.stop_app(container.id, "nothing")
    assert caplog.text == ""


async def test_a_container_that_is_not_there(container: Container) -> None:
    with pytest.raises(ServiceNotFound):
        await Operator(container).spawn("nobody_1_ab", "x:Y")
    assert [info["container"] for info in await gather_info(container.endpoint)] == [container.id]


async def test_thousands_of_processes_are_told_of_in_several_answers(
    container: Container, other: Container
) -> None:
    count = 2 * LISTED + 10
    for _ in range(count):
        await container.spawn(Process)
    infos = {info["container"]: info for info in await gather_info(other.endpoint, 5.0)}
    info = infos[container.id]
    pids = [process["pid"] for process in info["processes"]]
    assert (info["total"], pids) == (count + 1, list(container.processes))
    stats = await Operator(other).stats(container.id)
    assert len(stats["processes"]) == LISTED


async def test_to_tell_of_a_process_takes_no_look_at_annotations(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took a millisecond for each process, in which the event loop did nothing else."""
    pid = await container.spawn(Process)
    monkeypatch.delattr(msgspec.structs, "fields")
    assert process_of(container.processes[pid]).pid == pid


async def test_a_drain_finishes_what_is_at_work(container: Container, other: Container) -> None:
    class Worker(Service, name="drained"):
        async def op_work(self) -> str:
            Slow.begun.set()
            await Slow.go.wait()
            return "done"

    await container.spawn(Worker)
    work = asyncio.create_task(other.rpc_send("drained", "work"))
    await Slow.begun.wait()
    await Operator(other).drain(container.id, drain_timeout=30)
    with pytest.raises((LifecycleError, ServiceNotFound)) as caught:
        await Operator(other).drain(container.id)
    assert "stopped already" in caught.value.message or isinstance(caught.value, ServiceNotFound)
    Slow.go.set()
    assert await work == "done"
    await container.stop()
    assert (container.state, container.failure) == ("TERMINATED", "")
    with pytest.raises(ServiceNotFound):
        await Operator(other).drain(container.id)


async def test_a_drain_that_takes_too_long_is_cut_off(
    container: Container, other: Container
) -> None:
    class Worker(Service, name="drained"):
        async def op_work(self) -> None:
            Slow.begun.set()
            await asyncio.Event().wait()

    await container.spawn(Worker)
    work = asyncio.create_task(other.rpc_send("drained", "work", timeout=60))
    await Slow.begun.wait()
    await Operator(other).drain(container.id, drain_timeout=0.2)
    with pytest.raises(IonError, match="terminated"):
        await work
    await container.stop()


async def test_one_who_is_told_by_mistake_twice(container: Container, other: Container) -> None:
    pid = await container.spawn(HelloService)
    results: list[Any] = await asyncio.gather(
        *(Operator(other).terminate(pid) for _ in range(5)), return_exceptions=True
    )
    assert None in results
    assert all(each is None or isinstance(each, ServiceNotFound) for each in results)
