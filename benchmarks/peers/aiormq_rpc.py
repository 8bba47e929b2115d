"""Raw aiormq: a hand-written rpc, one future a call, confirms not awaited, acks after the reply."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import aiormq
import msgpack
from aiormq.abc import DeliveredMessage

from benchmarks import load, role
from benchmarks.payload import record

QUEUE = "aiormq_echo"


async def server(url: str) -> None:
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=256)
    await channel.queue_declare(QUEUE, durable=True)

    async def on_request(message: DeliveredMessage) -> None:
        properties = message.header.properties
        await channel.basic_publish(
            msgpack.packb(msgpack.unpackb(message.body)),
            routing_key=properties.reply_to or "",
            properties=aiormq.spec.Basic.Properties(correlation_id=properties.correlation_id),
            wait=False,
        )
        await channel.basic_ack(message.delivery_tag or 0, wait=False)

    await channel.basic_consume(QUEUE, on_request)
    role.say_ready()
    await role.until_stopped()
    await connection.close()


async def client(url: str, seconds: float) -> Any:
    content = record()
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    replies = (await channel.queue_declare("", exclusive=True)).queue
    waiting: dict[str, asyncio.Future[Any]] = {}
    numbers = itertools.count()
    loop = asyncio.get_running_loop()

    async def on_reply(message: DeliveredMessage) -> None:
        key = message.header.properties.correlation_id or ""
        waiting.pop(key).set_result(msgpack.unpackb(message.body))

    async def call() -> Any:
        key = str(next(numbers))
        waiting[key] = future = loop.create_future()
        await channel.basic_publish(
            msgpack.packb(content),
            routing_key=QUEUE,
            properties=aiormq.spec.Basic.Properties(correlation_id=key, reply_to=replies),
            wait=False,
        )
        return await future

    await channel.basic_consume(replies or "", on_reply, no_ack=True)
    assert await call() == content
    figures = await load.measure_all(call, seconds)
    await connection.close()
    return figures


if __name__ == "__main__":
    o = role.options()
    role.run(server(o.url) if o.role == "server" else client(o.url, o.seconds), o.loop)
