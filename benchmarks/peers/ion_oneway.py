"""ION one way, on its transport (``blast``, ``confirmed``) or from ``send`` to an op (``send``).

``plain-blast``, ``plain-confirmed`` and ``plain-send`` are the same with the lean path off.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks import load, role
from ion import Container, Service
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery

MSGPACK_OVERHEAD = {1024: 3, 65_536: 3, 1_048_576: 5}  # bytes that msgpack puts before a bin
BREATH = 64  # publishes between two turns of the event loop
PREFETCH = 256


class Sink(Service, name="sink", version="1.0.0", prefetch=PREFETCH):
    """Counts what it is sent."""

    def __init__(self, size: int, seconds: float, done: asyncio.Event) -> None:
        self.counter = load.Counter(size, seconds)
        self.done = done

    async def op_take(self, content: bytes) -> None:
        if self.counter.take(content):
            self.done.set()


def container(o: argparse.Namespace) -> Container:
    lean = not o.variant.startswith("plain")
    config = {"logging": {"level": "WARNING"}, "broker": {"lean": lean}}
    return Container(o.url, sysname=o.system, config=config)


async def sub(o: argparse.Namespace) -> Any:
    done = asyncio.Event()
    async with container(o) as host:
        if o.variant.endswith("send"):
            size = o.size - MSGPACK_OVERHEAD[o.size]
            pid = await host.spawn(Sink, args={"size": size, "seconds": o.seconds, "done": done})
            counter: load.Counter = host.processes[pid].counter  # type: ignore[attr-defined]
        else:
            counter = load.Counter(o.size, o.seconds)
            await _consume(host, counter, done, ack=o.variant.endswith("confirmed"))
        role.say_ready()
        await asyncio.wait_for(done.wait(), role.PATIENCE)
        role.report(counter.figures())
        await host.kill()


async def _consume(
    host: Container, counter: load.Counter, done: asyncio.Event, *, ack: bool
) -> None:
    space, queue = host.namespace.exchange_space(), host.namespace.service_queue("sink")
    await host.transport.declare_exchange(space)
    await host.transport.declare_queue(queue)
    await host.transport.bind(queue.name, space.name, "sink")

    def on_delivery(delivery: Delivery) -> None:
        if ack:
            delivery.ack()
        if counter.take(delivery.envelope.body):
            done.set()

    await host.transport.consume(queue.name, on_delivery, prefetch=PREFETCH, no_ack=not ack)


async def pub(o: argparse.Namespace) -> None:
    async with container(o) as host:
        if o.variant.endswith("blast"):
            await _blast(host, Envelope("take", bytes(o.size)))
        elif o.variant.endswith("confirmed"):
            await _windowed(o.window, _confirmed(host, Envelope("take", bytes(o.size))))
        else:
            await _windowed(o.window, _send(host, bytes(o.size - MSGPACK_OVERHEAD[o.size])))


async def _blast(host: Container, envelope: Envelope) -> None:
    transport, space = host.transport, host.namespace.xs
    while True:
        for _ in range(BREATH):
            if not transport.writable:
                await transport.wait_writable(role.PATIENCE)
            transport.publish(space, "sink", envelope)
        await asyncio.sleep(0)


Publisher = Callable[[], Coroutine[Any, Any, None]]


def _confirmed(host: Container, envelope: Envelope) -> Publisher:
    async def publisher() -> None:
        while True:
            await host.transport.publish_confirmed(
                host.namespace.xs, "sink", envelope, mandatory=True, timeout=role.PATIENCE
            )

    return publisher


def _send(host: Container, content: bytes) -> Publisher:
    async def publisher() -> None:
        while True:
            await host.send("sink", "take", content)

    return publisher


async def _windowed(window: int, publisher: Publisher) -> None:
    await asyncio.gather(*(publisher() for _ in range(window)))


if __name__ == "__main__":
    options = role.options()
    role.run({"sub": sub, "pub": pub}[options.role](options), options.loop)
