"""aio-pika one way: publish with its own channel, consume with a callback.

With ``--window N`` the channel confirms and at most N publishes are awaited at once; without, the
channel does not confirm. The consumer acknowledges every message where the window is set.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, DeliveryMode

from benchmarks import load, role

QUEUE = "aio_pika_oneway"


async def subscribe(url: str, size: int, seconds: float, *, ack: bool) -> Any:
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=256)
    queue = await channel.declare_queue(QUEUE, durable=True)
    counter, done = load.Counter(size, seconds), asyncio.Event()

    async def on_message(message: AbstractIncomingMessage) -> None:
        if ack:
            await message.ack()
        if counter.take(message.body):
            done.set()

    await queue.consume(on_message, no_ack=not ack)
    role.say_ready()
    await asyncio.wait_for(done.wait(), role.PATIENCE)
    return counter.figures()


async def publish(url: str, size: int, window: int, *, persistent: bool) -> None:
    connection = await aio_pika.connect(url)
    channel = await connection.channel(publisher_confirms=bool(window))
    mode = DeliveryMode.PERSISTENT if persistent else DeliveryMode.NOT_PERSISTENT
    body = bytes(size)

    async def publisher() -> None:
        while True:
            message = aio_pika.Message(body, delivery_mode=mode)
            await channel.default_exchange.publish(message, QUEUE)

    await asyncio.gather(*(publisher() for _ in range(window or 1)))


if __name__ == "__main__":
    o = role.options()
    if o.role == "sub":
        role.run(subscribe(o.url, o.size, o.seconds, ack=bool(o.window)), o.loop)
    else:
        role.run(publish(o.url, o.size, o.window, persistent=bool(o.persistent)), o.loop)
