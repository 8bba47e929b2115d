"""What an agent remembers: the state it was to be in, and the parameters that were set."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from ion.base.errors import StoreError, Unavailable
from ion.process.process import Process
from ion.services.instrument.machine import STATES
from ion.stores.store import Store

log = logging.getLogger(__name__)
STORE = "instruments"


class Remembered(msgspec.Struct):
    """What is kept of an agent.

    :ivar desired: the state that it was brought to last.
    :ivar parameters: of the device, as they were set last.
    :ivar own: of the agent.
    """

    desired: str = ""
    parameters: dict[str, Any] = {}
    own: dict[str, Any] = {}


class SavedState:
    """Keeps it in the container's datastore, under the name of the resource."""

    def __init__(self, resource: str) -> None:
        self._resource = resource
        self._store: Store | None = None
        self._restores = True
        self.kept = Remembered()

    async def open(self, process: Process, *, restore: bool) -> None:
        """Open the store, and read what is there.

        :raises StoreError: the store cannot be read.
        :raises Unavailable: it is away.
        """
        self._store = await process.store(STORE)
        self._restores = restore
        await self.read()

    async def read(self) -> None:
        """Read what is kept by now: by another instance, too. Errors as of :meth:`open`."""
        if self._store is None or not self._restores:
            return
        data = await self._store.get(self._resource)
        if data is None:
            return
        try:
            kept = msgspec.msgpack.decode(data, type=Remembered)
        except msgspec.MsgspecError as error:
            log.warning("what was remembered of %s cannot be read: %s", self._resource, error)
            return
        if kept.desired in ("", *STATES):
            self.kept = kept

    async def save(self) -> None:
        """Keep it. Where the store is away that is logged: the device has done what it was told."""
        if self._store is None:
            return
        try:
            await self._store.put(self._resource, msgspec.msgpack.encode(self.kept))
        except (StoreError, Unavailable) as error:
            log.warning("the state of %s is not kept: %s", self._resource, error)
