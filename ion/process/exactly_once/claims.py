"""Claims: which container sends what is in an outbox that several share.

What a container has put there stands under a name of its own, its *owner*. It holds the claim to
that name by renewing a row. A row that was not renewed for the time of a lease, as seen by another
container's own clock (theirs may differ), is taken by compare-and-set: one container gets it. Where
the first was only slow, both send the same messages under the same ids.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping

from ion.base import clock
from ion.base.errors import Conflict
from ion.base.ids import new_mark
from ion.stores.store import ABSENT, Store


class Claims:
    """The claims of one container.

    :param rows: where they stand.
    :param sysname: of the system; others may have the same store.
    :param container: its id.
    :param lease: seconds.
    :ivar own: the owner under whose name this container puts messages; another one once it was
        thought gone.
    """

    def __init__(self, rows: Store, sysname: str, container: str, lease: float) -> None:
        self._rows = rows
        self._system = f"{sysname}/"
        self._container = container
        self._lease = lease
        self._held: dict[str, int] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._turn = asyncio.Lock()  # or the revision of a row would not be known
        self.own = self._new_owner()

    def holds(self, owner: str) -> bool:
        """Return whether this container has the claim to a name, as far as it knows."""
        return owner in self._held

    async def hold_own(self) -> None:
        """Take the claim to the own name, where it is not held.

        :raises Unavailable: the store is away.
        """
        async with self._turn:
            owner = self.own
            if owner not in self._held:
                self._held[owner] = await self._rows.put(self._system + owner, self._value())

    async def renew(self) -> list[str]:
        """Renew all claims; return the names that others have taken.

        :raises Unavailable: the store is away.
        """
        async with self._turn:
            lost = []
            for owner, revision in list(self._held.items()):
                if not await self._took(owner, revision):
                    del self._held[owner]
                    lost.append(owner)
            if self.own in lost:
                self.own = self._new_owner()
            return lost

    async def take(self, posted: Iterable[str]) -> list[str]:
        """Take the claims of those that are gone, and return their names.

        :param posted: the owners of what is in the outbox; some may have no row.
        :raises Unavailable: the store is away.
        """
        async with self._turn:
            there = dict.fromkeys(posted, ABSENT)
            async for owner, revision in self._others():
                there[owner] = revision
            return [owner for owner in self._gone(there) if await self._took(owner, there[owner])]

    def _gone(self, there: Mapping[str, int]) -> list[str]:
        """Return those that were not renewed for the time of a lease."""
        now = clock.monotonic()
        seen, self._seen = self._seen, {}
        gone = []
        for owner, revision in there.items():
            if owner in self._held or owner == self.own:
                continue
            before = seen.get(owner)
            since = before[1] if before is not None and before[0] == revision else now
            self._seen[owner] = revision, since
            is_former_self = owner.startswith(f"{self._container}.")
            if is_former_self or now - since >= self._lease:
                gone.append(owner)
        return gone

    async def give_up(self, owner: str) -> None:
        """Let go of a claim: there is nothing left under that name.

        :raises Unavailable: the store is away.
        """
        async with self._turn:
            revision = self._held.pop(owner, None)
            if revision is None:
                return
            with contextlib.suppress(Conflict):  # another one has it
                await self._rows.remove(self._system + owner, revision=revision)

    async def _took(self, owner: str, revision: int) -> bool:
        key = self._system + owner
        try:
            self._held[owner] = await self._rows.put(key, self._value(), revision=revision)
        except Conflict:
            return False
        return True

    async def _others(self) -> AsyncIterator[tuple[str, int]]:
        after = None
        while True:
            page = await self._rows.scan(self._system, after=after)
            for entry in page.items:
                yield entry.key.removeprefix(self._system), entry.revision
            after = page.cursor
            if after is None:
                return

    def _value(self) -> bytes:
        return self._container.encode()

    def _new_owner(self) -> str:
        return f"{self._container}.{new_mark()}"
