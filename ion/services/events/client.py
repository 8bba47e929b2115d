"""The client of the repository of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ion.process.client import ServiceClient
from ion.process.events.event import Event, path_of
from ion.process.events.repository import REPOSITORY, Filed, Found
from ion.process.storeerrors import heard
from ion.services.events.model import Info, Order

Type = type[Event] | str


class EventsClient(ServiceClient, service=REPOSITORY):
    """Finds events that were told, and has them told again.

    A type is a class, or the name or path of one; events of the types below are found, too. A
    ``*`` at the end of an origin, origin type, sub type or actor stands for any rest. Times are
    seconds since 1970, UTC. All calls raise :class:`~ion.base.errors.InvalidRequest` for what
    cannot be asked, and :class:`~ion.base.errors.Unavailable` where the store is away.
    """

    async def find(
        self,
        of: Type | None = None,
        *,
        order: Order = "offset",
        limit: int = 100,
        cursor: str | None = None,
        after: int | None = None,
        timeout: float | None = None,
        **wanted: Any,
    ) -> Found:
        """Return events, a page of them.

        :param order: ``offset`` (as they came), ``created``; with ``-`` in front, the newest first.
        :param cursor: of the page before.
        :param after: an offset: those with greater ones.
        :param wanted: ``origin``, ``origin_type``, ``sub_type``, ``actor``, ``since``, ``until``.
        """
        content = {**_wanted(of, wanted), "order": order, "limit": limit}
        content |= {"cursor": cursor, "after": after}
        with heard():
            found: Found = await self._call("find", content, timeout=timeout, returns=Found)
        return found

    async def count(
        self, of: Type | None = None, *, timeout: float | None = None, **wanted: Any
    ) -> int:
        """Return how many events there are; parameters as of :meth:`find`."""
        with heard():
            count: int = await self._call(
                "count", _wanted(of, wanted), timeout=timeout, returns=int
            )
        return count

    async def get(self, id: str, *, timeout: float | None = None) -> Filed | None:
        """Return the event of an id, or None."""
        with heard():
            found: Filed | None = await self._call(
                "get", {"id": id}, timeout=timeout, returns=Filed | None
            )
        return found

    async def info(self, *, timeout: float | None = None) -> Info:
        """Return which offsets there are, and what is kept for how long."""
        with heard():
            info: Info = await self._call("info", {}, timeout=timeout, returns=Info)
        return info

    async def types(self, *, timeout: float | None = None) -> list[str]:
        """Return the paths of the types of all events that were ever kept, in order."""
        with heard():
            types: list[str] = await self._call("types", {}, timeout=timeout, returns=list[str])
        return types

    async def replay(
        self,
        of: Type | None = None,
        *,
        after: int = 0,
        follow: bool = False,
        timeout: float | None = None,
        **wanted: Any,
    ) -> AsyncIterator[Filed]:
        """Iterate events, oldest first, from a time (``since``) or after an offset.

        :param follow: go on with those that come.
        :param timeout: seconds of silence after which it is given up.
        """
        content = {**_wanted(of, wanted), "after": after, "follow": follow}
        with heard():
            async with self._stream("replay", content, timeout=timeout, returns=Filed) as events:
                async for event in events:
                    yield event


def _wanted(of: Type | None, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked for, as content."""
    name = of if isinstance(of, str) or of is None else path_of(of)
    return {"type": name, **wanted}
