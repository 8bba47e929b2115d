"""Assimilation: items are read in worker threads, and entered in the order of the bundle.

Small contents go many at a time into one write; a larger one goes to the content store first. An
item is entered whole, or nothing of it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from ion.base.errors import ContentTooLarge, IonError
from ion.services.contexts import codes
from ion.services.contexts.catalog import Catalog
from ion.services.contexts.codes import ItemError
from ion.services.contexts.dependencies import ordered
from ion.services.contexts.draft import INLINE, Arriving, Draft, Meter, Pieces, check_size
from ion.services.contexts.entering import enter
from ion.services.contexts.model import BundleResult, Item, ItemResult, Progress
from ion.services.contexts.places import Places
from ion.services.contexts.roots import Roots
from ion.services.contexts.sources.dispatch import drafts_of

GROUP = 256  # items, or contents, that are entered at once
_GROUP_BYTES = 8 * 1024 * 1024

T = TypeVar("T")
Tell = Callable[[Progress], None]
Stored = Callable[[int, ItemResult], None]


@dataclass(slots=True)
class Looked:
    """What an item has come to so far.

    :ivar is_read: its contents are in its drafts.
    """

    drafts: list[Draft] = field(default_factory=list)
    error: ItemError | None = None
    is_read: bool = False


class Assimilator:
    """Reads and enters.

    :param workers: threads that read.
    :param most: bytes of a tag.
    :param created: is told the tags that come to be.
    """

    def __init__(
        self,
        catalog: Catalog,
        places: Places,
        roots: Roots,
        workers: Executor,
        *,
        most: int,
        created: Callable[[list[str]], None],
    ) -> None:
        self._catalog = catalog
        self._places = places
        self._roots = roots
        self._workers = workers
        self._most = most
        self._created = created

    async def bundle(self, items: Sequence[Item], tell: Tell, stored: Stored) -> BundleResult:
        """Assimilate items one after another, until one fails; see :class:`BundleResult`.

        Where it is cancelled, what was entered stays, and nothing of the item in hand.

        :param tell: is told how far it is.
        :param stored: is told each item that is stored, and its number.
        """
        results = [ItemResult(tag=item.dst.partition("::")[2]) for item in items]
        try:
            order = ordered(items, await self._stored(items))
        except ItemError as error:
            return BundleResult(error.code, [_failed(each, error) for each in results])
        code = await _Run(self, items, results, order, tell, stored).run()
        return BundleResult(code, results)

    async def _stored(self, items: Sequence[Item]) -> set[str]:
        named = {item.depends_on for item in items if item.depends_on}
        return {
            name
            for name in named
            if await self._catalog.tag(name.removeprefix("iowarp::")) is not None
        }

    async def enter(self, drafts: Sequence[Draft]) -> None:
        """Enter drafts that were read; errors as :func:`~ion.services.contexts.entering.enter`."""
        entered = await enter(self._catalog, drafts, self._most)
        if entered.created:
            self._created(entered.created)

    async def store(self, drafts: Sequence[Draft], meter: Meter, look: Callable[[], None]) -> None:
        """Read contents and enter them: all of them, or none.

        :raises ItemError: one cannot be read.
        :raises IonError: one cannot be stored.
        """
        shelved: list[Draft] = []
        try:
            for draft in drafts:
                check_size(draft, draft.size or 0, self._most)
                if is_small(draft):
                    await self._read(draft, meter)
                    continue
                draft.place = await self._places.begin()
                shelved.append(draft)
                pieces = self._pieces(draft, meter)
                draft.ref = await self._places.put(draft.place, pieces, meter.stop, look)
                draft.revision = self._places.revision(draft.place)
            await self.enter(drafts)
        except BaseException:
            meter.stop.set()
            for draft in shelved:
                given_up = self._places.give_up(draft.place, draft.ref, draft.revision)
                await asyncio.shield(given_up)
            raise

    async def _read(self, draft: Draft, meter: Meter) -> None:
        if draft.arriving is None:
            await self.thread(meter.read, draft, self._most)
        else:
            pieces = meter.arriving(draft, draft.arriving(), self._most)
            draft.data = b"".join([piece async for piece in pieces])

    def _pieces(self, draft: Draft, meter: Meter) -> Pieces | Arriving:
        if draft.arriving is None:
            return meter.through(draft, self._most)
        return meter.arriving(draft, draft.arriving(), self._most)

    async def thread(self, work: Callable[..., T], *args: object) -> T:
        """Run what blocks in a worker."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, work, *args)

    def look_at(self, items: Sequence[Item], meter: Meter) -> list[Looked]:
        """Look at items, and read what is small, until one is large, or fails; it blocks."""
        found: list[Looked] = []
        before = meter.bytes
        count = 0
        for item in items:
            found.append(self._look(item, meter))
            count += len(found[-1].drafts)
            is_full = meter.bytes - before > _GROUP_BYTES or count > GROUP
            if is_full or not found[-1].is_read:
                break
        return found

    def _look(self, item: Item, meter: Meter) -> Looked:
        looked = Looked()
        try:
            looked.drafts = drafts_of(item, self._roots)
            looked.is_read = all(map(is_small, looked.drafts))
            for draft in looked.drafts if looked.is_read else ():
                meter.read(draft, self._most)
        except ItemError as error:
            looked.error, looked.is_read = error, False
        return looked


class _Run:
    """One bundle on its way."""

    def __init__(
        self,
        owner: Assimilator,
        items: Sequence[Item],
        results: list[ItemResult],
        order: list[int],
        tell: Tell,
        stored: Stored,
    ) -> None:
        self._owner = owner
        self._items = items
        self._results = results
        self._order = order
        self._tell = tell
        self._stored = stored
        self._meter = Meter()
        self._done = 0

    async def run(self) -> int:
        """Return the code of the first item that failed, or 0."""
        try:
            while self._done < len(self._order):
                code = await self._some()
                if code:
                    return code
                self._look()
        finally:
            self._meter.stop.set()
        return codes.DONE

    def _look(self) -> None:
        """Say how far it is."""
        at = min(self._done, len(self._order) - 1)
        self._tell(Progress(self._order[at], self._done, len(self._order), self._meter.bytes))

    async def _some(self) -> int:
        """Take the next items, until one is large."""
        numbers = self._order[self._done : self._done + GROUP]
        items = [self._items[number] for number in numbers]
        looked = await self._owner.thread(self._owner.look_at, items, self._meter)
        code = await self._enter([each for each in looked if each.is_read])
        last = looked[-1]
        if code or last.is_read:
            return code
        if last.error is not None:
            return self._fail(last.error)
        return await self._try(self._owner.store, last, self._meter, self._look)

    async def _enter(self, read: list[Looked]) -> int:
        """Enter what was read: at once, or, where that fails, one by one."""
        if not read:
            return codes.DONE
        try:
            await self._owner.enter([draft for each in read for draft in each.drafts])
        except (ItemError, IonError) as error:
            if len(read) == 1:
                return self._fail(error)
            for each in read:
                code = await self._try(self._owner.enter, each)
                if code:
                    return code
            return codes.DONE
        for each in read:
            self._succeed(each)
        return codes.DONE

    async def _try(self, work: Callable[..., object], looked: Looked, *args: object) -> int:
        try:
            await work(looked.drafts, *args)  # type: ignore[misc]
        except (ItemError, IonError) as error:
            return self._fail(error)
        self._succeed(looked)
        return codes.DONE

    def _succeed(self, looked: Looked) -> None:
        number = self._order[self._done]
        count = sum(
            len(draft.blobs) + len(draft.extra) + (draft.description is not None)
            for draft in looked.drafts
        )
        size = sum(draft.length for draft in looked.drafts)
        self._results[number] = msgspec.structs.replace(
            self._results[number], code=codes.DONE, blobs=count, bytes=size
        )
        self._done += 1
        self._stored(number, self._results[number])

    def _fail(self, error: ItemError | IonError) -> int:
        failed = _as_item_error(error)
        number = self._order[self._done]
        self._results[number] = _failed(self._results[number], failed)
        return failed.code


def is_small(draft: Draft) -> bool:
    """Return whether a content is kept in a row."""
    return draft.size is not None and draft.size <= INLINE


def _failed(result: ItemResult, error: ItemError) -> ItemResult:
    return msgspec.structs.replace(result, code=error.code, reason=error.reason)


def _as_item_error(error: ItemError | IonError) -> ItemError:
    if isinstance(error, ItemError):
        return error
    code = codes.OVER_LIMIT if isinstance(error, ContentTooLarge) else codes.NOT_STORED
    return ItemError(code, f"it could not be stored: {error}")
