"""FastStream's ``broker.request``, as its documentation shows it (JSON)."""

from __future__ import annotations

import logging
from typing import Any

from faststream.rabbit import RabbitBroker

from benchmarks import load, role
from benchmarks.payload import record

QUEUE = "faststream_echo"


async def server(url: str) -> None:
    broker = RabbitBroker(url, logger=None)

    @broker.subscriber(QUEUE)
    async def echo(content: dict[str, Any]) -> dict[str, Any]:
        return content

    await broker.start()
    role.say_ready()
    await role.until_stopped()
    await broker.stop()


async def client(url: str, seconds: float) -> Any:
    content = record()
    broker = RabbitBroker(url, logger=None)
    await broker.start()

    async def call() -> Any:
        answer = await broker.request(content, QUEUE, timeout=role.PATIENCE)
        return await answer.decode()

    assert await call() == content
    figures = await load.measure_all(call, seconds)
    await broker.stop()
    return figures


if __name__ == "__main__":
    logging.disable(logging.INFO)
    o = role.options()
    role.run(server(o.url) if o.role == "server" else client(o.url, o.seconds), o.loop)
