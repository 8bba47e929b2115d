"""Spawn 10,000 bare asyncio actors (a queue and a task each), for comparison."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks import role
from benchmarks.peers.bare_actor import BareActor
from benchmarks.resident import spawn_costs


async def main() -> Any:
    actors: list[BareActor] = []

    async def spawn() -> None:
        actors.append(BareActor())
        await asyncio.sleep(0)  # its task begins to wait on the mailbox

    figures = await spawn_costs(spawn)
    for actor in actors:
        actor.task.cancel()
    await asyncio.gather(*(actor.task for actor in actors), return_exceptions=True)
    return figures


if __name__ == "__main__":
    o = role.options()
    role.run(main(), o.loop)
