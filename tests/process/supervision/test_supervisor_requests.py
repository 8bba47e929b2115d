"""Supervisors: what may be asked of them, the state they hand over, and what is round about."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from ion import (
    ChildSpec,
    Container,
    Flags,
    IonError,
    LifecycleError,
    Operator,
    Process,
    ProcessNotFound,
    ReceivedApplicationError,
    ReceivedContainerError,
    Service,
    StartError,
    Supervisor,
)
from ion.observe.context import current_call
from tests.process.supervised import EVENTS, FOREVER, Child, tree, until, watcher_of


@pytest.fixture(autouse=True)
def no_events() -> None:
    EVENTS.clear()
    Child.broken = ""
    Child.released = False


# requests


async def test_requests_over_the_bus(container: Container, other: Container) -> None:
    pid = (await tree(container, "a")).supervisor.id
    ask = Operator(other).command
    new = await ask(pid, "start_child", {"id": "b", "target": "tests.process.supervised:Child"})
    assert await other.rpc_send(new, "pid") == new
    await ask(pid, "terminate_child", "b")
    with pytest.raises(ProcessNotFound):
        await ask(new, "pid")
    again = await ask(pid, "restart_child", "b")
    assert again != new
    assert await ask(pid, "restart_child", "b") not in (new, again)
    rows = await ask(pid, "which_children")
    assert [(row["id"], row["phase"], row["restarts"]) for row in rows] == [
        ("a", "up", 0),
        ("b", "up", 2),
    ]
    await ask(pid, "delete_child", "b")
    assert (await ask(pid, "count_children"))["specs"] == 1
    for op, content, code in [
        ("terminate_child", "b", 409),
        ("restart_child", "b", 409),
        ("delete_child", "b", 409),
        ("start_child", {"id": "a", "target": "tests.process.supervised:Child"}, 400),
        ("start_child", {"id": "x", "target": "no.such:Thing"}, 409),
        ("start_child", {"id": "x"}, 400),
        ("start_child", {"id": "x", "target": "x:Y", "restart": "often"}, 400),
    ]:
        with pytest.raises(IonError) as caught:
            await ask(pid, op, content)
        assert caught.value.code == code, (op, content)
    assert (await ask(pid, "count_children"))["specs"] == 1


async def test_a_restart_that_fails_on_request_is_told() -> None:
    async with Container("memory://") as container:
        here = await tree(container, "a")
        await here.supervisor.terminate_child("a")
        Child.broken = "raise"
        with pytest.raises(ReceivedApplicationError, match="not now"):
            await container.rpc_send(here.supervisor.id, "restart_child", "a")
        assert here.phases() == {"a": "down"}
        Child.broken = ""
        assert await here.supervisor.restart_child("a")


async def test_requests_that_the_end_of_the_supervisor_overtakes() -> None:
    async with Container("memory://") as container:
        here = await tree(container, "a")
        Child.broken = "hang"
        start = asyncio.create_task(
            here.supervisor.start_child({"id": "b", "class": "tests.process.supervised:Child"})
        )
        await until(lambda: "?b" in EVENTS)
        await container.terminate_process(here.supervisor.id)
        with pytest.raises(LifecycleError):
            await start


async def test_a_pool() -> None:
    template = {"id": "w", "class": "tests.process.supervised:Child", "restart": "transient"}
    async with Container("memory://") as container:
        here = await tree(container, strategy="pool", template=template)
        ask = container.rpc_send
        pool = here.supervisor.id
        pids = [await ask(pool, "start_child", {"args": {"value": n}}) for n in range(5)]
        values = [getattr(container.processes[pid], "value", None) for pid in pids]
        assert values == [0, 1, 2, 3, 4]
        await here.fail("w-3")
        await here.up("w-3")
        again = here.child("w-3")
        assert again is not None
        assert (again.value, again._restarts) == (2, 1)
        await ask(pool, "terminate_child", "w-1")
        await ask(pids[1], "end")
        await until(lambda: list(here.phases()) == ["w-3", "w-4", "w-5"])
        await container.terminate_process(pool)
        assert len(container.processes) == 1


# state


class Keeping(Child):
    """Hands its value over."""

    refuses = False

    def get_state(self) -> dict[str, int]:
        return {"value": self.value}

    def set_state(self, state: dict[str, int]) -> None:
        if Keeping.refuses:
            raise ValueError("cannot read that")
        self.value = state["value"] + 100

    async def op_save(self, value: int) -> None:
        self.value = value
        self.save_state()


async def test_state_goes_from_one_instance_to_the_next() -> None:
    spec = ChildSpec(id="k", target=Keeping)
    async with Container("memory://") as container:
        here = await tree(container, spec)

        def value() -> int:
            child = here.child("k")
            assert child is not None
            return child.value

        first = here.child("k")
        assert first is not None
        first.value = 7
        await here.supervisor.restart_child("k")  # as it was
        assert value() == 107
        await here.supervisor.terminate_child("k")
        await here.supervisor.restart_child("k")
        assert value() == 207
        saved = here.child("k")
        assert saved is not None
        await container.rpc_send(saved.id, "save", 1)
        saved.value = 2
        await here.fail("k")  # as it was saved
        await here.up("k")
        assert value() == 101
        Keeping.refuses = True
        await here.fail("k")
        await until(lambda: here.child("k"))  # the state is dropped, and the second try goes well
        Keeping.refuses = False
        assert value() == 0


# what is round about


class Shop(Service, name="shop"):
    """Fails while it has customers."""

    async def op_buy(self, break_it: bool = False) -> str:
        if break_it:
            self.fail("the roof")
            await asyncio.sleep(FOREVER)
        return self.id


async def test_a_service_that_comes_back_goes_on_with_its_queue(
    container: Container, other: Container
) -> None:
    here = await tree(container, ChildSpec(id="shop", target=Shop))
    first = await other.rpc_send("shop", "buy")
    with pytest.raises(ReceivedContainerError):
        await other.rpc_send("shop", "buy", {"break_it": True})
    second = await other.rpc_send("shop", "buy", timeout=20)
    assert second != first
    await until(lambda: here.phases() == {"shop": "up"})  # its queue was consumed before
    row = here.supervisor.which_children()[0]
    assert (row["pid"], row["restarts"]) == (second, 1)
    info = await other.rpc_send(f"{container.id}.0", "info")
    described = {p["pid"]: p for p in info["processes"]}
    assert described[second]["restarts"] == 1
    assert described[second]["parent"] == here.supervisor.id


class Acting(Process):
    """Tells on whose behalf it acts."""

    behalf: list[Any] = []  # noqa: RUF012

    async def on_activate(self) -> None:
        Acting.behalf.append(current_call.get())

    async def on_terminate(self) -> None:
        Acting.behalf.append(current_call.get())

    async def op_fail(self) -> None:
        self.fail("in an op")


async def test_a_restart_is_on_nobody_s_behalf() -> None:
    async with Container("memory://") as container:
        here = await tree(container)
        pid = here.supervisor.id
        child = {"id": "a", "target": f"{__name__}:Acting"}
        first = await container.rpc_send(pid, "start_child", child)
        await container.rpc_send(first, "fail")  # it returns before it can be cancelled
        await until(lambda: len(Acting.behalf) == 3)
    assert set(Acting.behalf) == {None}


class Fragile(Service, name="fragile", attempts=2):
    """Has a message that it dies of."""

    deaths = 0

    async def op_die(self) -> None:
        Fragile.deaths += 1
        self.fail("of this message")
        await asyncio.sleep(FOREVER)


async def test_a_message_that_its_process_dies_of_becomes_a_dead_letter() -> None:
    config = {"service.retry_delays": [0.01]}
    async with Container("memory://", sysname="test", config=config) as container:
        await tree(container, ChildSpec(id="fragile", target=Fragile))
        await container.send("fragile", "die")

        async def dead() -> int:
            info = await container.transport.queue_info("test.fragile.dlq")
            return info.messages if info is not None else 0

        async with asyncio.timeout(20):
            while not await dead():
                await asyncio.sleep(0.01)
        assert Fragile.deaths == 2


async def test_a_killed_container_restarts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with Container("memory://") as container:
        await tree(container, "a", "b")
        Child.broken = "hang"
        container.processes[f"{container.id}.3"].fail("told to")
        await until(lambda: "?b" in EVENTS)
        await container.kill()
        await asyncio.sleep(0.05)
        assert EVENTS == ["-b", "?b", "-b"]
    assert "task" not in caplog.text


async def test_children_of_children_die_with_them() -> None:
    class Parent(Child):
        async def on_activate(self) -> None:
            await super().on_activate()
            await self.spawn_child(Child, name="small")

    async with Container("memory://") as container:
        here = await tree(container, ChildSpec(id="p", target=Parent))
        await here.fail("p")
        await here.up("p")
        assert EVENTS == ["-small", "-p", "+p", "+small"]
        assert sum(p.name == "small" for p in container.processes.values()) == 1


async def test_a_container_that_stops_restarts_nothing() -> None:
    for order in itertools.permutations(["a", "b"]):
        async with Container("memory://") as container:
            await tree(container, *order)
        assert [event for event in EVENTS if event[0] == "+"] == []


async def test_a_supervisor_that_fails_takes_its_children_down() -> None:
    async with Container("memory://") as container:
        here = await tree(container, "a", "b")
        watcher = await watcher_of(container, here.supervisor.id)
        here.supervisor.fail("told to")
        await until(lambda: watcher.heard)
        assert EVENTS == ["-b", "-a"]
        with pytest.raises(ProcessNotFound):
            await container.terminate_process(here.supervisor.id)


class Station(Supervisor):
    """Says all in its class."""

    flags = Flags(strategy="rest_for_one")
    children = (
        ChildSpec(id="a", target=Child),
        {"id": "b", "class": "tests.process.supervised:Child"},
    )


async def test_a_class_may_say_all() -> None:
    async with Container("memory://") as container:
        pid = await container.spawn(Station, args={"intensity": 3})
        station = container.processes[pid]
        assert isinstance(station, Station)
        assert (station.flags.strategy, station.flags.intensity) == ("rest_for_one", 3)
        assert EVENTS == ["+a", "+b"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"strategy": "one_for_none"}, "strategy: no such choice"),
        ({"often": True}, "often: unknown key"),
        ({"backoff": {"first": -1}}, "first"),
        ({"children": [{"id": "a"}]}, "target: is missing"),
        ({"children": [{"id": "a", "class": "x:Y", "shutdwn": 1}]}, "shutdwn: unknown key"),
        ({"children": [{"id": "a", "class": "x:Y"}] * 2}, "given twice"),
    ],
)
async def test_data_that_is_wrong_is_told_by_its_key(args: dict[str, Any], said: str) -> None:
    async with Container("memory://") as container:
        with pytest.raises(StartError, match=said):
            await container.spawn(Supervisor, args=args)
