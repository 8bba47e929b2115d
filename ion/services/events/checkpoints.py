"""Checkpoints: how far replays of durable subscriptions are, each in one process at a time.

Several instances of the service keep them in one store, and their clocks may differ.
"""

from __future__ import annotations

import msgspec

from ion.base import clock
from ion.base.errors import Conflict
from ion.base.sightings import Sightings
from ion.messaging import codec
from ion.process.events.repository import Place
from ion.stores.store import ABSENT, Store

TRIES = 20
SKEW = 60.0  # seconds that clocks may differ by: what has ended longer ago has ended by all of them


class Checkpoints:
    """The checkpoints in one store, by name of the subscription."""

    def __init__(self, rows: Store) -> None:
        self._rows = rows
        self._sightings = Sightings()

    async def claim(self, name: str, owner: str, lease: float) -> Place:
        """Let a process replay, unless it is done, or another does; return the place as it is then.

        :param lease: seconds that it may be silent for.
        :raises Conflict: others claim it all the time.
        """
        for _ in range(TRIES):
            place, revision = await self._read(name)
            now = clock.now()
            is_over = now > place.until + SKEW or self._sightings.unchanged(name, revision) >= lease
            if place.done or (place.owner not in ("", owner) and not is_over):
                return place
            mine = msgspec.structs.replace(place, owner=owner, until=now + lease)
            if await self._put(name, mine, revision):
                return mine
        message = f"place {name!r}: others claim it all the time"
        raise Conflict(message)

    async def keep(self, name: str, owner: str, after: int, done: bool, lease: float) -> bool:
        """Note how far a replay is; return whether it is still its owner's."""
        for _ in range(TRIES):
            place, revision = await self._read(name)
            if place.owner != owner:
                return False
            if await self._put(name, Place(owner, clock.now() + lease, after, done), revision):
                return True
        return False

    async def forget(self, name: str) -> None:
        """Let the next replay begin anew."""
        await self._rows.remove(name)

    async def _read(self, name: str) -> tuple[Place, int]:
        entry = await self._rows.entry(name)
        if entry is None:
            return Place(), ABSENT
        return msgspec.convert(codec.decode(entry.value), Place), entry.revision

    async def _put(self, name: str, place: Place, revision: int) -> bool:
        try:
            revision = await self._rows.put(name, codec.encode(place)[0], revision=revision)
        except Conflict:
            return False
        self._sightings.unchanged(name, revision)
        return True
