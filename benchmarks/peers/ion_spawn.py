"""Spawn 10,000 idle processes on the memory bus: microseconds and resident bytes for each."""

from __future__ import annotations

from typing import Any

from benchmarks import role
from benchmarks.resident import resident_bytes, timed_spawns
from ion import Container, Process


class Idle(Process):
    """Waits for messages that never come."""

    async def op_nothing(self) -> None:
        return None


async def main() -> Any:
    config = {"logging": {"level": "WARNING"}}
    async with Container("memory://", sysname="bench", config=config) as container:
        for _ in range(100):  # the first ones pay for what is made once
            await container.spawn(Idle)
        before = resident_bytes()
        elapsed, count = await timed_spawns(lambda: container.spawn(Idle))
        role.report({"us": elapsed * 1e6 / count, "bytes": (resident_bytes() - before) / count})
        await container.kill()


if __name__ == "__main__":
    o = role.options()
    role.run(main(), o.loop)
