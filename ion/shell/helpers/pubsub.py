"""What the shell offers for exchange points: what is registered, declared and undeclared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar

from ion.shell.helpers.targets import Target
from ion.shell.render import Table

if TYPE_CHECKING:
    from ion.services.pubsub.client import PubsubClient
    from ion.services.pubsub.model import Gone

SHOWN = 20
MORE = "there are more: give a limit"
T = TypeVar("T")


class ExchangePoints:
    """List exchange points; points.topics(point), points.subs(point) tell what is at one."""

    def __init__(self, place: Target) -> None:
        self._place = place

    @property
    def client(self) -> PubsubClient:
        """A client of the service."""
        from ion.services.pubsub.client import PubsubClient  # few need it

        return PubsubClient(self._place.caller)

    async def __call__(self, space: str | None = None, limit: int = SHOWN) -> Table:
        """List the exchange points of a space, or all."""
        return await _table(self.client.points(space), ("name", "exchange", "owner"), limit)

    async def spaces(self, limit: int = SHOWN) -> Table:
        """List the exchange spaces."""
        return await _table(self.client.spaces(), ("name", "exchange", "owner"), limit)

    async def topics(self, point: str | None = None, limit: int = SHOWN) -> Table:
        """List the registered topics of a point, or all."""
        return await _table(self.client.topics(point), ("point", "name", "patterns"), limit)

    async def subs(self, point: str | None = None, limit: int = SHOWN) -> Table:
        """List the registered subscriptions to a point, or all, and how their queues stand."""
        columns = ("point", "name", "topics", "messages", "consumers")
        return await _table(self.client.subscriptions(point), columns, limit)

    async def declare(self, name: str, description: str = "") -> str:
        """Make a point ('ctd', 'lab/ctd'), and its space where there is none; return its exchange.

        A name that ends with '/' is a space.
        """
        client = self.client
        space, slash, point = name.rpartition("/")
        if not point:
            return (await client.declare_space(space, description=description)).exchange
        if slash:
            await client.declare_space(space)
        return (await client.declare_point(name, description=description)).exchange

    async def undeclare(self, name: str, *, force: bool = False) -> str:
        """Delete a point, or a space ('lab/'); with force, whatever uses it."""
        if name.endswith("/"):
            return _said(name, await self.client.undeclare_space(name[:-1], force=force))
        return _said(name, await self.client.undeclare_point(name, force=force))

    async def subscribe(self, name: str, point: str, *topics: str) -> str:
        """Have a queue collect from now on, consumed or not; return its name."""
        return (await self.client.subscribe(name, point, topics or ("#",))).queue

    async def unsubscribe(self, name: str, point: str, *, force: bool = False) -> str:
        """Delete such a queue; with force, although somebody consumes it."""
        return _said(name, await self.client.unsubscribe(name, point, force=force))

    def __repr__(self) -> str:
        return "points() lists exchange points; points.topics(point), points.subs(point)"


def _said(name: str, gone: Gone) -> str:
    if not gone.found:
        return f"there was no {name}"
    return f"{name} is gone" + (f", with {gone.messages} messages" if gone.messages else "")


async def _table(items: AsyncIterator[T], columns: tuple[str, ...], limit: int) -> Table:
    rows: list[dict[str, Any]] = []
    async for item in items:
        if len(rows) == limit:
            return Table(columns, rows, MORE)
        values = {column: getattr(item, column) for column in columns}
        rows.append({k: ", ".join(v) if isinstance(v, list) else v for k, v in values.items()})
    return Table(columns, rows)
