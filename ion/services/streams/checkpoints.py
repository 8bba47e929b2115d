"""Checkpoints: how far streams were heard by the names of subscriptions, and whose turn it is.

Several instances of the service keep them in one store, and their clocks may differ.
"""

from __future__ import annotations

import contextlib

import msgspec

from ion.base import clock
from ion.base.errors import Conflict
from ion.base.ids import new_mark
from ion.base.sightings import Sightings
from ion.process.granules.consumer_lease import Place
from ion.stores.store import ABSENT, Datastore, Store

STORE = "stream_positions"
TRIES = 20  # a change that others come before is made once more
SKEW = 60.0  # seconds that clocks may differ by: what has ended longer ago has ended by all of them
_encode = msgspec.msgpack.Encoder().encode
_place = msgspec.msgpack.Decoder(Place).decode


class Checkpoints:
    """Checkpoints in a store, changed by compare-and-set.

    All calls raise :class:`~ion.base.errors.Unavailable` where the store is away.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sightings = Sightings()

    @classmethod
    async def open(cls, datastore: Datastore) -> Checkpoints:
        """Open them; made where there are none."""
        return cls(await datastore.store(STORE))

    async def claim(self, stream: str, name: str, owner: str, lease: float) -> Place:
        """Let one hear the stream, unless it is another one's turn; return the place then.

        :param lease: seconds that it may be silent for.
        :raises Conflict: others claim it all the time.
        """
        for _ in range(TRIES):
            place, revision = await self._read(stream, name)
            now = clock.now()
            silent = self._sightings.unchanged(_key(stream, name), revision)
            is_over = now > place.until + SKEW or silent >= lease
            if place.owner not in ("", owner) and not is_over:
                return place
            tries = place.tries + (place.owner not in ("", owner))
            mine = Place(owner, now + lease, place.after, place.born or new_mark(), tries)
            if await self._put(stream, name, mine, revision):
                return mine
        message = f"stream {stream!r}: others claim {name!r} all the time"
        raise Conflict(message)

    async def keep(
        self, stream: str, name: str, owner: str, after: int | None, lease: float, *, ends: bool
    ) -> bool:
        """Note how far one has come; return whether it is still its turn.

        :param ends: it is the next one's then.
        """
        for _ in range(TRIES):
            place, revision = await self._read(stream, name)
            if place.owner != owner:
                return False
            owned = ("", 0.0) if ends else (owner, clock.now() + lease)
            tries = place.tries if after == place.after and not ends else 0
            if await self._put(stream, name, Place(*owned, after, place.born, tries), revision):
                return True
        return False

    async def forget(self, stream: str, name: str) -> None:
        """Let the next one begin anew."""
        await self._store.remove(_key(stream, name))

    async def forget_all(self, stream: str) -> None:
        """Forget all places of a stream."""
        after: str | None = None
        while True:
            page = await self._store.keys(f"{stream} ", after=after)
            for key in page.items:
                if key.rpartition(" ")[0] == stream:  # the name of a stream may have blanks
                    await self._store.remove(key)
            after = page.cursor
            if after is None:
                return

    async def _read(self, stream: str, name: str) -> tuple[Place, int]:
        entry = await self._store.entry(_key(stream, name))
        if entry is None:
            return Place(), ABSENT
        with contextlib.suppress(ValueError):  # an older ION has kept the offset alone, as a text
            return Place(after=int(entry.value)), entry.revision
        return _place(entry.value), entry.revision

    async def _put(self, stream: str, name: str, place: Place, revision: int) -> bool:
        try:
            key = _key(stream, name)
            revision = await self._store.put(key, _encode(place), revision=revision)
        except Conflict:
            return False
        self._sightings.unchanged(key, revision)
        return True


def _key(stream: str, name: str) -> str:
    return f"{stream} {name}"
