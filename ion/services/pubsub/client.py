"""The typed client of the pubsub service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from ion.process.client import ServiceClient
from ion.process.pubsub.subscription import Subscribing, Subscription
from ion.process.storeerrors import heard
from ion.services.pubsub.model import Gone, Point, QueueKind, Registered, Some, Space, Topic

T = TypeVar("T")


class PubsubClient(ServiceClient, service="pubsub"):
    """Declares exchange spaces, points, topics and subscriptions, lists and undeclares them.

    A point is named by its path: ``ctd`` in the system's own space, ``lab/ctd`` in space ``lab``.
    To declare what is there already is no error, and brings its words and patterns up to date.

    All calls raise :class:`~ion.base.errors.InvalidRequest` for what is no name, path or pattern,
    :class:`~ion.base.errors.NotFound` where the space or point that it is to be in is not declared,
    and :class:`~ion.base.errors.Unavailable` where store or broker is away; those that undeclare
    raise :class:`~ion.base.errors.Conflict` where something is used and ``force`` is not given,
    ``details["used"]`` says by what. The system's own space and ``events`` stay in any case.

    :param timeout: of each call, seconds.
    """

    async def declare_space(
        self, name: str, *, description: str = "", owner: str = "", timeout: float | None = None
    ) -> Space:
        """Make an exchange space."""
        content = {"name": name, "description": description, "owner": owner}
        return await self._ask("declare_space", content, timeout, Space)

    async def undeclare_space(
        self, name: str, *, force: bool = False, timeout: float | None = None
    ) -> Gone:
        """Delete an exchange space; with ``force`` and all points in it."""
        return await self._ask("undeclare_space", {"name": name, "force": force}, timeout, Gone)

    async def space(self, name: str, *, timeout: float | None = None) -> Space:
        """Return an exchange space."""
        return await self._ask("space", {"name": name}, timeout, Space)

    def spaces(self, *, timeout: float | None = None) -> AsyncIterator[Space]:
        """Iterate all exchange spaces by name."""
        return self._all("spaces", {}, timeout, Space)

    async def declare_point(
        self, name: str, *, description: str = "", owner: str = "", timeout: float | None = None
    ) -> Point:
        """Make an exchange point."""
        content = {"name": name, "description": description, "owner": owner}
        return await self._ask("declare_point", content, timeout, Point)

    async def undeclare_point(
        self, name: str, *, force: bool = False, timeout: float | None = None
    ) -> Gone:
        """Delete an exchange point; with ``force``, who subscribes hears no more."""
        return await self._ask("undeclare_point", {"name": name, "force": force}, timeout, Gone)

    async def point(self, name: str, *, timeout: float | None = None) -> Point:
        """Return an exchange point."""
        return await self._ask("point", {"name": name}, timeout, Point)

    def points(
        self, space: str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[Point]:
        """Iterate the exchange points of a space, or all, by name."""
        return self._all("points", {"space": space}, timeout, Point)

    async def declare_topic(
        self,
        name: str,
        point: str,
        patterns: Sequence[str],
        *,
        description: str = "",
        owner: str = "",
        timeout: float | None = None,
    ) -> Topic:
        """Give patterns of a point a name.

        :raises Conflict: a subscription uses it with other patterns.
        """
        content = {
            "name": name,
            "point": point,
            "patterns": list(patterns),
            "description": description,
            "owner": owner,
        }
        return await self._ask("declare_topic", content, timeout, Topic)

    async def undeclare_topic(
        self, name: str, point: str, *, force: bool = False, timeout: float | None = None
    ) -> Gone:
        """Forget a topic; with ``force``, subscriptions that name it keep its patterns."""
        content = {"name": name, "point": point, "force": force}
        return await self._ask("undeclare_topic", content, timeout, Gone)

    def topics(
        self, point: str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[Topic]:
        """Iterate the topics of a point, or all, by name."""
        return self._all("topics", {"point": point}, timeout, Topic)

    async def subscribe(
        self,
        name: str,
        point: str,
        topics: Sequence[str] = (),
        *,
        named: Sequence[str] = (),
        queue: QueueKind | None = None,
        description: str = "",
        owner: str = "",
        expires: float | None = None,
        timeout: float | None = None,
    ) -> Registered:
        """Make a durable queue that collects from now on, consumed or not.

        :param topics: patterns; with those of ``named``, they replace what it was bound with.
        :param named: registered topics of the point.
        :param queue: of which kind; those who consume it must have the same in their settings.
        :param expires: seconds without a consumer after which the broker deletes the queue, with
            what waits there; 0: never; None: as it is, 0 where it is new. It stays registered, and
            its queue is made again when it is declared again, or the service starts.
        :raises Conflict: it is there with another ``queue`` or ``expires``: unsubscribe first.
        """
        content = {
            "name": name,
            "point": point,
            "topics": list(topics),
            "named": list(named),
            "queue": queue,
            "description": description,
            "owner": owner,
            "expires": expires,
        }
        return await self._ask("subscribe", content, timeout, Registered)

    async def unsubscribe(
        self, name: str, point: str, *, force: bool = False, timeout: float | None = None
    ) -> Gone:
        """Delete a subscription: queue, bindings, and what waits there.

        :raises Conflict: somebody consumes it, and ``force`` was not given.
        """
        content = {"name": name, "point": point, "force": force}
        return await self._ask("unsubscribe", content, timeout, Gone)

    async def subscription(
        self, name: str, point: str, *, timeout: float | None = None
    ) -> Registered:
        """Return a subscription, and how its queue stands."""
        return await self._ask("subscription", {"name": name, "point": point}, timeout, Registered)

    def subscriptions(
        self,
        point: str | None = None,
        *,
        space: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Registered]:
        """Iterate the subscriptions of a point, of a space, or all, by name."""
        content = {"point": point, "space": space}
        return self._all("subscriptions", content, timeout, Registered)

    async def attach(
        self,
        process: Subscribing,
        name: str,
        point: str,
        handler: Callable[..., Any],
        *,
        prefetch: int | None = None,
    ) -> Subscription:
        """Let a method of a process take from a registered subscription.

        :raises NotFound: there is none; else as :meth:`Process.subscribe`.
        """
        found = await self.subscription(name, point)
        return await process.subscribe(
            found.point,
            found.topics,
            handler,
            name=name,
            prefetch=prefetch,
            expires=found.expires or None,
        )

    async def _all(
        self, op: str, content: dict[str, Any], timeout: float | None, kind: type[T]
    ) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            page = await self._ask(op, {**content, "cursor": cursor}, timeout, Some)
            for item in page.items:
                yield msgspec.convert(item, kind)
            cursor = page.cursor
            if cursor is None:
                return

    async def _ask(
        self, op: str, content: dict[str, Any], timeout: float | None, returns: type[T]
    ) -> T:
        with heard():
            answer: T = await self._call(op, content, timeout=timeout, returns=returns)
            return answer
