"""Checkpoints of replays, of events and of streams: whose turn it is, whatever the clocks say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ion.base import clock
from ion.base.sightings import MOST, Sightings
from ion.services.events.checkpoints import Checkpoints as EventCheckpoints
from ion.services.streams.checkpoints import Checkpoints as StreamCheckpoints
from ion.stores.memory.datastore import MemoryDatastore

LEASE = 10.0


class Hands(clock.SystemClock):
    """A clock that is set by hand."""

    wall = 1e9
    passed = 0.0

    def now(self) -> float:
        return self.wall + self.passed

    def monotonic(self) -> float:
        return self.passed


class Events:
    """The checkpoints of events."""

    def __init__(self, store: Any) -> None:
        self._checkpoints = EventCheckpoints(store)

    async def claim(self, owner: str) -> Any:
        return await self._checkpoints.claim("crew", owner, LEASE)

    async def keep(self, owner: str, after: int) -> bool:
        return await self._checkpoints.keep("crew", owner, after, False, LEASE)


class Streams:
    """The checkpoints of streams."""

    def __init__(self, store: Any) -> None:
        self._checkpoints = StreamCheckpoints(store)

    async def claim(self, owner: str) -> Any:
        return await self._checkpoints.claim("ctd", "crew", owner, LEASE)

    async def keep(self, owner: str, after: int) -> bool:
        return await self._checkpoints.keep("ctd", "crew", owner, after, LEASE, ends=False)


@pytest.mark.parametrize("kind", [Events, Streams])
@pytest.mark.parametrize("ahead", [-50.0, 0.0, 50.0], ids=["behind", "right", "ahead"])
async def test_a_turn_is_lost_by_silence_and_not_by_a_wrong_clock(
    kind: Callable[[Any], Any], ahead: float
) -> None:
    datastore = MemoryDatastore("memory://")
    await datastore.open()
    store = await datastore.store("places")
    here, there = kind(store), kind(store)  # two instances, on two machines
    with clock.using(Hands()) as hands:
        assert (await here.claim("a")).owner == "a"
        for after in range(20):  # "a" is at work, and says so
            hands.passed += LEASE / 3
            hands.wall += ahead
            assert (await there.claim("b")).owner == "a"
            hands.wall -= ahead
            assert await here.keep("a", after)
        hands.wall += ahead
        assert (await there.claim("b")).owner == "a"
        hands.passed += LEASE - 1
        assert (await there.claim("b")).owner == "a"
        hands.passed += 2
        taken = await there.claim("b")
        assert (taken.owner, taken.after) == ("b", 19)
        hands.wall -= ahead
        assert not await here.keep("a", 20)
        hands.passed += 1000  # all were down: nobody waits for who is long gone
        assert (await kind(store).claim("c")).owner == "c"
    await datastore.close()


def test_sightings_are_bounded() -> None:
    sightings = Sightings()
    with clock.using(Hands()) as hands:
        for n in range(MOST + 1):
            assert sightings.unchanged(f"row {n}", 1) == 0
        hands.passed += 5
        assert sightings.unchanged("row 5", 1) == 5
        assert sightings.unchanged("row 5", 2) == 0
        assert sightings.unchanged("row 0", 1) == 0  # it was forgotten
        assert len(sightings._seen) == MOST
