"""The pubsub service: exchange spaces, points, topics and subscriptions, declared and undeclared.

What is kept is in its index store, and made again at the broker where an instance starts.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ion.base.errors import BadRequest, InvalidRequest
from ion.messaging.address import LEAST_EXPIRY, MAX_EXPIRY
from ion.observe.context import current_call
from ion.process.pubsub.topics import checked_patterns
from ion.process.service import Service
from ion.process.storeerrors import answering
from ion.services.pubsub import model
from ion.services.pubsub.broker import Broker
from ion.services.pubsub.model import (
    Gone,
    Kind,
    Point,
    QueueKind,
    Record,
    Registered,
    Some,
    Space,
    Topic,
)
from ion.services.pubsub.reconciler import Reconciler
from ion.services.pubsub.registry import Registry

STORE = "pubsub"
LIMIT = 100
MAX_LIMIT = 1000
MAX_DESCRIPTION = 10_000  # characters
MAX_BOUND = 1000  # patterns of one subscription
_encode = msgspec.msgpack.Encoder().encode


class PubsubService(Service, name="pubsub", version="0.1.0", delivery="effectively-once"):
    """Registers exchange spaces, points, topics and subscriptions, and makes them real.

    A call that comes again is answered from memory: done late, it would bring back what was
    undeclared meanwhile.

    :param store: name of its index store; the app's ``config``, else ``pubsub``, by default.
    """

    _registry: Registry
    _broker: Broker
    _reconciler: Reconciler

    def __init__(self, store: str | None = None) -> None:
        self._store = store

    async def on_init(self) -> None:
        """Open the registry, and declare again what is in it; finish what was begun.

        :raises Unavailable: store or broker is away.
        """
        name = self._store or self.app_config.get("store") or STORE
        self._registry = await Registry.open(self, name)
        self._broker = Broker(self._endpoint)
        self._reconciler = Reconciler(self._registry, self._broker)
        await self._reconciler.restore()

    async def on_terminate(self) -> None:
        """Wait for what is being changed."""
        reconciler: Reconciler | None = getattr(self, "_reconciler", None)
        if reconciler is not None:  # it has come so far
            await reconciler.close()

    # exchange spaces

    async def op_declare_space(self, name: str, description: str = "", owner: str = "") -> Space:
        """Make an exchange space, where there is none of that name; else update its words."""
        with answering():
            record = _new(Record("space", model.name_of(name, "exchange space")))
            row = await self._reconciler.declare(_worded(record, description, owner))
            return self._space(row.record)

    async def op_undeclare_space(self, name: str, force: bool = False) -> Gone:
        """Delete an exchange space; 409 where points are in it: with ``force`` they go, too."""
        with answering():
            return await self._reconciler.undeclare(
                "space", model.name_of(name, "exchange space"), force
            )

    async def op_space(self, name: str) -> Space:
        """Return an exchange space; 404 without it."""
        with answering():
            return self._space((await self._reconciler.need("space", name)).record)

    async def op_spaces(self, limit: int = LIMIT, cursor: str | None = None) -> Some:
        """Return exchange spaces by name, the system's own included."""
        with answering():
            return await self._some("space", self._space, limit, cursor)

    # exchange points

    async def op_declare_point(self, name: str, description: str = "", owner: str = "") -> Point:
        """Make an exchange point, ``name`` or ``space/name``; 404 without the space."""
        with answering():
            path = model.path_of(name)
            record = _new(Record("point", path, model.space_of(path)))
            row = await self._reconciler.declare(_worded(record, description, owner))
            return self._point(row.record)

    async def op_undeclare_point(self, name: str, force: bool = False) -> Gone:
        """Delete an exchange point; 409 where anything is registered under it, or bound to it.

        With ``force`` its topics and subscriptions go, too, and whoever subscribes hears no more.
        """
        with answering():
            return await self._reconciler.undeclare("point", model.path_of(name), force)

    async def op_point(self, name: str) -> Point:
        """Return an exchange point; 404 without it."""
        with answering():
            return self._point((await self._reconciler.need("point", model.path_of(name))).record)

    async def op_points(
        self, space: str | None = None, limit: int = LIMIT, cursor: str | None = None
    ) -> Some:
        """Return exchange points by name: of one space, or of all."""
        with answering():
            return await self._some("point", self._point, limit, cursor, space=space)

    # topics

    async def op_declare_topic(
        self,
        name: str,
        point: str,
        patterns: list[str],
        description: str = "",
        owner: str = "",
    ) -> Topic:
        """Give patterns of a point a name; 409 where subscriptions use it with other patterns."""
        with answering():
            path = model.path_of(point)
            record = Record(
                "topic",
                model.name_of(name, "topic"),
                model.space_of(path),
                path,
                patterns=_patterns(patterns),
            )
            row = await self._reconciler.declare(_worded(_new(record), description, owner))
            return _topic(row.record)

    async def op_undeclare_topic(self, name: str, point: str, force: bool = False) -> Gone:
        """Forget a topic; 409 where subscriptions use it: with ``force`` they keep its patterns."""
        with answering():
            path = model.path_of(point)
            return await self._reconciler.undeclare(
                "topic", model.name_of(name, "topic"), force, path
            )

    async def op_topics(
        self, point: str | None = None, limit: int = LIMIT, cursor: str | None = None
    ) -> Some:
        """Return topics by name: of one point, or of all."""
        with answering():
            path = model.path_of(point) if point is not None else None
            return await self._some("topic", _topic, limit, cursor, point=path)

    # subscriptions

    async def op_subscribe(
        self,
        name: str,
        point: str,
        topics: list[str] | None = None,
        named: list[str] | None = None,
        queue: QueueKind | None = None,
        description: str = "",
        owner: str = "",
        expires: float | None = None,
    ) -> Registered:
        """Make a durable queue that collects from now on, whether anybody consumes it or not.

        ``topics`` are patterns, ``named`` registered topics of the point; they replace those that
        it was bound with. ``queue`` is ``classic`` (default) or ``quorum``. ``expires`` is seconds
        without a consumer after which the broker deletes it; 0 (default): never.
        """
        with answering():
            path = model.path_of(point)
            word = model.name_of(name, "subscription name")
            before = await self._registry.get("subscription", word, path)
            record = Record(
                "subscription",
                word,
                model.space_of(path),
                path,
                patterns=_patterns(topics) if topics or not named else [],
                named=list(dict.fromkeys(named or [])),
                queue=queue or (before.record.queue if before is not None else "classic"),
                expires=_expires(expires, before.record if before is not None else None),
            )
            _check_bound(await self._reconciler.bound(record))
            row = await self._reconciler.declare(_worded(_new(record), description, owner))
            return await self._registered(row.record)

    async def op_unsubscribe(self, name: str, point: str, force: bool = False) -> Gone:
        """Delete a subscription, its queue and bindings; 409 while anybody consumes it.

        With ``force``, whoever does hears no more. One that processes have made by themselves goes,
        too, but only where nobody consumes it.
        """
        with answering():
            path = model.path_of(point)
            word = model.name_of(name, "subscription name")
            return await self._reconciler.undeclare("subscription", word, force, path)

    async def op_subscription(self, name: str, point: str) -> Registered:
        """Return a subscription, and how its queue stands; 404 without it."""
        with answering():
            row = await self._reconciler.need("subscription", name, model.path_of(point))
            return await self._registered(row.record)

    async def op_subscriptions(
        self,
        point: str | None = None,
        space: str | None = None,
        limit: int = LIMIT,
        cursor: str | None = None,
    ) -> Some:
        """Return subscriptions by name, and how their queues stand: of a point, a space, or all."""
        with answering():
            path = model.path_of(point) if point is not None else None
            asked = {"space": space, "point": path}
            return await self._some("subscription", self._registered, limit, cursor, **asked)

    # as they travel

    async def _some(
        self,
        kind: Kind,
        told: Callable[[Record], Any],
        limit: int,
        cursor: str | None,
        **asked: str | None,
    ) -> Some:
        """Return a page of records as they travel, cut where one answer holds no more."""
        page = await self._registry.find(kind, limit=_limit(limit), cursor=cursor, **asked)
        items: list[Any] = []
        left = self._endpoint.max_content // 2
        for number, row in enumerate(page.items):
            item = told(row.record)
            item = await item if inspect.isawaitable(item) else item
            left -= len(_encode(item))
            if left < 0 and items:
                before = page.items[number - 1].record
                return Some(items, self._registry.cursor(before, **asked))
            items.append(item)
        return Some(items, page.cursor)

    def _space(self, record: Record) -> Space:
        words = (record.description, record.owner, record.created)
        return Space(record.name, self._broker.exchange_of(record), *words)

    def _point(self, record: Record) -> Point:
        words = (record.description, record.owner, record.created)
        return Point(record.name, record.space, self._broker.exchange_of(record), *words)

    async def _registered(self, record: Record) -> Registered:
        info = await self._broker.info(record)
        return Registered(
            record.name,
            record.point,
            await self._reconciler.bound(record),
            record.named,
            self._broker.queue_of(record),
            info.messages if info is not None else None,
            info.consumers if info is not None else 0,
            record.description,
            record.owner,
            record.created,
            record.expires,
        )


def _new(record: Record) -> Record:
    return msgspec.structs.replace(record, created=time.time())


def _worded(record: Record, description: str, owner: str) -> Record:
    """Return a record with its words; whoever asks is the owner, where nobody else is named.

    :raises InvalidRequest: the description is too long.
    """
    if len(description) > MAX_DESCRIPTION:
        message = f"a description has at most {MAX_DESCRIPTION} characters"
        raise InvalidRequest(message)
    call = current_call.get()
    user = str(call.user) if call is not None and call.user else ""
    return msgspec.structs.replace(record, description=description, owner=owner or user)


def _topic(record: Record) -> Topic:
    words = (record.description, record.owner, record.created)
    return Topic(record.name, record.point, record.patterns, *words)


def _patterns(given: Sequence[str] | None) -> list[str]:
    try:
        return list(checked_patterns(given or []))
    except BadRequest as error:
        raise InvalidRequest(error.message, details=error.details) from error


def _check_bound(patterns: Sequence[str]) -> None:
    """Refuse a subscription of too many patterns, those of its topics included.

    :raises InvalidRequest: it is.
    """
    if len(patterns) > MAX_BOUND:
        message = (
            f"{len(patterns)} patterns, with those of its topics, are over the {MAX_BOUND} of one "
            "subscription: make several"
        )
        raise InvalidRequest(message)


def _expires(expires: float | None, before: Record | None) -> float:
    """Return when a subscription is to expire; where nothing is said, as before, or never.

    :raises InvalidRequest: it cannot.
    """
    if expires is None:
        return before.expires if before is not None else 0.0
    if expires == 0 or LEAST_EXPIRY <= expires <= MAX_EXPIRY:
        return float(expires)
    message = f"expires: 0 (never), or seconds, {LEAST_EXPIRY} to {MAX_EXPIRY}, not {expires!r}"
    raise InvalidRequest(message)


def _limit(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        message = f"limit is 1 to {MAX_LIMIT}, not {limit}"
        raise InvalidRequest(message)
    return limit
