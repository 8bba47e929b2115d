"""The lanes of a datastore: small calls do not wait for large ones."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ion.stores.conflicts import closed
from ion.stores.redis.cluster import Nodes, SlotLink
from ion.stores.redis.lane import Lane
from ion.stores.redis.layout import Space
from ion.stores.redis.link import Session, SingleLink, forget

SIDE_LANES = 3


class Lanes(Protocol):
    """Where the calls of a store go."""

    def main(self, space: Space) -> Lane:
        """Return the lane for small calls."""

    def side(self, space: Space) -> Lane:
        """Return a lane for what is large, or takes its time."""

    async def close(self) -> None:
        """Finish what was begun, and disconnect. Never raises."""


class SingleLanes:
    """Four connections to one server."""

    def __init__(self, url: str, where: str, timeout: float) -> None:
        given_up: set[Session] = set()
        self._given_up = given_up
        self._url = url
        self._where = where
        self._main = Lane(SingleLink(url, given_up), where, timeout)
        self._side = [Lane(SingleLink(url, given_up), where, timeout) for _ in range(SIDE_LANES)]

    def main(self, space: Space) -> Lane:
        """See :meth:`Lanes.main`."""
        return self._main

    def side(self, space: Space) -> Lane:
        """See :meth:`Lanes.side`."""
        return min(self._side, key=_count)

    async def close(self) -> None:
        """See :meth:`Lanes.close`."""
        await asyncio.gather(*(lane.close() for lane in (self._main, *self._side)))
        if self._given_up:
            await forget([SingleLink(self._url, self._given_up)], self._where)


class ClusterLanes:
    """Two lanes for each store: it is on one node, and none waits for the nodes of others."""

    def __init__(self, url: str, where: str, timeout: float) -> None:
        self._nodes = Nodes(url)
        self._where = where
        self._timeout = timeout
        self._lanes: dict[tuple[str, bool], Lane] = {}
        self._is_closed = False

    def main(self, space: Space) -> Lane:
        """See :meth:`Lanes.main`."""
        return self._lane(space, is_main=True)

    def side(self, space: Space) -> Lane:
        """See :meth:`Lanes.side`."""
        return self._lane(space, is_main=False)

    def _lane(self, space: Space, *, is_main: bool) -> Lane:
        lane = self._lanes.get((space.name, is_main))
        if lane is None:
            if self._is_closed:
                raise closed(self._where)
            lane = Lane(SlotLink(self._nodes), self._where, self._timeout)
            self._lanes[space.name, is_main] = lane
        return lane

    async def close(self) -> None:
        """See :meth:`Lanes.close`."""
        self._is_closed = True
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))
        links = self._nodes.links_to_forget()
        if links:
            await forget(links, self._where)


def _count(lane: Lane) -> int:
    return lane.count
