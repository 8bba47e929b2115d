"""One-way messages: who sends without end does not stop the others."""

from __future__ import annotations

import asyncio

import pytest

from ion import BadRequest, Container, Process
from ion.process.endpoint.one_way import TURN

MANY = 10 * TURN


class Counter(Process):
    """Counts."""

    count = 0

    async def op_add(self) -> None:
        self.count += 1


@pytest.mark.parametrize("way", ["confirmed", "handed over", "published"])
async def test_the_event_loop_gets_its_turn_while_somebody_sends(way: str) -> None:
    loop = asyncio.get_running_loop()
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if turns < MANY:
            loop.call_soon(turn)

    async with Container("memory://") as container:
        pid = await container.spawn(Counter)
        turn()
        for _ in range(MANY):
            if way == "published":
                await container.publish("news", "of.nobody")
            else:
                await container.send(pid, "add", confirm=way == "confirmed")
        assert turns > MANY // TURN


async def test_a_timeout_fits_the_headers_on_every_transport(container: Container) -> None:
    pid = await container.spawn(Counter)
    await container.rpc_send(pid, "add", timeout=1e12)
    with pytest.raises(BadRequest, match="timeout must be a number of seconds above 0"):
        await container.rpc_send(pid, "add", timeout=1e30)
