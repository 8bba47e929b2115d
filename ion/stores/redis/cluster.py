"""The way to the node of a Redis Cluster that has a store.

All keys of a store are in one slot, so that each of its links goes to one node at a time: what is
sent together is done in order, and a connection that was cut is forgotten by that node before
anything else is sent to it (:mod:`.link`). Where the slot has gone to another node, the link
follows. A node that comes back after another took over from it drops what it has done since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis import exceptions as errors
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from ion.stores.redis.link import Command, Place, Reply, Session, SingleLink, connection_of

_LOOK = 2.0  # seconds for one node to say which has what
_MOST_TRIES = 16  # of what is elsewhere, or on its way there
_PAUSE = 0.05  # seconds, while it is
_WHO_HAS = (b"CLUSTER", b"SLOTS")
_ASKING = (b"ASKING",)
_SCRIPTS = (b"EVAL", b"EVALSHA")
_ELSEWHERE = (errors.AskError, errors.TryAgainError)  # a MovedError is an AskError


class Nodes:
    """The nodes of a cluster, and which slots each has.

    :param url: of one of them; what it says besides host and port is of all.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        first = connection_of(url)
        self._first = Place(str(first.host), int(first.port))  # type: ignore[attr-defined]
        # Connections that were cut while a node may have been at work for them.
        self._given_up: dict[Place, set[Session]] = {self._first: set()}
        self._owners: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._doubtful: set[Place] = set()  # they have failed since we were told who has what
        self._lock = asyncio.Lock()

    async def owner(self, slot: int) -> Place:
        """Return the node that has a slot.

        :raises Exception: no node says; that of the last one that was asked.
        """
        if self._is_unsure(slot):
            async with self._lock:
                if self._is_unsure(slot):  # nobody has looked meanwhile
                    await self._look()
        place = self._owners[slot]
        if place is None:
            message = f"no node has slot {slot}"
            raise errors.ClusterDownError(message)
        return place

    def moved(self, slot: int, place: Place) -> None:
        """Take note of which node has a slot now."""
        self._owners[slot] = place

    def doubt(self, place: Place) -> None:
        """Have the nodes asked again who has what this one had."""
        self._doubtful.add(place)

    def link(self, place: Place) -> SingleLink:
        """Return a new link to a node."""
        return SingleLink(self._url, self._given_up.setdefault(place, set()), place)

    def links_to_forget(self) -> list[SingleLink]:
        """Return links to the nodes that may be at work for what was cut."""
        return [self.link(place) for place, cut in self._given_up.items() if cut]

    def _is_unsure(self, slot: int) -> bool:
        place = self._owners[slot]
        return place is None or place in self._doubtful

    async def _look(self) -> None:
        """Ask the nodes, those first that have something, and have not failed."""
        owners = set(self._owners) - self._doubtful
        error: Exception | None = None
        for place in sorted(self._given_up, key=lambda place: place not in owners):
            try:
                self._learn(await self._told(place), place)
            except (OSError, errors.RedisError) as failure:
                error = failure
            else:
                return
        assert error is not None
        raise error

    async def _told(self, place: Place) -> Reply:
        """Return what a node says about who has what."""
        link = self.link(place)
        try:
            async with asyncio.timeout(_LOOK):
                (reply,) = await link.exchange([_WHO_HAS])
        finally:
            await link.close()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _learn(self, reply: Reply, teller: Place) -> None:
        owners: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, node, *_ in reply:
            place = _place(node[0], node[1], teller)
            owners[first : last + 1] = [place] * (last + 1 - first)
            self._given_up.setdefault(place, set())
        self._owners = owners
        self._doubtful.clear()


class SlotLink:
    """See :class:`~ion.stores.redis.link.Link`: what is sent together is of one slot."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._links: dict[Place, SingleLink] = {}

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """See :meth:`Link.exchange`."""
        slot = key_slot(_key_of(commands[0]))
        place = await self._nodes.owner(slot)
        replies = await self._asked(place, commands)
        for _ in range(_MOST_TRIES):
            elsewhere = [n for n, r in enumerate(replies) if isinstance(r, _ELSEWHERE)]
            if not elsewhere:
                break
            some = [commands[number] for number in elsewhere]
            place, again = await self._again(slot, place, replies[elsewhere[0]], some)
            for number, reply in zip(elsewhere, again, strict=True):
                replies[number] = reply
        return replies

    async def close(self) -> None:
        """See :meth:`Link.close`."""
        links, self._links = self._links, {}
        for link in links.values():
            await link.close()

    async def _again(
        self, slot: int, place: Place, why: Exception, commands: Sequence[Command]
    ) -> tuple[Place, list[Reply]]:
        """Send commands that were done nowhere to where they belong; return what has the slot."""
        if not isinstance(why, errors.AskError):
            await asyncio.sleep(_PAUSE)
            return place, await self._asked(place, commands)
        there = _place(why.host, why.port, place)
        if isinstance(why, errors.MovedError):
            self._nodes.moved(slot, there)
            await self.close()
            return there, await self._asked(there, commands)
        both = [word for command in commands for word in (_ASKING, command)]
        return place, (await self._asked(there, both))[1::2]

    async def _asked(self, place: Place, commands: Sequence[Command]) -> list[Reply]:
        link = self._links.get(place)
        if link is None:
            link = self._links[place] = self._nodes.link(place)
        try:
            return await link.exchange(commands)
        except BaseException:
            self._nodes.doubt(place)
            raise


def _key_of(command: Command) -> bytes:
    return command[3 if command[0] in _SCRIPTS else 1]


def _place(host: Any, port: int, teller: Place) -> Place:
    """Return where a node is; one that does not know its own host is where it was asked."""
    name = host.decode() if isinstance(host, bytes) else host
    return Place(name if name and name != "?" else teller.host, port)
