"""aio-pika's own ``patterns.RPC`` with its defaults: robust connection, pickle, confirms."""

from __future__ import annotations

from typing import Any

import aio_pika
from aio_pika.patterns import RPC

from benchmarks import load, role
from benchmarks.payload import record

NAME = "aio_pika_echo"


async def echo(*, content: dict[str, Any]) -> dict[str, Any]:
    return content


async def server(url: str) -> None:
    connection = await aio_pika.connect_robust(url)
    async with connection:
        rpc = await RPC.create(await connection.channel())
        await rpc.register(NAME, echo, auto_delete=True)
        role.say_ready()
        await role.until_stopped()


async def client(url: str, seconds: float) -> Any:
    content = record()
    connection = await aio_pika.connect_robust(url)
    async with connection:
        rpc = await RPC.create(await connection.channel())
        assert await rpc.call(NAME, {"content": content}) == content
        return await load.measure_all(lambda: rpc.call(NAME, {"content": content}), seconds)


if __name__ == "__main__":
    o = role.options()
    role.run(server(o.url) if o.role == "server" else client(o.url, o.seconds), o.loop)
