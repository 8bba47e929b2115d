"""The least an asyncio actor can be: a queue and a task; a future a call; nothing is encoded."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from benchmarks import load, role
from benchmarks.payload import record


class BareActor:
    """A mailbox and the task that serves it."""

    def __init__(self) -> None:
        self.mailbox: asyncio.Queue[tuple[Any, asyncio.Future[Any]]] = asyncio.Queue()
        self.task = asyncio.create_task(self.serve())

    async def serve(self) -> None:
        while True:
            content, answer = await self.mailbox.get()
            answer.set_result(await self.echo(content))

    async def echo(self, content: Any) -> Any:
        return content

    async def ask(self, content: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.mailbox.put_nowait((content, answer))
        return await answer


async def main(seconds: float) -> Any:
    actor, content = BareActor(), record()
    assert await actor.ask(content) == content
    figures = await load.measure_all(lambda: actor.ask(content), seconds)
    actor.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await actor.task
    return figures


if __name__ == "__main__":
    o = role.options()
    role.run(main(o.seconds), o.loop)
