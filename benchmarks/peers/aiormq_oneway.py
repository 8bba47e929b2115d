"""Raw aiormq one way: the same as the aio-pika pair, without aio-pika.

Without ``--window`` each publish waits until its frames are written (aiormq's ``wait=False`` keeps
publishing into a growing buffer, so it is no fair pair).
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage

from benchmarks import load, role

QUEUE = "aiormq_oneway"


async def subscribe(url: str, size: int, seconds: float, *, ack: bool) -> Any:
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=256)
    await channel.queue_declare(QUEUE, durable=True)
    counter, done = load.Counter(size, seconds), asyncio.Event()

    async def on_message(message: DeliveredMessage) -> None:
        if ack:
            await channel.basic_ack(message.delivery_tag or 0, wait=False)
        if counter.take(message.body):
            done.set()

    await channel.basic_consume(QUEUE, on_message, no_ack=not ack)
    role.say_ready()
    await asyncio.wait_for(done.wait(), role.PATIENCE)
    return counter.figures()


async def publish(url: str, size: int, window: int, *, persistent: bool) -> None:
    connection = await aiormq.connect(url)
    channel = await connection.channel(publisher_confirms=bool(window))
    properties = aiormq.spec.Basic.Properties(delivery_mode=2 if persistent else 1)
    body = bytes(size)

    async def publisher() -> None:
        while True:
            await channel.basic_publish(body, routing_key=QUEUE, properties=properties, wait=True)

    await asyncio.gather(*(publisher() for _ in range(window or 1)))


if __name__ == "__main__":
    o = role.options()
    if o.role == "sub":
        role.run(subscribe(o.url, o.size, o.seconds, ack=bool(o.window)), o.loop)
    else:
        role.run(publish(o.url, o.size, o.window, persistent=bool(o.persistent)), o.loop)
