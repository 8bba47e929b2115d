"""Declaring and undeclaring: the order of what is written down and what is done at the broker.

What is declared is written down first, and then made at the broker; what is undeclared is marked
first, and its row goes last. So whoever comes up finishes what another one was doing when it was
killed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from ion.base.errors import Conflict, InvalidRequest, IonError, NotFound, Unavailable
from ion.observe.context import current_call
from ion.services.pubsub.broker import Broker
from ion.services.pubsub.model import EVENTS, SYSTEM, Gone, Kind, Record, space_of
from ion.services.pubsub.registry import Registry, Row

log = logging.getLogger(__name__)
T = TypeVar("T")
TRIES = 5
CLOSE_TIMEOUT = 5.0
SHOWN = 10
_OWN = (Record("space", SYSTEM), Record("point", EVENTS, SYSTEM))
_KEPT: tuple[Kind, ...] = ("space", "point", "subscription")  # what the broker has of it
_WORDS: dict[Kind, str] = {
    "space": "exchange space",
    "point": "exchange point",
    "topic": "topic",
    "subscription": "subscription",
}


class Reconciler:
    """Keeps registry and broker in step.

    :ivar registry: what is registered.
    :ivar broker: where it is made.
    """

    def __init__(self, registry: Registry, broker: Broker) -> None:
        self.registry = registry
        self.broker = broker
        self._going: set[asyncio.Task[Any]] = set()
        self._changing = asyncio.Lock()  # changes of other instances are seen by their revisions

    async def restore(self) -> None:
        """Declare again what is registered, and finish what was begun.

        :raises Unavailable: store or broker is away.
        """
        for record in _OWN:
            await self._add_own(record)
        for kind in _KEPT:
            async for row in self.registry.all(kind):
                await self._again(row)

    async def _add_own(self, record: Record) -> None:
        try:
            await self.registry.add(record, None)
        except Conflict:
            return  # it is there

    async def _again(self, row: Row) -> None:
        """Declare a row again, or go on undeclaring it."""
        record = row.record
        try:
            if record.going:
                await self._finish(row)
            else:
                await self._make(row)
                await self._unless_gone(record)
        except Unavailable:
            raise
        except IonError as error:
            words = (record.kind, record.name, error)
            log.error("%s %r is not declared again: %s", *words)  # noqa: TRY400 - it says all

    async def _unless_gone(self, record: Record) -> bool:
        """Take back what another instance has undeclared meanwhile; return whether it has."""
        if await self.registry.get(record.kind, record.name, record.point) is not None:
            return False
        await self._erase(record, if_unused=True)
        return True

    async def bound(self, record: Record) -> list[str]:
        """Return all patterns of a subscription.

        :raises NotFound: a topic that it names is not registered.
        """
        patterns = dict.fromkeys(record.patterns)
        for name in record.named:
            topic = await self.need("topic", name, record.point)
            patterns.update(dict.fromkeys(topic.record.patterns))
        return list(patterns)

    async def close(self) -> None:
        """Wait for what is being changed for nobody any more. Never raises."""
        if self._going:
            await asyncio.wait(self._going, timeout=CLOSE_TIMEOUT)

    async def _changed(self, change: Callable[[], Awaitable[T]]) -> T:
        """Make a change, whole: it goes on where its caller gives up, and in nobody's name.

        :raises Conflict: others change the same all the time, or it is used.
        """
        task = asyncio.create_task(self._alone(change))
        self._going.add(task)
        task.add_done_callback(self._going.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    async def _alone(self, change: Callable[[], Awaitable[T]]) -> T:
        """Make a change, alone in this instance; once more where another one was faster."""
        current_call.set(None)
        async with self._changing:
            for _ in range(TRIES - 1):
                done = await _unless_overtaken(change)
                if done is not None:
                    return done
            return await change()

    # declaring

    async def need(self, kind: Kind, name: str, point: str = "") -> Row:
        """Return a row.

        :raises NotFound: there is none.
        """
        row = await self.registry.get(kind, name, point)
        if row is None:
            where = f" under {point!r}" if point else ""
            message = f"no {_WORDS[kind]} {name!r} is declared{where}"
            raise NotFound(message, details={"name": name, "kind": kind})
        return row

    async def _parent(self, record: Record) -> Row | None:
        """Return what a row is to be under, which goes no more; None: nothing.

        :raises NotFound: it is not declared.
        """
        if record.kind == "space":
            return None
        above: tuple[Kind, str] = ("point", record.point)
        if record.kind == "point":
            above = ("space", record.space)
        row = await self.need(*above)
        if row.record.going:
            await self._finish(row)
            row = await self.need(*above)
        return row

    async def declare(self, wanted: Record) -> Row:
        """Write a record down, and make it real; both may be so already.

        :raises Conflict: others change it all the time, or it is used as it is.
        """
        return await self._changed(lambda: self._declare_once(wanted))

    async def _declare_once(self, wanted: Record) -> Row:
        row = await self.registry.get(wanted.kind, wanted.name, wanted.point)
        if row is not None and row.record.going:
            await self._finish(row)
            row = None
        parent = await self._parent(wanted)
        if row is None:
            await self.bound(wanted)  # before it is written: its topics are there
            row = await self.registry.add(wanted, parent)
            try:
                row = await self._make(row)
            except InvalidRequest:
                await self.registry.remove(wanted)
                raise
        else:
            row = await self._make(await self._update(row, wanted))
        if await self._unless_gone(wanted):
            message = f"{_WORDS[wanted.kind]} {wanted.name!r} was undeclared meanwhile"
            raise Conflict(message)
        return row

    async def _update(self, row: Row, wanted: Record) -> Row:
        """Bring a row up to what is wanted of it now."""
        before = row.record
        if before.kind == "topic" and before.patterns != wanted.patterns:
            users = await self._users(before)
            if users:
                raise _used(before, users)
        if before.queue != wanted.queue:
            message = f"subscription {before.name!r} has a {before.queue} queue: unsubscribe first"
            raise Conflict(message, details={"used": [before.queue]})
        if before.expires != wanted.expires:
            words = f"expires after {before.expires:g} s" if before.expires else "does not expire"
            message = f"subscription {before.name!r} {words}: unsubscribe first"
            raise Conflict(message, details={"used": ["expires"]})
        stale = before.stale
        if before.kind == "subscription":
            stale = list(dict.fromkeys([*stale, *await self.bound(before)]))
            stale = [each for each in stale if each not in await self.bound(wanted)]
        after = msgspec.structs.replace(
            before,
            description=wanted.description or before.description,
            owner=wanted.owner if not before.owner else before.owner,
            patterns=wanted.patterns,
            named=wanted.named,
            stale=stale,
        )
        return row if after == before else await self.registry.change(row, after)

    async def _make(self, row: Row) -> Row:
        """Make a row real at the broker."""
        record = row.record
        patterns = await self.bound(record) if record.kind == "subscription" else []
        await self.broker.declare(record, patterns)
        if record.stale:
            return await self.registry.change(row, msgspec.structs.replace(record, stale=[]))
        return row

    # undeclaring

    async def undeclare(self, kind: Kind, name: str, force: bool, point: str = "") -> Gone:
        """Mark a row as going, and take it away; unmark it where it is used.

        :raises Conflict: it is used, or is the system's own.
        """
        if any(own.kind == kind and own.name == name for own in _OWN):
            message = f"{_WORDS[kind]} {name!r} is the system's own, and stays"
            raise Conflict(message, details={"used": ["system"]})
        return await self._changed(lambda: self._undeclare_once(kind, name, force, point))

    async def _undeclare_once(self, kind: Kind, name: str, force: bool, point: str) -> Gone:
        row = await self.registry.get(kind, name, point)
        if row is None:
            return await self._unlisted(kind, name, point)
        if not force and not row.record.going:
            await self._check_unused(row.record)
        forced = force or row.record.going == "forced"
        way: Literal["forced", "unused"] = "forced" if forced else "unused"
        going = msgspec.structs.replace(row.record, going=way)
        return Gone(True, await self._finish(await self.registry.change(row, going)))

    async def _unlisted(self, kind: Kind, name: str, point: str) -> Gone:
        """Take away a subscription that processes have made by themselves, where there is one.

        :raises Conflict: it is used, and so theirs: the repository of events has one, too.
        """
        record = Record("subscription", name, space_of(point), point)
        if kind != "subscription" or await self.broker.info(record) is None:
            return Gone(False)
        await self._check_unused(record)
        return Gone(True, await self._erase(record, if_unused=True))

    async def _check_unused(self, record: Record) -> None:
        """See whether anything needs what a record stands for.

        :raises Conflict: so it is.
        """
        users = await self._users(record)
        if users:
            raise _used(record, users)

    async def _users(self, record: Record) -> list[str]:
        """Return what uses a row, in words; some of it, where it is much."""
        if record.kind == "subscription":
            info = await self.broker.info(record)
            return [f"{info.consumers} consumers"] if info is not None and info.consumers else []
        if record.kind == "space":
            page = await self.registry.find("point", space=record.name, limit=SHOWN)
            return [f"exchange point {row.record.name}" for row in page.items]
        if record.kind == "topic":
            rows = self.registry.all("subscription", point=record.point)
            return [
                f"subscription {row.record.name}"
                async for row in rows
                if record.name in row.record.named
            ]
        return [f"{_WORDS[row.record.kind]} {row.record.name}" for row in await self._under(record)]

    async def _under(self, point: Record) -> list[Row]:
        kinds: tuple[Kind, ...] = ("topic", "subscription")
        pages = [await self.registry.find(k, point=point.name, limit=SHOWN) for k in kinds]
        return [row for page in pages for row in page.items]

    async def _finish(self, row: Row) -> int:
        """Undeclare what is marked; return how many messages were dropped. May be done again.

        :raises Conflict: it is used after all: then it is as it was.
        """
        record = row.record
        forced = record.going == "forced"
        if forced and record.kind in ("space", "point"):
            return await self._raze(record)
        if forced and record.kind == "topic":
            await self._keep_patterns(record)
        try:
            dropped = await self._erase(record, if_unused=not forced)
        except Conflict as error:
            await self.registry.change(row, msgspec.structs.replace(record, going=""))
            raise Conflict(error.message, details={"used": ["bindings"]}) from error
        await self.registry.remove(record)
        return dropped

    async def _keep_patterns(self, topic: Record) -> None:
        async for row in self.registry.all("subscription", point=topic.point):
            if topic.name in row.record.named:
                await self.registry.change(row, _without(row.record, topic))

    async def _raze(self, above: Record) -> int:
        """Undeclare a space or point with all that stands under it: the containers let go first."""
        subscriptions = await self._all_under("subscription", above)
        points = [above] if above.kind == "point" else await self._all_under("point", above)
        known = {each.key for each in subscriptions}
        opened = await self.broker.opened([each.name for each in points])
        subscriptions += [each for each in opened if each.key not in known]
        dropped = [await self._waiting(each) for each in subscriptions]
        queues = [self.broker.queue_of(each) for each in subscriptions]
        await self.broker.tell([each.name for each in points], queues)
        for each in subscriptions:
            await self.broker.delete_queue(each, await self.bound(each))
        for each in (*points, above):
            await self.broker.delete_exchange(each, if_unused=False)
        topics = await self._all_under("topic", above)
        for each in (*subscriptions, *topics, *points, above):
            await self.registry.remove(each)
        return sum(dropped)

    async def _all_under(self, kind: Kind, above: Record) -> list[Record]:
        where = {above.kind: above.name}  # space= or point=
        rows = self.registry.all(kind, space=where.get("space"), point=where.get("point"))
        return [row.record async for row in rows]

    async def _erase(self, record: Record, *, if_unused: bool) -> int:
        """Take from the broker what a record stands for, and have all containers let go of it."""
        if record.kind == "subscription":
            waiting = await self._waiting(record)
            await self.broker.tell(queues=[self.broker.queue_of(record)])
            patterns = await self.bound(record)
            return max(waiting, await self.broker.delete_queue(record, patterns))
        if record.kind != "topic":
            await self.broker.delete_exchange(record, if_unused=if_unused)
            await self.broker.tell([record.name] if record.kind == "point" else [])
        return 0

    async def _waiting(self, record: Record) -> int:
        info = await self.broker.info(record)
        return info.messages if info is not None else 0


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("changed for nobody any more, and failed: %s", task.exception())


async def _unless_overtaken(change: Callable[[], Awaitable[T]]) -> T | None:
    """Make a change; None where somebody else has changed the same meanwhile."""
    try:
        return await change()
    except Conflict as error:
        if error.details.get("used"):
            raise
        return None


def _without(record: Record, topic: Record) -> Record:
    """Return a subscription that has the patterns of a topic for its own."""
    patterns = list(dict.fromkeys([*record.patterns, *topic.patterns]))
    named = [name for name in record.named if name != topic.name]
    return msgspec.structs.replace(record, patterns=patterns, named=named)


def _used(record: Record, users: Sequence[str]) -> Conflict:
    shown = ", ".join(users[:SHOWN])
    message = (
        f"{_WORDS[record.kind]} {record.name!r} is used: {shown}; undeclare these, or use force"
    )
    return Conflict(message, details={"used": list(users[:SHOWN])})
