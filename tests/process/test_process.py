"""Processes and services, called over each transport."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import ion
from ion import (
    ApplicationError,
    BadRequest,
    Container,
    DeadlineExceeded,
    OpNotFound,
    Process,
    ProcessNotFound,
    ReceivedApplicationError,
    ReceivedContainerError,
    Service,
    ServiceClient,
    ServiceNotFound,
    StartError,
    Unavailable,
)
from ion.services.hello.client import HelloClient
from ion.services.hello.service import HelloService


class Worker(Service, name="worker", version="1.2.0"):
    """Does as it is told."""

    def __init__(self, greeting: str = "hi") -> None:
        self.greeting = greeting
        self.got: list[Any] = []
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def op_greet(self) -> str:
        return self.greeting

    async def op_echo(self, content: Any) -> Any:
        return content

    async def op_fail(self, kind: str) -> None:
        if kind == "application":
            raise ApplicationError("no such thing", code=404, type="NoThing", details={"id": 7})
        raise RuntimeError("broken inside")

    async def op_block(self) -> str:
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "released"

    async def op_note(self, what: Any) -> None:
        self.got.append(what)
        self.started.set()

    async def op_call(self, to: str, op: str, timeout: float) -> Any:
        return await self.rpc_send(to, op, {}, timeout=timeout)

    async def op_unencodable(self) -> Any:
        return object()

    async def op_large(self) -> bytes:
        return b"x" * 2_000_000


def worker(container: Container, pid: str) -> Worker:
    process = container.processes[pid]
    assert isinstance(process, Worker)
    return process


async def test_a_service_is_called_by_name(container: Container) -> None:
    await container.spawn(HelloService)
    assert (
        await ServiceClient("hello", container).hello(text="you", timeout=5) == "Hello there, you"
    )
    assert await ServiceClient("hello", container).hello() == "Hello there, Hi there"
    assert await ServiceClient("hello", container).hello("me") == "Hello there, me"
    assert await HelloClient(container).hello("typed") == "Hello there, typed"


async def test_from_another_container_a_process_and_a_script(
    container: Container, other: Container, bus: tuple[str, dict[str, Any]]
) -> None:
    await container.spawn("ion.services.hello.service:HelloService")
    assert await HelloClient(other).hello("other") == "Hello there, other"
    pid = await other.spawn(Worker)
    assert await HelloClient(other.processes[pid]).hello("process") == "Hello there, process"
    async with ion.connect(bus[0], sysname="test", config=bus[1]) as connection:
        assert await HelloClient(connection).hello("script") == "Hello there, script"


async def test_a_process_is_called_by_pid(container: Container, other: Container) -> None:
    pid = await container.spawn(Worker, args={"greeting": "yo"})
    assert await other.rpc_send(pid, "greet") == "yo"
    assert pid.startswith(f"{container.id}.")


async def test_major_version_has_a_name_of_its_own(container: Container) -> None:
    await container.spawn(Worker)
    assert await ServiceClient("worker", container, version=1).greet() == "hi"
    with pytest.raises(ServiceNotFound):
        await ServiceClient("worker", container, version=2).greet()


async def test_plain_name_goes_to_the_configured_major(bus: tuple[str, dict[str, Any]]) -> None:
    class One(Service, name="twin", version="1.0.0"):
        async def op_which(self) -> int:
            return 1

    class Two(Service, name="twin", version="2.4.0"):
        async def op_which(self) -> int:
            return 2

    config = {**bus[1], "services.twin.major": 2}
    async with Container(bus[0], sysname="test", config=config) as container:
        await container.spawn(One)
        await container.spawn(Two)
        client = ServiceClient("twin", container)
        assert {await client.which() for _ in range(4)} == {2}
        assert await ServiceClient("twin", container, version=1).which() == 1
        assert await ServiceClient("twin", container, version=2).which() == 2


async def test_the_four_errors_are_typed_and_quick(container: Container) -> None:
    await container.spawn(Worker)
    await container.rpc_send("worker", "greet")
    began = time.perf_counter()
    with pytest.raises(ServiceNotFound, match="nobody_here") as missing:
        await container.rpc_send("nobody_here", "greet")
    with pytest.raises(OpNotFound, match="greet") as unknown:
        await container.rpc_send("worker", "nonsense")
    with pytest.raises(BadRequest, match="wat") as bad:
        await container.rpc_send("worker", "greet", {"wat": 1})
    with pytest.raises(ReceivedApplicationError) as application:
        await container.rpc_send("worker", "fail", {"kind": "application"})
    with pytest.raises(ReceivedContainerError) as internal:
        await container.rpc_send("worker", "fail", {"kind": "other"})
    elapsed = time.perf_counter() - began
    codes = [e.value.code for e in (missing, unknown, bad, application, internal)]
    assert codes == [404, 404, 400, 404, 500]
    assert (application.value.type, application.value.details) == ("NoThing", {"id": 7})
    assert (internal.value.type, internal.value.message) == ("RuntimeError", "broken inside")
    assert elapsed < 2.0  # five errors; the deadline of each is 15 s


async def test_a_deadline_is_kept_and_ends_the_handler(container: Container) -> None:
    pid = await container.spawn(Worker)
    began = time.perf_counter()
    with pytest.raises(DeadlineExceeded):
        await container.rpc_send("worker", "block", timeout=0.2)
    assert 0.19 < time.perf_counter() - began < 2
    await asyncio.wait_for(worker(container, pid).cancelled.wait(), 5)


async def test_a_nested_call_has_what_is_left_of_the_outer_deadline(container: Container) -> None:
    pid = await container.spawn(Worker)
    request = {"to": "worker", "op": "block", "timeout": 60.0}
    with pytest.raises(DeadlineExceeded):
        await container.rpc_send("worker", "call", request, timeout=0.3)
    await asyncio.wait_for(worker(container, pid).cancelled.wait(), 5)


async def test_cancelling_a_caller_cancels_the_handler(
    container: Container, other: Container
) -> None:
    pid = await container.spawn(Worker)
    call = asyncio.create_task(other.rpc_send("worker", "block", timeout=30))
    await asyncio.wait_for(worker(container, pid).started.wait(), 5)
    call.cancel()
    await asyncio.wait_for(worker(container, pid).cancelled.wait(), 5)
    assert not other.endpoint.conversations.open


async def test_a_missing_callee_of_a_handler_is_the_handlers_failure(container: Container) -> None:
    await container.spawn(Worker)
    with pytest.raises(ReceivedContainerError) as raised:
        await container.rpc_send("worker", "call", {"to": "gone", "op": "x", "timeout": 1.0})
    assert (raised.value.code, raised.value.type) == (500, "ServiceNotFound")


async def test_a_result_that_cannot_be_sent_is_a_500_and_the_service_lives(
    container: Container,
) -> None:
    await container.spawn(Worker)
    with pytest.raises(ReceivedContainerError, match="object"):
        await container.rpc_send("worker", "unencodable")
    with pytest.raises(ReceivedContainerError, match="limit"):
        await container.rpc_send("worker", "large")
    assert await container.rpc_send("worker", "greet") == "hi"


async def test_content_over_the_limit_is_refused_at_the_caller(container: Container) -> None:
    await container.spawn(Worker)
    with pytest.raises(ion.ContentTooLarge) as raised:
        await container.rpc_send("worker", "echo", {"content": b"x" * 2_000_000})
    assert raised.value.code == 413
    assert (
        len(await container.rpc_send("worker", "echo", {"content": b"x" * 1_000_000})) == 1_000_000
    )


async def test_a_queue_that_nobody_consumes_is_unavailable_at_the_deadline(
    container: Container,
) -> None:
    pid = await container.spawn(Worker)
    await container.terminate_process(pid)
    with pytest.raises(Unavailable, match="nobody consumes"):
        await container.rpc_send("worker", "greet", timeout=0.2)


async def test_a_terminated_process_is_not_found(container: Container, other: Container) -> None:
    pid = await container.spawn(Worker)
    await container.terminate_process(pid)
    with pytest.raises(ProcessNotFound):
        await other.rpc_send(pid, "greet")
    with pytest.raises(ProcessNotFound):
        await container.terminate_process(pid)


async def test_one_way_sends_arrive(container: Container, other: Container) -> None:
    pid = await container.spawn(Worker)
    await other.send("worker", "note", {"what": [1, b"x", None]})
    await asyncio.wait_for(worker(container, pid).started.wait(), 5)
    assert worker(container, pid).got == [[1, b"x", None]]
    with pytest.raises(ServiceNotFound):
        await other.send("nobody_here", "note", {})


async def test_begun_calls_of_a_dying_process_are_answered_5xx(
    container: Container, other: Container
) -> None:
    pid = await container.spawn(Worker)
    call = asyncio.create_task(other.rpc_send("worker", "block", timeout=30))
    await asyncio.wait_for(worker(container, pid).started.wait(), 5)
    await container.terminate_process(pid, timeout=0.05)
    with pytest.raises(ReceivedContainerError) as raised:
        await asyncio.wait_for(call, 5)
    assert raised.value.type == "ProcessTerminated"


async def test_calls_not_begun_go_to_another_instance(
    container: Container, other: Container
) -> None:
    class Single(Worker, name="single", concurrency=1): ...

    pid = await container.spawn(Single)
    first = asyncio.create_task(other.rpc_send("single", "block", timeout=30))
    await asyncio.wait_for(worker(container, pid).started.wait(), 5)
    second = asyncio.create_task(other.rpc_send("single", "greet", timeout=30))
    while not worker(container, pid).waiting:
        await asyncio.sleep(0.01)
    ending = asyncio.create_task(container.terminate_process(pid, timeout=20))
    await other.spawn(Single, args={"greeting": "second"})
    assert await asyncio.wait_for(second, 5) == "second"
    assert not first.done()
    first.cancel()
    await asyncio.wait_for(ending, 5)


async def test_a_full_mailbox_sheds_with_a_503(container: Container) -> None:
    class Small(Worker, name="small", concurrency=1, mailbox=2): ...

    pid = await container.spawn(Small)
    calls = [asyncio.create_task(container.rpc_send("small", "block")) for _ in range(5)]
    async with asyncio.timeout(10):
        while sum(call.done() for call in calls) < 2:
            await asyncio.sleep(0.01)
    with pytest.raises(Unavailable, match="mailbox") as raised:
        next(call for call in calls if call.done()).result()
    assert (raised.value.code, raised.value.details["retry-after"]) == (503, 1.0)
    worker(container, pid).release.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes.count("released") == 3
    assert sum(isinstance(outcome, Unavailable) for outcome in outcomes) == 2


async def test_a_plain_process_handles_one_at_a_time_and_a_service_many(
    container: Container,
) -> None:
    class Counting:
        running = 0
        most = 0
        pause = 0.0

        async def op_work(self) -> None:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(self.pause)
            self.running -= 1

    class One(Counting, Process):
        pause = 0.005

    class Many(Counting, Service, name="many"):
        pause = 0.5  # long enough for all ten to come, whatever else the machine does

    for cls, most in ((One, 1), (Many, 10)):
        pid = await container.spawn(cls)
        await asyncio.gather(*(container.rpc_send(pid, "work") for _ in range(10)))
        assert container.processes[pid].most == most  # type: ignore[attr-defined]


async def test_hooks_run_in_order_and_children_go_first(container: Container) -> None:
    log: list[str] = []

    class Noting(Process):
        async def on_init(self) -> None:
            log.append(f"{self.name} init {self.state}")

        async def on_activate(self) -> None:
            log.append(f"{self.name} activate {self.state}")
            if self.name == "parent":
                await self.spawn_child(Noting, name="child")

        async def on_terminate(self) -> None:
            log.append(f"{self.name} terminate {self.state}")

    pid = await container.spawn(Noting, name="parent")
    process = container.processes[pid]
    assert process.state == "ACTIVE"
    await container.terminate_process(pid)
    assert process.state == "TERMINATED"
    assert log == [
        "parent init INIT",
        "parent activate READY",
        "child init INIT",
        "child activate READY",
        "child terminate ACTIVE",
        "parent terminate ACTIVE",
    ]


@pytest.mark.parametrize("hook", ["on_init", "on_activate"])
async def test_a_failing_hook_fails_the_spawn_and_leaves_nothing(
    container: Container, hook: str
) -> None:
    async def broken(self: Process) -> None:
        raise ValueError("not today")

    bad = type("Bad", (Process,), {hook: broken})
    before = set(container.processes)
    with pytest.raises(StartError, match="not today"):
        await container.spawn(bad)
    assert set(container.processes) == before


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("ion.services.nowhere:X", "nowhere"),
        ("ion.services.hello.service:Nobody", "Nobody"),
        ("ion.base.errors:IonError", "no process class"),
    ],
)
async def test_what_cannot_be_spawned_is_named(
    container: Container, target: str, words: str
) -> None:
    with pytest.raises(StartError, match=words):
        await container.spawn(target)


async def test_wrong_spawn_arguments_are_named(container: Container) -> None:
    with pytest.raises(StartError, match="colour"):
        await container.spawn(Worker, args={"colour": "red"})
    before = set(container.processes)
    for _ in range(2):  # it is known, then
        with pytest.raises(StartError, match="HelloService does not take argument 'text': it has"):
            await container.spawn(HelloService, args={"text": "lost"})
    assert set(container.processes) == before


async def test_a_class_without_an_init_keeps_what_it_looks_for(container: Container) -> None:
    class Keeper(Process): ...

    pid = await container.spawn(Keeper, args={"colour": "red"})
    assert container.processes[pid].spawn_args == {"colour": "red"}


async def test_a_service_waits_for_what_it_depends_on(container: Container) -> None:
    class Needy(Service, name="needy", depends=["hello"]): ...

    spawning = asyncio.create_task(container.spawn(Needy))
    await asyncio.sleep(0.1)
    assert not spawning.done()
    await container.spawn(HelloService)
    await asyncio.wait_for(spawning, 5)


async def test_raw_handlers_get_the_parts_and_answer_themselves(container: Container) -> None:
    class Raw(Service, name="raw"):
        async def op_raw(self, content: Any, headers: Any, msg: Any) -> None:
            await self.reply_ok(msg, {"content": content, "sender": headers["sender"]})

        async def op_refuse(self, content: Any, headers: Any, msg: Any) -> None:
            await self.reply_err(msg, "not like this")

    await container.spawn(Raw)
    answer = await container.rpc_send("raw", "raw", {"any": "thing"})
    assert answer == {"content": {"any": "thing"}, "sender": f"{container.id}.0"}
    with pytest.raises(ReceivedApplicationError, match="not like this"):
        await container.rpc_send("raw", "refuse")


async def test_a_process_can_terminate_itself_in_an_op(container: Container) -> None:
    class Mayfly(Process):
        async def op_leave(self) -> str:
            await self.terminate()
            return "bye"

    pid = await container.spawn(Mayfly)
    assert await container.rpc_send(pid, "leave") == "bye"
    async with asyncio.timeout(5):
        while pid in container.processes:
            await asyncio.sleep(0.01)


async def test_nothing_is_left_when_a_container_stops(bus: tuple[str, dict[str, Any]]) -> None:
    async with Container(bus[0], sysname="test", config=bus[1]) as container:
        await container.spawn(Worker)
        await asyncio.gather(*(container.rpc_send("worker", "greet") for _ in range(50)))
        assert not container.endpoint.conversations.open
        assert not container.endpoint.calls
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert [t for t in others if "ion" in repr(t.get_coro())] == []
    assert container.state == "TERMINATED"
    async with Container(bus[0], sysname="test", config=bus[1]) as second:
        assert await second.transport.queue_info(container.endpoint.reply_queue) is None


async def test_a_process_may_have_a_state_of_its_own(container: Container) -> None:
    class Moody(Process, name="moody"):
        def __init__(self) -> None:
            self.state = {"mood": "good"}  # type: ignore[assignment]

        async def op_turn(self) -> Any:
            self.state = "bad"  # type: ignore[assignment]
            return self.state

    pid = await container.spawn(Moody)
    assert container.processes[pid].name == "moody"
    assert await container.rpc_send(pid, "turn", timeout=5) == "bad"
    assert await container.rpc_send(pid, "turn", timeout=5) == "bad"
    await container.terminate_process(pid)
    assert pid not in container.processes


def test_a_class_that_cannot_be_is_told_at_its_creation() -> None:
    with pytest.raises(TypeError, match=r"concurency.*known: name, version"):
        type("Typo", (Service,), {}, name="typo", concurency=1)
    with pytest.raises(TypeError, match="async def on_init"):
        type("Sync", (Process,), {"on_init": lambda self: None})


@pytest.mark.parametrize("wrong", [5, "x" * 256, b"1"])
async def test_a_message_id_that_no_message_can_have_is_refused(
    container: Container, wrong: Any
) -> None:
    with pytest.raises(BadRequest, match="message_id"):
        await container.send("nobody", "op", {}, message_id=wrong)
