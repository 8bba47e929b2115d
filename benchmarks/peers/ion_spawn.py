"""Spawn 10,000 idle processes on the memory bus: microseconds and resident bytes for each."""

from __future__ import annotations

from typing import Any

from benchmarks import role
from benchmarks.resident import SPAWNS, resident_bytes, spawn_costs
from ion import Container, Process


class Idle(Process):
    """Waits for messages that hardly ever come."""

    async def op_ping_me(self) -> str:
        return self.id


async def main() -> Any:
    config = {"logging": {"level": "WARNING"}}
    async with Container("memory://", sysname="bench", config=config) as container:
        for _ in range(100):  # the first ones pay for what is made once
            await container.spawn(Idle)
        figures = await spawn_costs(lambda: container.spawn(Idle))
        idle, pids = resident_bytes(), list(container.processes)[-SPAWNS:]
        for pid in pids:  # each has worked once, and is idle again
            assert await container.rpc_send(pid, "ping_me") == pid
        more = max(resident_bytes() - idle, 0) / SPAWNS
        role.report(figures | {"worked_bytes": round(figures["bytes"] + more, 1)})
        await container.kill()


if __name__ == "__main__":
    o = role.options()
    role.run(main(), o.loop)
