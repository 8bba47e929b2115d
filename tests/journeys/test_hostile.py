"""Handlers, headers and moments that nobody should use, and somebody will."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from ion import (
    ApplicationError,
    Container,
    DeadlineExceeded,
    ReceivedError,
    Service,
    ServiceClient,
    Unavailable,
)
from ion.messaging.codec import encode
from ion.messaging.envelope import Envelope
from ion.messaging.interceptors import Interceptor
from ion.messaging.transport import QueueSpec

HUGE = "x" * 2_000_000


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Odd(BaseException):
    pass


FAILURES: dict[str, BaseException] = {
    "huge": ValueError(HUGE),
    "huge-application": ApplicationError(HUGE),
    "huge-details": ApplicationError("m", details={"a": HUGE}),
    "surrogate": ApplicationError("\ud800"),
    "no-text": NoText(),
    "no-code": ApplicationError("m", code="404"),  # type: ignore[arg-type]
    "big-code": ApplicationError("m", code=2**70),
    "object": ApplicationError(object()),  # type: ignore[arg-type]
    "no-type": ApplicationError("m", type=object()),  # type: ignore[arg-type]
    "base": Odd("odd"),
    "group": BaseExceptionGroup("g", [asyncio.CancelledError()]),
    "exit": SystemExit(3),
}


class Hostile(Service, name="hostile"):
    left: asyncio.Task[Any]

    async def op_fail(self, how: str) -> None:
        await asyncio.sleep(0)
        raise FAILURES[how]

    async def op_exit(self) -> None:
        sys.exit(4)

    async def op_service(self, op: str, content: int = 0) -> list[Any]:
        return [op, content]

    async def op_leave(self, seconds: float) -> None:
        async def later() -> Any:
            await asyncio.sleep(seconds)
            return await self.rpc_send(self.service_name, "ping", {})

        self.left = asyncio.create_task(later())

    async def op_left(self) -> Any:
        return await self.left

    async def op_wait(self, how: str) -> None:
        await asyncio.Event().wait()

    async def op_stay(self, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue

    async def op_end(self) -> None:
        async def later() -> None:
            await gone.wait()
            await self.terminate()

        gone = asyncio.Event()
        self.left = asyncio.create_task(later())
        asyncio.get_running_loop().call_later(0.02, gone.set)


@pytest.mark.parametrize("how", FAILURES)
async def test_any_failure_of_a_handler_is_answered(container: Container, how: str) -> None:
    await container.spawn(Hostile)
    with pytest.raises(ReceivedError) as caught:
        await container.rpc_send("hostile", "fail", {"how": how}, timeout=5)
    assert caught.value.code == (400 if isinstance(FAILURES[how], ApplicationError) else 500)
    assert len(caught.value.message) < 10_000
    if how == "exit":  # the op's exception, and the end of its process
        await container.spawn(Hostile)
    assert await container.rpc_send("hostile", "ping", {}) == {"pong": "pong"}
    assert not container.endpoint.calls


async def test_a_handler_that_exits_before_its_first_wait_ends_its_process_only(
    container: Container,
) -> None:
    for _ in range(3):
        pid = await container.spawn(Hostile)
        process = container.processes[pid]
        with pytest.raises(ReceivedError) as caught:
            await container.rpc_send("hostile", "exit", {}, timeout=5)
        assert (caught.value.code, caught.value.type) == (500, "SystemExit")
        async with asyncio.timeout(10):
            while process.state != "TERMINATED":
                await asyncio.sleep(0.001)
    assert container.state == "ACTIVE"


async def test_headers_of_any_type_are_answered(container: Container) -> None:
    await container.spawn(Hostile)
    transport = container.transport
    await transport.declare_queue(QueueSpec("answers", durable=False, exclusive=True))
    answers: asyncio.Queue[Envelope] = asyncio.Queue()
    await transport.consume(
        "answers", lambda d: answers.put_nowait(d.envelope), prefetch=10, no_ack=True
    )
    for name in ("protocol", "performative", "timeout"):
        for value in (["x"], {"a": 1}, True):
            request = Envelope("ping", b"", reply_to="answers", headers={name: value})
            transport.publish("test.xs", "hostile", request)
            answer = await asyncio.wait_for(answers.get(), 5)
            assert (answer.headers["performative"], answer.headers["code"]) == ("failure", 400)


async def test_an_answer_with_a_performative_of_another_type_is_dropped(
    container: Container,
) -> None:
    await container.spawn(Hostile)
    queue = container.endpoint.reply_queue
    call = asyncio.ensure_future(container.rpc_send("hostile", "leave", {"seconds": 0}))
    await asyncio.sleep(0)
    for name in list(container.endpoint.conversations.open):
        bad = Envelope("leave", b"", correlation_id=name, headers={"performative": ["x"]})
        container.transport.publish("", queue, bad)
    assert await call is None
    assert await container.rpc_send("hostile", "left", {}) == {"pong": "pong"}


async def test_any_op_and_parameter_can_be_named_by_a_client(container: Container) -> None:
    await container.spawn(Hostile)
    client = ServiceClient("hostile", container)
    assert await client.service(op="a", content=1) == ["a", 1]


async def test_what_a_handler_leaves_running_is_not_bound_to_its_deadline(
    container: Container,
) -> None:
    await container.spawn(Hostile)
    await container.rpc_send("hostile", "leave", {"seconds": 0.25}, timeout=0.2)
    assert await container.rpc_send("hostile", "left", {}) == {"pong": "pong"}


async def test_a_process_may_end_itself_from_what_a_handler_left_running(
    container: Container,
) -> None:
    pid = await container.spawn(Hostile)
    await container.rpc_send("hostile", "end", {})
    async with asyncio.timeout(5):
        while pid in container.processes:
            await asyncio.sleep(0.01)


async def test_iterating_a_request_that_was_cancelled_at_once_ends(container: Container) -> None:
    conversation = container.request("hostile", "ping", {})
    conversation.cancel()
    async with asyncio.timeout(5):
        assert [step async for step in conversation] == []


async def test_a_handler_that_heeds_no_cancellation_is_answered_for(container: Container) -> None:
    pid = await container.spawn(Hostile)
    until = asyncio.get_running_loop().time() + 1.5
    call = asyncio.ensure_future(container.rpc_send("hostile", "stay", {"until": until}))
    async with asyncio.timeout(5):
        while not container.endpoint.calls:
            await asyncio.sleep(0.01)
    await container.terminate_process(pid, timeout=0.05)
    with pytest.raises(ReceivedError) as caught:
        await call
    assert (caught.value.code, caught.value.type) == (500, "ProcessTerminated")


async def test_calls_of_the_same_id_are_both_ended_with_their_process(
    container: Container,
) -> None:
    pid = await container.spawn(Hostile)
    transport = container.transport
    await transport.declare_queue(QueueSpec("answers", durable=False, exclusive=True))
    answers: asyncio.Queue[Envelope] = asyncio.Queue()
    await transport.consume(
        "answers", lambda d: answers.put_nowait(d.envelope), prefetch=10, no_ack=True
    )
    for _ in range(2):
        body, _ = encode({"how": "never"})
        request = Envelope("wait", body, reply_to="answers", correlation_id="same")
        transport.publish("test.xs", "hostile", request)
    async with asyncio.timeout(5):
        while len(container.endpoint.calls) < 2:
            await asyncio.sleep(0.01)
    await container.terminate_process(pid, timeout=0.05)
    for _ in range(2):
        answer = await asyncio.wait_for(answers.get(), 5)
        assert answer.headers["code"] == 500
    assert not container.endpoint.calls


def refuse_answers(settings: Any) -> Interceptor:
    """Return an interceptor that lets nothing but requests out."""

    def interceptor(envelope: Envelope) -> Envelope:
        if not envelope.reply_to:
            raise RuntimeError("no answers")
        return envelope

    return interceptor


async def test_what_cannot_be_answered_is_a_dead_letter(bus: tuple[str, dict[str, object]]) -> None:
    url, config = bus
    config = {**config, "messaging.interceptors.out": [f"{__name__}:refuse_answers"]}
    async with Container(url, sysname="test", config=config) as container:
        await container.spawn(Hostile)
        with pytest.raises((DeadlineExceeded, Unavailable)):
            await container.rpc_send("hostile", "ping", timeout=0.5)
        info = await container.transport.queue_info("test.hostile.dlq")
        assert info is not None
        assert info.messages == 1
        assert not container.endpoint.calls
