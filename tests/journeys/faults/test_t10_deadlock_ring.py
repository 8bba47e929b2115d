"""T10: calls that would wait on themselves are refused, and the refusal names the ring.

Each service handles one message at a time: of a ring of one, two or three of them, the last call
could never begin. All calls have far deadlines: the refusal is what ends them.
"""

from __future__ import annotations

import asyncio

import pytest

from ion import CallCycle, Service

FAR = 60.0
SOON = 30.0  # seconds, on any machine
RINGS = (50, 2_000)


class Ring(Service, name="r0", version="1.0.0", concurrency=1):
    """Calls the next of the ring; tells what came of it."""

    def __init__(self, size: int) -> None:
        self.size = size

    async def op_pass(self) -> dict[str, object]:
        number = (int(self.service_name[1:]) + 1) % self.size
        try:
            result: dict[str, object] = await self.rpc_send(f"r{number}", "pass", {}, timeout=FAR)
        except CallCycle as error:
            return {"message": error.message, "cycle": error.details["cycle"]}
        return result


class Ring1(Ring, name="r1"):
    pass


class Ring2(Ring, name="r2"):
    pass


class Wide(Service, name="wide", version="1.0.0", concurrency=2):
    """Has room for a call to itself."""

    async def op_pass(self, left: int) -> str:
        if not left:
            return "arrived"
        result: str = await self.rpc_send("wide", "pass", {"left": left - 1}, timeout=FAR)
        return result


MEMBERS = (Ring, Ring1, Ring2)


@pytest.mark.parametrize("length", [1, 2, 3])
async def test_a_ring_is_refused_by_name(container, other, length, bus, new_tally, size):
    tally = new_tally(f"T10 ring of {length} on {kind(bus)}")
    for number, member in enumerate(MEMBERS[:length]):
        await (container, other)[number % 2].spawn(member, args={"size": length})
    expected = [f"r{number % length}.pass" for number in range(length + 1)]
    for _ in range(size(*RINGS)):
        tally.sent += 1
        async with asyncio.timeout(SOON):
            said = await other.rpc_send("r0", "pass", {}, timeout=FAR)
        assert said["cycle"] == expected
        assert " -> ".join(expected) in said["message"]
        tally.failed["CallCycle"] += 1


async def test_a_ring_with_room_is_none(container, bus, new_tally):
    tally = new_tally(f"T10 self-call with room on {kind(bus)}")
    await container.spawn(Wide)
    tally.sent = 1
    async with asyncio.timeout(SOON):
        assert await container.rpc_send("wide", "pass", {"left": 1}) == "arrived"
    tally.answered = 1


def kind(bus: tuple[str, dict[str, object]]) -> str:
    """Return a word for the transport of the fixture ``bus``."""
    url, config = bus
    if url.startswith("memory"):
        return "memory"
    return "amqp" if config["broker.lean"] else "amqp plain"
