"""The repository of events: keeps each event that is told, once, and tells of it when asked.

It is one more durable subscriber. An event is taken off its queue when it is in the store; where
the store is away, all wait, in their order. Its app's ``config`` says what is kept for how long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ion.base.errors import (
    ApplicationError,
    BadRequest,
    ConfigurationError,
    InvalidRequest,
    Unavailable,
)
from ion.process.events.repository import REPOSITORY, Filed, Found, Place
from ion.process.events.subscription import MARKS
from ion.process.events.topics import POINT
from ion.process.service import Service
from ion.process.storeerrors import answering
from ion.services.events import model
from ion.services.events.checkpoints import Checkpoints
from ion.services.events.log import EventLog
from ion.services.events.model import INDICES, Info, Order, Wanted
from ion.services.events.writer import Writer
from ion.stores.query import A, Query, checked

log = logging.getLogger(__name__)
AHEAD = 1000  # events in hand, of which as many are written at a time as there are
PAGE = 500  # events of a replay that are read at a time
LOOK_EVERY = 1.0  # seconds, for what another instance has kept
LEASE = 30.0  # seconds that a replay may be silent for


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of one type of events, and those below it, at most; None: no less than of all.

    :ivar max_age: seconds.
    """

    max_age: Annotated[float, Meta(gt=0)] | None = None
    max_count: Annotated[int, Meta(ge=0)] | None = None


# What programs tell of as fast as they can must not push out what is rare.
FAST = {name: Limit(max_count=100_000) for name in ("ProcessEvent", "TimerFired", "LogEvent")}


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """The ``config`` of the app.

    :ivar store: name of the index store; its places are in ``<store>_places``.
    :ivar types: pattern of the topics that are kept, ``Event.#`` for all.
    :ivar max_age: seconds that an event is kept; None: for ever.
    :ivar max_count: how many are kept at most; None: all.
    :ivar limits: name, or path, of a type of events -> less than that, of these.
    :ivar trim_every: seconds between two looks for what is to go.
    """

    store: str = "events"
    types: str = "Event.#"
    max_age: Annotated[float, Meta(gt=0)] | None = 30 * 86_400.0
    max_count: Annotated[int, Meta(ge=0)] | None = 1_000_000
    limits: dict[str, Limit] = msgspec.field(default_factory=lambda: dict(FAST))
    trim_every: Annotated[float, Meta(gt=0)] = 60.0


class EventsService(Service, name=REPOSITORY, version="0.1.0", concurrency=AHEAD):
    """Keeps events, and finds them again.

    :param config: over the app's ``config``; see :class:`Settings`.
    """

    _settings: Settings
    _log: EventLog
    _writer: Writer
    _checkpoints: Checkpoints

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self._given = config or {}

    async def on_init(self) -> None:
        """Open the store.

        :raises ConfigurationError: the app's ``config`` is wrong.
        """
        try:
            given = {**self.app_config, **self._given}
            self._settings = settings = msgspec.convert(given, Settings)
        except msgspec.ValidationError as error:
            message = f"the config of the repository of events: {error}"
            raise ConfigurationError(message) from None
        self._log = EventLog(await self.index_store(settings.store, INDICES))
        self._checkpoints = Checkpoints(await self.store(f"{settings.store}_places"))
        await self._log.open()
        self._writer = Writer(self._log, self.run)

    async def on_activate(self) -> None:
        """Hear all events from now on, and those that came while nobody did."""
        topics = (self._settings.types, MARKS)  # marks are told by replays, and waited for here
        await self.subscribe(POINT, topics, self.on_event, name="repository", prefetch=AHEAD)
        self.run(self._trim_always(), "retention")

    async def on_health(self) -> None:
        """Raise where events cannot be kept now."""
        if self._writer.trouble:
            raise Unavailable(self._writer.trouble)

    async def on_event(self, content: Any, headers: dict[str, Any], msg: Any) -> None:
        """Keep an event; return when the store has it."""
        try:
            envelope = msg.envelope
            actor = msg.identity.actor if msg.identity is not None else ""
            event = model.arrived(content, envelope.message_id, float(envelope.timestamp), actor)
        except (BadRequest, InvalidRequest) as error:
            raise ApplicationError(error.message, 400, error.type) from None
        await self._writer.file(event)

    async def _trim_always(self) -> None:
        settings = self._settings
        while True:
            try:
                gone = await self._trim()
                if gone:
                    log.info("%d events have gone: too old, or too many", gone)
            except Unavailable as error:
                log.warning("old events stay for now: %s", error)
            await asyncio.sleep(settings.trim_every)

    async def _trim(self) -> int:
        settings = self._settings
        gone, known = 0, await self._log.known()
        for name, limit in settings.limits.items():
            where = model.type_is(name, known)
            if where is not None:
                gone += await self._log.trim(limit.max_age, limit.max_count, where)
        return gone + await self._log.trim(settings.max_age, settings.max_count)

    # asking

    async def op_find(
        self,
        type: str | None = None,
        origin: str | None = None,
        origin_type: str | None = None,
        sub_type: str | None = None,
        actor: str | None = None,
        since: float | None = None,
        until: float | None = None,
        order: Order = "offset",
        limit: int = 100,
        cursor: str | None = None,
        after: int | None = None,
    ) -> Found:
        """Return events: of a type or below, of an origin, created in a time; oldest first.

        ``after`` is an offset; ``cursor`` that of the page before. A page is cut where one answer
        holds no more.
        """
        wanted = Wanted(type, origin, origin_type, sub_type, actor, since, until)
        with answering():
            return await self._found(wanted, order, limit, cursor, after)

    async def _found(
        self, wanted: Wanted, order: Order, limit: int, cursor: str | None, after: int | None
    ) -> Found:
        first, last = await self._log.ends()
        query = await self._query(wanted, order, limit, cursor, after)
        if query is None:
            return Found([], None, first, last)
        page = await self._log.page(query)
        events, cursor = model.fitting(query, page, self._endpoint.max_content // 2)
        return Found(events, cursor, first, last)

    async def _query(self, wanted: Wanted, *how: Any) -> Query | None:
        """Return what the log is asked for, checked; None: there can be no such event."""
        is_name = wanted.type is not None and "." not in wanted.type
        query = model.query_of(wanted, await self._log.known() if is_name else (), *how)
        return checked(query, INDICES) if query is not None else None

    async def op_count(
        self,
        type: str | None = None,
        origin: str | None = None,
        origin_type: str | None = None,
        sub_type: str | None = None,
        actor: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> int:
        """Return how many events there are; parameters as for find."""
        wanted = Wanted(type, origin, origin_type, sub_type, actor, since, until)
        with answering():
            query = await self._query(wanted)
            return await self._log.count(query) if query is not None else 0

    async def op_get(self, id: str) -> Filed | None:
        """Return the event of an id, or None."""
        with answering():
            where = A("event") == id
            page = await self._log.page(Query(where, limit=1))
            return model.filed(page.items[0]) if page.items else None

    async def op_info(self) -> Info:
        """Return the offsets of the oldest and the newest event, and what is kept for how long."""
        with answering():
            first, last = await self._log.ends()
            count = await self._log.count(Query(A("offset") >= first))
        settings = self._settings
        return Info(first, last, count, settings.max_age, settings.max_count)

    async def op_types(self) -> list[str]:
        """Return the paths of the types of all events that were ever kept, in order."""
        with answering():
            return sorted(await self._log.known())

    async def op_replay(
        self,
        type: str | None = None,
        origin: str | None = None,
        origin_type: str | None = None,
        sub_type: str | None = None,
        actor: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: int = 0,
        follow: bool = False,
    ) -> AsyncIterator[Filed]:
        """Stream events, oldest first, from a time or after an offset; ``follow``: and new ones."""
        wanted = Wanted(type, origin, origin_type, sub_type, actor, since, until)
        while True:
            with answering():
                found = await self._found(wanted, "offset", PAGE, None, after)
            for event in found.events:
                after = event.offset
                yield event
            if found.cursor is not None:
                continue
            if not follow:
                return
            await self._writer.grown(LOOK_EVERY)

    # replays for durable subscriptions

    async def op_claim(self, name: str, owner: str, lease: float = LEASE) -> Place:
        """Let a process replay for a durable subscription, unless another does, or it is done."""
        with answering():
            return await self._checkpoints.claim(name, owner, lease)

    async def op_keep_place(
        self, name: str, owner: str, after: int, done: bool = False, lease: float = LEASE
    ) -> bool:
        """Note how far a replay is; return whether it is still its owner's."""
        with answering():
            return await self._checkpoints.keep(name, owner, after, done, lease)

    async def op_forget_place(self, name: str) -> None:
        """Let the next replay for a durable subscription begin anew."""
        with answering():
            await self._checkpoints.forget(name)
