"""Calls that would wait on themselves are refused at once, with the ring in the message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ion import CallCycle, Container, IonError, Service
from ion.messaging.transport import QueueSpec
from ion.observe.context import CallContext
from ion.process.endpoint import callstack
from tests.process.delivery import Bus, message, running, until

SOON = 10.0  # seconds: well under the deadline of the calls, which is 60


class Node(Service, name="node_a", version="1.0.0", concurrency=1):
    """Calls along a route, each call from within the one before."""

    async def op_route(self, route: list[str], how: str = "rpc") -> int:
        if not route:
            return 0
        content = {"route": route[1:], "how": how}
        if how == "request":
            return 1 + int(await self.request(route[0], "route", content))
        return 1 + int(await self.rpc_send(route[0], "route", content))

    async def op_send_on(self, to: str) -> None:
        await self.send(to, "note", {})

    async def op_note(self) -> None:
        self.noted = True

    noted = False
    left: asyncio.Task[Any]

    async def op_leave(self, go: str) -> None:
        async def later() -> Any:
            await EVENTS[go].wait()
            return await self.rpc_send(self.service_name, "route", {"route": []}, timeout=60)

        self.left = asyncio.create_task(later())

    async def op_wait(self, go: str) -> None:
        await EVENTS[go].wait()


EVENTS: dict[str, asyncio.Event] = {}


class NodeB(Node, name="node_b", version="1.0.0", concurrency=1):
    pass


class NodeC(Node, name="node_c", version="1.0.0", concurrency=1):
    pass


class Wide(Node, name="wide", version="1.0.0", concurrency=2):
    pass


async def ring(container: Container, to: str, route: list[str], how: str = "rpc") -> IonError:
    """Call along a route that must be refused; return the error at the first caller."""
    with pytest.raises(IonError) as caught:
        async with asyncio.timeout(SOON):
            await container.rpc_send(to, "route", {"route": route, "how": how}, timeout=60)
    return caught.value


@pytest.mark.parametrize("how", ["rpc", "request"])
@pytest.mark.parametrize(
    "route",
    [
        ["node_a"],
        ["node_a.v1"],
        ["node_b", "node_a"],
        ["node_b.v1", "node_c", "node_b"],
        ["node_b", "node_c", "node_a"],
    ],
    ids="-".join,
)
async def test_a_ring_is_refused_at_once(bus: Bus, route: list[str], how: str) -> None:
    async with running(bus) as container:
        for kind in (Node, NodeB, NodeC):
            await container.spawn(kind)
        error = await ring(container, "node_a", route, how)
        assert "would wait on itself" in error.message
        assert route[-1].partition(".")[0] in error.message
        assert await container.rpc_send("node_a", "route", {"route": []}) == 0  # nothing hangs
        await until(lambda: not container.endpoint.calls)


async def test_a_ring_through_two_containers_by_pid(bus: Bus, other: Container) -> None:
    async with running(bus) as container:
        pid = await container.spawn(Node)
        await other.spawn(NodeB)
        error = await ring(other, pid, ["node_b", pid])
        assert f"{pid!r} handles 1 at a time" in error.message
        error = await ring(other, pid, ["node_b", "node_a"])
        assert "'node_a' handles 1 at a time" in error.message


async def test_a_process_of_two_hands_calls_itself_once(bus: Bus) -> None:
    async with running(bus) as container:
        await container.spawn(Wide)
        call = {"route": ["wide"]}
        assert await container.rpc_send("wide", "route", call, timeout=60) == 1
        error = await ring(container, "wide", ["wide", "wide"])
        assert "'wide' handles 2 at a time" in error.message


async def test_a_hand_that_others_hold_is_waited_for(bus: Bus) -> None:
    EVENTS["others"] = asyncio.Event()
    async with running(bus) as container:
        await container.spawn(Wide)
        await container.spawn(NodeB)
        other = asyncio.ensure_future(container.rpc_send("wide", "wait", {"go": "others"}))
        call = asyncio.ensure_future(
            container.rpc_send("wide", "route", {"route": ["node_b", "wide"]}, timeout=60)
        )
        await until(lambda: any(p.waiting for p in container.processes.values()))
        EVENTS["others"].set()
        assert await call == 2
        await other


async def test_who_does_not_wait_makes_no_ring(bus: Bus) -> None:
    async with running(bus) as container:
        process: Any = container.processes[await container.spawn(Node)]
        await container.rpc_send("node_a", "send_on", {"to": "node_a"})
        await until(lambda: process.noted)


async def test_what_a_handler_left_running_waits_on_its_own_account(bus: Bus) -> None:
    EVENTS.update(leave=asyncio.Event(), busy=asyncio.Event())
    async with running(bus) as container:
        process: Any = container.processes[await container.spawn(Node)]
        await container.rpc_send("node_a", "leave", {"go": "leave"})
        busy = asyncio.ensure_future(container.rpc_send("node_a", "wait", {"go": "busy"}))
        await until(lambda: container.endpoint.calls)
        EVENTS["leave"].set()
        await until(lambda: process.waiting)
        EVENTS["busy"].set()
        assert await process.left == 0
        await busy


async def test_calls_are_at_most_64_deep(bus: Bus) -> None:
    async with running(bus, service__concurrency=100) as container:
        await container.spawn(type("Deep", (Node,), {}, name="deep", concurrency=100))
        assert await container.rpc_send("deep", "route", {"route": ["deep"] * 63}, timeout=60) == 63
        error = await ring(container, "deep", ["deep"] * 70)
        assert "65 calls deep" in error.message
        await until(lambda: not container.endpoint.calls)


HOSTILE = {
    "text": "a b.c",
    "number": 7,
    "map": {"a": 1},
    "none": None,
    "mixed": [1, None, {"a": []}, "x y.z", b"b"],
    "many": ["x y.z"] * 10_000,
    "long": ["x" * 20_000],
    "blanks": ["", " ", "  ."],
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_stack_does_no_harm(bus: Bus, name: str) -> None:
    async with running(bus) as container:
        for kind in (Node, NodeB):
            await container.spawn(kind)
        transport = container.transport
        await transport.declare_queue(QueueSpec("answers", durable=False, exclusive=True))
        got: list[Any] = []
        await transport.consume("answers", got.append, prefetch=1, no_ack=True)
        headers = {"call-stack": HOSTILE[name]}
        for n in range(3):  # more than are handled at a time: the stack is looked at
            sent = message(
                "route",
                {"route": ["node_b"]},
                headers=headers,
                reply_to="answers",
                correlation_id=str(n),
            )
            transport.publish("test.xs", "node_a", sent)
        await until(lambda: len(got) == 3)
        codes = {delivery.envelope.headers.get("code") for delivery in got}
        assert codes <= {None, 508, 500}
        if name != "many":
            assert codes == {None}
        assert await container.rpc_send("node_a", "route", {"route": ["node_b"]}) == 1


def test_the_stack_is_read_for_what_it_is() -> None:
    assert callstack.stack_of(["a b.c", 1, "d e.f"]) == ("a b.c", "d e.f")
    assert len(callstack.stack_of(["a b.c"] * 1000)) == callstack.MAX_DEPTH
    assert callstack.cycle(("p x.y",), "p", "p x.z", 2) is None
    refusal = callstack.cycle(("o o.o", "p x.y", "q w.v"), "p", "p x.z", 1)
    assert isinstance(refusal, CallCycle)
    assert refusal.details == {"cycle": ["x.y", "w.v", "x.z"]}


def test_who_waits_for_nothing_passes_no_stack() -> None:
    headers: dict[str, Any] = {}
    callstack.pass_on(CallContext("p", op="o", user="u"), headers, waits=False)
    assert headers == {"user-id": "u"}
    callstack.pass_on(CallContext("p", op="o"), headers, waits=True)
    assert headers["call-stack"] == ["p .o"]
