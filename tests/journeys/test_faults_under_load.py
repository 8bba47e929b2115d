"""Real faults while calls run: every call has its answer or its error, in time."""

from __future__ import annotations

import asyncio
import time

import pytest

from ion import Container, DeadlineExceeded, Service, ServiceClient, Unavailable

CALLS = 200
TIMEOUT = 0.5
STOPPED = 20.0  # seconds
LATE = 4.0  # seconds; asked one after the other, the last of the calls would be 8 s late


class Slow(Service, name="slow", concurrency=1000):
    def __init__(self, begun: asyncio.Semaphore) -> None:
        self.begun = begun

    async def op_wait(self) -> None:
        self.begun.release()
        await asyncio.sleep(30)


async def outcomes(container: Container, count: int) -> list[tuple[BaseException, float]]:
    """Make calls at once; return the error of each and how many seconds it took."""
    client = ServiceClient("slow", container)

    async def call() -> tuple[BaseException, float]:
        began = time.monotonic()
        try:
            await client.wait(timeout=TIMEOUT)
        except (DeadlineExceeded, Unavailable) as error:
            return error, time.monotonic() - began
        raise AssertionError

    return list(await asyncio.gather(*(call() for _ in range(count))))


async def test_all_calls_end_at_their_deadline_when_the_broker_freezes(amqp_url, rabbitmq_server):
    begun = asyncio.Semaphore(0)
    async with Container(amqp_url, sysname="freeze") as container:
        await container.spawn(Slow, args={"begun": begun})
        calls = asyncio.create_task(outcomes(container, CALLS))
        for _ in range(CALLS):
            await begun.acquire()
        rabbitmq_server.suspend()
        try:
            ended = await calls
        finally:
            rabbitmq_server.resume()
        assert {type(error) for error, _ in ended} == {Unavailable}
        assert max(took for _, took in ended) < TIMEOUT + LATE


async def test_calls_that_end_together_look_at_their_queue_once(container, monkeypatch):
    looks = []
    look = container.transport.queue_info

    async def counted(name, timeout=5.0):
        looks.append(name)
        return await look(name, timeout)

    monkeypatch.setattr(container.transport, "queue_info", counted)
    await container.spawn(Slow, args={"begun": asyncio.Semaphore(0)})
    ended = await outcomes(container, CALLS)
    assert {type(error) for error, _ in ended} == {DeadlineExceeded}
    assert max(took for _, took in ended) < TIMEOUT + LATE
    assert len(looks) < CALLS / 4


@pytest.mark.parametrize("fault", ["suspend", "kill"])
async def test_a_container_stops_in_time_without_its_broker(fault, amqp_url, rabbitmq_server):
    container = Container(amqp_url, sysname="stop")
    await container.start()
    for number in range(8):
        await container.spawn(type(f"S{number}", (Service,), {}, name=f"s{number}", version="1.0"))
    getattr(rabbitmq_server, fault)()
    try:
        began = time.monotonic()
        await container.stop()
        # one order is waited for, the connection's close is another; not eight services' worth
        assert time.monotonic() - began < STOPPED
    finally:
        rabbitmq_server.resume()
        rabbitmq_server.start()
    assert container.state == "TERMINATED"


async def test_many_calls_that_end_together_are_late_not_unavailable(amqp_url: str) -> None:
    class Slow(Service, name="slow", concurrency=2000):
        async def op_wait(self) -> None:
            await asyncio.sleep(30)

    async with (
        Container(amqp_url, sysname="late") as server,
        Container(amqp_url, sysname="late") as client,
    ):
        await server.spawn(Slow)
        calls = [client.rpc_send("slow", "wait", timeout=2) for _ in range(1500)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded}
