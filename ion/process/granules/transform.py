"""Transforms: processes that hear one stream and publish another."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from ion.base.errors import ConfigurationError, IonError, NotFound, Unavailable
from ion.base.ids import checked_name
from ion.process.granules.definition import StreamDefinition
from ion.process.granules.granule import Granule, granule_in
from ion.process.granules.names import checked_stream, escaped
from ion.process.granules.ordered import Arrival, Ordered
from ion.process.granules.publisher import StreamPublisher
from ion.process.granules.wire import MAX_NAME
from ion.process.process import Process
from ion.process.redelivery import retrying

log = logging.getLogger(__name__)
MAX_SHOWN = 40  # characters of a transform's name, before a hash
PAUSE = 0.1  # seconds before it looks again whether all is confirmed


class Transform(Process):
    """Makes one stream of another, granule by granule, in their order.

    ::

        class Calibrated(Transform):
            source, target = "ctd_raw", "ctd"

            async def transform(self, granule: Granule) -> dict | None:
                return {"temp": granule["counts"] * 0.01}

    A granule is taken off the queue when the broker has what became of it. What is published has an
    id and a number that are made of the granule's: where a transform dies in between, and the next
    one does it again, subscribers, transforms and the persistence behind it drop what they have
    already. Instances of one name take turns: one works, the others wait for its end.

    :cvar source: the stream that is heard; target: the one that is published. Spawn arguments of
        these names are put in their place.
    :cvar definition: of what is published; None: anything.
    :cvar attempts: how often a granule is tried; delays: seconds before the second time, the third,
        ...; the last one repeats. Then it is a dead letter, and the next one's turn.
    """

    source: str = ""
    target: str = ""
    definition: StreamDefinition | None = None
    attempts: ClassVar[int] = 5
    delays: ClassVar[tuple[float, ...]] = (0.2, 1.0, 5.0)

    def __init__(self, source: str | None = None, target: str | None = None) -> None:
        self.source = source or type(self).source
        self.target = target or type(self).target

    async def transform(self, granule: Granule) -> Mapping[str, Any] | None:
        """Return the fields of what is published for a granule, with its time; None: nothing.

        It must do nothing else that may not be done twice.
        """
        raise NotImplementedError

    @property
    def queue_name(self) -> str:
        """What its queue is called by: its name and that of its source."""
        return checked_name(f"{self.name}-{escaped(self.source)}", "name of a transform")

    async def on_activate(self) -> None:
        """Begin. A class that overrides this calls it.

        :raises ConfigurationError: a stream has no name, or both have the same.
        :raises Unavailable: the broker is away.
        """
        try:
            checked_stream(self.source)
            checked_stream(self.target)
        except IonError as error:
            message = f"{type(self).__qualname__} needs a source and a target: {error}"
            raise ConfigurationError(message) from None
        if self.source == self.target:
            message = f"{type(self).__qualname__} would hear itself: {self.source!r} to itself"
            raise ConfigurationError(message)
        self._publisher = await self._open()
        self._ordered = Ordered(self, self.source, self.queue_name, self._take)
        await self._ordered.open()

    async def _open(self) -> StreamPublisher:
        return await StreamPublisher.open(self, self.target, self.definition, sparse=True)

    async def _take(self, batch: list[Arrival]) -> None:
        """Transform some granules, and take them off when all that became of them is confirmed."""
        while batch:
            publisher = self._publisher
            batch = await self._made_of(batch)
            sure = await self._confirmed(publisher)
            if self._publisher is not publisher:  # the target was deleted in between
                sure = await self._confirmed(self._publisher) and sure
            if sure:
                break
            await asyncio.sleep(PAUSE)  # all of it once more: who has some already drops these
        for arrival in batch:
            arrival.delivery.ack()

    async def _confirmed(self, publisher: StreamPublisher) -> bool:
        """Return once the broker has all that was published; False: some was given up."""
        while True:
            try:
                await publisher.flush()
            except Unavailable as error:
                if "lost" in error.details:
                    return False
                log.warning("%r waits: %s", self, error)
                await asyncio.sleep(PAUSE)
            else:
                return True

    async def _made_of(self, batch: list[Arrival]) -> list[Arrival]:
        """Publish what becomes of some granules; return those that are done, unless it is lost."""
        done: list[Arrival] = []
        for arrival in batch:
            try:
                granule = granule_in(self.source, arrival.body)
            except IonError as error:
                self._ordered.bury(arrival, error)
                continue
            if await self._try(arrival, granule):
                done.append(arrival)
        return done

    async def _try(self, arrival: Arrival, granule: Granule) -> bool:
        """Transform a granule, more than once where need be; return whether that was done."""
        for attempt in range(1, self.attempts + 1):
            try:
                await self._one(granule)
            except Exception as error:  # noqa: BLE001 - what the author wrote may raise anything
                cause = error if isinstance(error, IonError) else _unexpected(error)
                if attempt == self.attempts or not retrying.may_pass(cause):
                    self._ordered.bury(arrival, cause)
                    return False
                log.warning("%r failed at %s, attempt %d: %s", self, granule.id, attempt, cause)
                await asyncio.sleep(self.delays[min(attempt, len(self.delays)) - 1])
            else:
                return True
        return False

    async def _one(self, granule: Granule) -> None:
        fields = await self.transform(granule)
        if fields is None:
            return
        name = derived(self.name, granule.publisher)
        how: dict[str, Any] = {"publisher": name, "time": granule.time}
        try:
            await self._publisher.publish_as(granule.number, fields, **how)
        except NotFound:  # somebody has deleted the target: it begins anew
            self._publisher = await self._open()
            await self._publisher.publish_as(granule.number, fields, **how)


def derived(name: str, publisher: str) -> str:
    """Return what publishes the granules that a transform makes of a publisher's.

    It is the same each time; what is too long for a message, as behind many transforms, is cut
    down to its hash.
    """
    text = f"{name}<{publisher}"
    if len(text.encode()) <= MAX_NAME:
        return text
    return f"{name[:MAX_SHOWN]}<{hashlib.sha256(text.encode()).hexdigest()}"


def _unexpected(error: Exception) -> IonError:
    return IonError(f"{type(error).__name__}: {error}", type=type(error).__name__)
