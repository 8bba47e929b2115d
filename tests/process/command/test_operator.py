"""The operator: what it may do to other containers, and what it is told where it may not."""

from __future__ import annotations

import pytest

import ion
from ion import (
    Container,
    Forbidden,
    LifecycleError,
    Operator,
    ProcessNotFound,
    ReceivedApplicationError,
    Service,
    StartError,
)


class Meter(Service, name="meter", version="1.2.0"):
    def __init__(self, port: int = 0) -> None:
        self.port = port

    async def op_port(self) -> int:
        return self.port


METER = f"{__name__}:Meter"


async def test_processes_of_another_container(container: Container, other: Container) -> None:
    operator = Operator(other)
    pid = await operator.spawn(container.id, METER, args={"port": 3})
    assert container.processes[pid].name == "meter"
    assert await other.rpc_send("meter", "port") == 3
    await operator.terminate(pid)
    assert pid not in container.processes
    with pytest.raises(ProcessNotFound):
        await operator.terminate(pid)


async def test_apps_of_another_container(container: Container, other: Container) -> None:
    operator = Operator(other)
    assert await operator.start_app(container.id, "hello") == ["hello"]
    assert await operator.start_app(container.id, "hello") == []
    before = container.apps["hello"].pids
    await operator.restart_app(container.id, "hello")
    assert container.apps["hello"].pids != before
    await operator.stop_app(container.id, "hello")
    assert not container.apps
    assert "hello" in await operator.start_rel(container.id, "hello.rel")


async def test_what_cannot_be_done_is_told_by_its_type(container: Container) -> None:
    operator = Operator(container)
    for wrong in ("no.such:Thing", "json:loads", "ion.base.clock:Nothing"):
        with pytest.raises(StartError):
            await operator.spawn(container.id, wrong)
    with pytest.raises(StartError, match="prot"):
        await operator.spawn(container.id, METER, args={"prot": 3})
    with pytest.raises(ReceivedApplicationError) as caught:
        await operator.start_app(container.id, "no-such-app")
    assert (caught.value.code, caught.value.type) == (404, "AppNotFound")
    for ask in (operator.stop_app, operator.restart_app):
        with pytest.raises(ReceivedApplicationError, match="not running") as caught:
            await ask(container.id, "hello")
        assert (caught.value.code, caught.value.type) == (404, "AppNotFound")
    with pytest.raises(LifecycleError, match="agent"):
        await operator.terminate(f"{container.id}.0")


async def test_a_command_needs_the_key(
    bus: tuple[str, dict[str, object]], container: Container
) -> None:
    agent = f"{container.id}.0"
    if container.transport.is_private:
        assert await container.rpc_send(agent, "spawn", {"target": METER})
        return
    with pytest.raises(Forbidden, match="not signed"):
        await container.rpc_send(agent, "spawn", {"target": METER})
    with pytest.raises(Forbidden, match=r"signed with key .* has key"):
        await Operator(container, key="ab" * 32).spawn(container.id, METER)
    assert len(container.processes) == 1
    url, config = bus
    async with ion.connect(url, sysname="test", config=config) as connection:
        assert await Operator(connection).spawn(container.id, METER)


async def test_a_container_that_is_told_to_drain(container: Container, other: Container) -> None:
    await Operator(other).drain(container.id)
    await container.gave_up.wait()
    await container.stop()
    assert container.state == "TERMINATED"
    assert container.failure == ""
