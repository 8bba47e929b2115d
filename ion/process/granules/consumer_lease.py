"""Whose turn it is to hear a stream again for a name, and how far that one has come.

The service ``streams`` keeps both. Who subscribes by a name waits until it is its turn, hears from
then on all that comes, and says now and then that it is there; the next one goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ion.base.errors import IonError
from ion.base.ids import new_mark

if TYPE_CHECKING:
    from ion.process.process import Process

log = logging.getLogger(__name__)
SERVICE = "streams"
LEASE = 10.0  # seconds of silence after which it is another one's turn
PAUSE = 0.5  # seconds before it asks again whether it is its turn
TIMEOUT = 5.0  # seconds that the service has for an answer
LAST = 0.5  # seconds that it has for the last one: it may have ended before
EVERY = 0.05  # seconds between two words of how far it is: what was handled since may come again


class Place(msgspec.Struct, frozen=True):
    """How far a stream was heard by a name, as the service keeps it.

    :ivar owner: whose turn it is, or "".
    :ivar until: when it is not any more, unless it says something before; seconds since 1970, UTC.
    :ivar after: offset of the last granule that was handled, with all before it; None: none was.
    :ivar tries: how many have become silent right behind it: perhaps what comes next kills them.
    :ivar born: tells it from the place of that name before it was forgotten.
    """

    owner: str = ""
    until: float = 0.0
    after: int | None = None
    born: str = ""
    tries: int = 0


class ConsumerLease:
    """The turn of one subscription among those of its name.

    :ivar is_mine: whether it is its turn.
    """

    def __init__(self, process: Process, stream: str, name: str) -> None:
        self.is_mine = False
        self._process = process
        self._key = {"stream": stream, "name": name}
        self._mine = {**self._key, "owner": f"{process.id}-{new_mark()}", "lease": LEASE}
        self._after: int | None = None
        self._moved = asyncio.Event()
        self._noted: int | None = None
        self._told = asyncio.Event()

    async def come(self) -> Place:
        """Return, when it is its turn, how far the one before has come.

        :raises IonError: the service is away.
        """
        while True:
            place = msgspec.convert(await self._ask("claim", self._mine), Place)
            if place.owner == self._mine["owner"]:
                self._after = self._noted = place.after
                self.is_mine = True
                return place
            await asyncio.sleep(PAUSE)

    def handled(self, after: int) -> None:
        """Take note that all granules up to an offset were handled."""
        self._after = after
        self._moved.set()

    async def noted(self, is_idle: Callable[[], bool]) -> None:
        """Return when all that is in hand was handled, and the service knows it; or it is too late.

        :param is_idle: returns whether nothing is in hand.
        """
        while self.is_mine and not (is_idle() and self._noted == self._after):
            self._told.clear()
            await self._told.wait()

    async def keep(self, lost: Callable[[], None]) -> None:
        """Tell the service, for ever, how far this has come, at the latest in a third of a lease.

        :param lost: is called where it is another one's turn: this was silent for too long.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE / 3):
                    await self._moved.wait()
            self._moved.clear()
            if not self.is_mine:
                continue
            try:
                is_mine = await self._note()
            except IonError as error:
                log.debug("not told how far %s is heard: %s", self._key, error)
                await asyncio.sleep(PAUSE)
                self._moved.set()
                continue
            if not is_mine and self.is_mine:
                self.is_mine = False
                log.warning("%r: another one hears %s: this was silent", self._process, self._key)
                lost()
            self._told.set()
            await asyncio.sleep(EVERY)

    async def leave(self) -> None:
        """Let the next one have its turn. Never raises."""
        if self.is_mine:
            self.is_mine = False
            with contextlib.suppress(IonError):
                await self._note(ends=True)

    async def forget(self) -> None:
        """Let whoever is next begin anew.

        :raises IonError: the service is away.
        """
        self.is_mine = False
        await self._ask("forget_place", self._key)

    async def _note(self, *, ends: bool = False) -> bool:
        after = self._after
        content = {**self._mine, "after": after, "ends": ends}
        is_mine = bool(await self._ask("keep_place", content, LAST if ends else TIMEOUT))
        self._noted = after
        return is_mine

    async def _ask(self, op: str, content: Any, timeout: float = TIMEOUT) -> Any:
        return await self._process.rpc_send(SERVICE, op, content, timeout)
