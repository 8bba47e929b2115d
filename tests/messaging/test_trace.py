"""Copies for observers: what is copied, what is told of it, and that nothing depends on it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ion import Container, Process, Service, ServiceNotFound, connect
from ion.messaging.trace import TracedTransport

Bus = tuple[str, dict[str, Any]]


class Greeter(Service, name="greeter"):
    """Greets."""

    async def op_hello(self, text: str) -> str:
        return f"Hello there, {text}"


class Observer(Process):
    """Keeps the copies."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, Any, dict[str, Any]]] = []

    async def on_activate(self) -> None:
        await self.subscribe("trace", "#", self.on_copy)

    async def on_copy(self, content: Any, headers: Any, msg: Any) -> None:
        told = headers["copy-of"]
        assert msg.topic == told["key"]
        if not told["exchange"].endswith("events"):  # what containers tell of themselves
            self.seen.append((msg.topic, msg.op, content, told))

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.seen) < count:
                await asyncio.sleep(0.005)


async def test_an_observer_sees_requests_answers_and_events(bus: Bus) -> None:
    url, config = bus
    async with (
        Container(url, sysname="test", config=config) as watching,
        Container(url, sysname="test", config={**config, "messaging.trace": True}) as container,
    ):
        observer = watching.processes[await watching.spawn(Observer)]
        assert isinstance(observer, Observer)
        await container.spawn(Greeter)
        observer.seen.clear()
        assert await container.rpc_send("greeter", "hello", {"text": "you"}) == "Hello there, you"
        await container.send("greeter", "hello", {"text": "all"})
        await container.publish("weather", "storm.north", {"force": 9})
        with pytest.raises(ServiceNotFound):
            await container.rpc_send("nobody", "hello")
        await watching.rpc_send("greeter", "hello", {"text": "me"})  # it is asked by who traces not
        await observer.wait_for(6)

    request, answer, one_way, event, lost, other = observer.seen
    reply_queue = f"test.{container.id}.reply"
    assert request[:3] == ("greeter", "hello", {"text": "you"})
    assert request[3]["exchange"] == "test.xs"
    assert request[3]["reply-to"] == reply_queue
    assert request[3]["headers"]["protocol"] == "rpc"
    assert answer[:3] == (reply_queue, "hello", "Hello there, you")
    assert (answer[3]["exchange"], answer[3]["headers"]["status"]) == ("", "OK")
    assert answer[3]["correlation-id"] == request[3]["correlation-id"]
    assert one_way[:3] == ("greeter", "hello", {"text": "all"})
    assert one_way[3]["reply-to"] == ""
    assert event[:3] == ("storm.north", "event", {"force": 9})
    assert event[3]["exchange"] == "test.xp.weather"
    assert lost[0] == "nobody"
    assert other[:3] == (f"test.{watching.id}.reply", "hello", "Hello there, me")


async def test_nothing_that_proves_who_somebody_is_is_copied(bus: Bus) -> None:
    url, config = bus
    traced = {**config, "messaging.trace": True, "identity.verify": "off"}
    async with Container(url, sysname="test", config=traced) as container:
        observer = container.processes[await container.spawn(Observer)]
        assert isinstance(observer, Observer)
        await container.spawn(Greeter)
        async with connect(url, sysname="test", config=traced, token="a.b.c") as script:
            observer.seen.clear()
            await script.rpc_send("greeter", "hello", {"text": "you"})
        await observer.wait_for(2)
    assert all("token" not in told["headers"] for *_, told in observer.seen)


async def test_who_asks_for_no_copies_has_no_wrapper() -> None:
    async with Container("memory://") as container:
        assert not isinstance(container.transport, TracedTransport)
