"""What a process may keep: stores of its container's datastore, and units of work.

It is mixed into :class:`~ion.process.process.Process`, and needs no ``__init__``.
"""

from __future__ import annotations

import asyncio

from ion.process.exactly_once.unit_of_work import Unit
from ion.process.host import Host
from ion.stores.store import Datastore, IndexStore, Indices, Store


class Storing:
    """The surface for data that outlives the process: ``store.url`` says where it is kept.

    All calls raise :class:`~ion.base.errors.Unavailable` where the store is away, and
    :class:`~ion.base.errors.StoreError` where it cannot be read; in ``on_init`` that fails the
    start of the process.
    """

    id: str
    _host: Host
    _contention: asyncio.Lock | None = None

    async def datastore(self) -> Datastore:
        """Return the container's datastore, which the first call opens."""
        return await self._host.datastore()

    async def store(self, name: str) -> Store:
        """Return the store of a name; made where there is none yet. See :class:`Store`."""
        return await (await self._host.datastore()).store(name)

    async def index_store(self, name: str, indices: Indices) -> IndexStore:
        """Return the index store of a name, made where need be. See :class:`IndexStore`."""
        return await (await self._host.datastore()).index_store(name, indices)

    def unit_of_work(self, *stores: str) -> Unit:
        """Begin a unit of work, for ``async with``: done where the block ends, or not at all.

        In a handler, the commit at its end holds the writes to stores, the messages sent by the
        unit, and that this message is handled: its effect happens once, however often the
        container is killed and the message comes again.

        :param stores: names of plain stores to open first; others were opened before.
        :raises InvalidRequest: the store has no transactions (Redis), or is none of these.
        """
        return Unit(self._host, self.id, stores)
