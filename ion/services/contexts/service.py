"""The contexts service: data from files and elsewhere, kept as blobs under tags.

What is assimilated is found by patterns of the names of tags and blobs, and given back as it was,
in order. Instances share what they keep, in their datastore; see :mod:`ion.services.contexts.rows`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial

from ion.base.errors import ConfigurationError, InvalidRequest, NotFound, Refused
from ion.process.service import Service
from ion.process.storeerrors import answering
from ion.services.contexts import codes, events
from ion.services.contexts.assimilating import Assimilator
from ion.services.contexts.blobops import BlobOps
from ion.services.contexts.catalog import Catalog, Change
from ion.services.contexts.directory import Tag
from ion.services.contexts.event_publisher import BundleEvents, EventPublisher
from ion.services.contexts.model import (
    MAX_ITEMS,
    BlobEntry,
    BundleResult,
    Destroyed,
    Found,
    Frame,
    Item,
    Packed,
    Tags,
    TagStat,
)
from ion.services.contexts.places import Places
from ion.services.contexts.retrieving import Reader, Selection
from ion.services.contexts.roots import Roots
from ion.services.contexts.settings import Settings, open_content_store, settings_of

try:
    import re2  # noqa: F401 - what is asked for is asked for by patterns: nothing goes without
except ImportError:
    _message = "patterns need google-re2: pip install 'ioncore[patterns]'"
    raise ConfigurationError(_message) from None

PAGE = 5_000  # blobs of one answer
DESTROYED = 4_000  # sources that are removed at once
_ENTRY = 400  # bytes of an entry in an answer, about
_TRIES = 3


class ContextsService(BlobOps, Service, name="contexts", version="0.1.0"):
    """Assimilates, finds, gives and destroys contexts."""

    _settings: Settings
    _catalog: Catalog
    _reader: Reader
    _assimilator: Assimilator
    _publisher: EventPublisher
    _places: Places
    _workers: list[ThreadPoolExecutor]
    _soon: asyncio.Event

    async def on_init(self) -> None:
        """Open its stores.

        :raises ConfigurationError: the app's ``config`` is wrong.
        """
        settings = self._settings = settings_of(self.app_config)
        self._workers = [
            ThreadPoolExecutor(settings.workers, thread_name_prefix=f"contexts-{name}")
            for name in ("take", "give")
        ]
        try:
            store = await self.store(f"{settings.name}_catalog")
            contents = await open_content_store(settings, await self.datastore(), *self._workers)
        except InvalidRequest as error:
            message = f"the stores of contexts cannot be opened: {error}"
            raise ConfigurationError(message) from error
        self._publisher = EventPublisher(self, is_on=settings.events)
        self._catalog = Catalog(store, settings.known)
        self._reader = Reader(store, contents)
        self._places = Places(store, contents, settings.abandoned, settings.linger)
        self._assimilator = Assimilator(
            self._catalog,
            self._places,
            Roots(settings.roots),
            self._workers[0],
            most=settings.max_tag,
            created=lambda tags: self._publisher.tell_of(events.TagCreated, tags),
        )

    async def on_activate(self) -> None:
        """Begin to tell, and to sweep."""
        self._soon = asyncio.Event()
        self.run(self._publisher.queue.run(), "events")
        self.run(self._places.keep_swept(self._settings.sweep, self._soon), "sweeping")

    async def on_terminate(self) -> None:
        """Let the workers go."""
        for workers in getattr(self, "_workers", ()):
            workers.shutdown(wait=False, cancel_futures=True)

    # assimilating

    async def op_bundle(self, items: list[Item]) -> BundleResult:
        """Assimilate items in their order, until one fails; as a request, it reports progress.

        What was stored before a failure, or a cancellation, stays. 400 for over 10,000 items.
        """
        if len(items) > MAX_ITEMS:
            message = f"a bundle has at most {MAX_ITEMS} items, this one {len(items)}"
            raise Refused(message)
        bundle_events = BundleEvents(self._publisher, self.service_name, len(items))
        try:
            result = await self._assimilator.bundle(
                items, self.message.report, bundle_events.stored
            )
            bundle_events.code = result.code
        finally:
            bundle_events.end()
        return result

    # finding

    async def op_query(
        self,
        tag_re: str,
        blob_re: str,
        max_results: int = 0,
        after: tuple[str, str] | None = None,
    ) -> Found:
        """Return blobs by patterns of whole names, by tag and in natural order, a page at a time.

        400 for a pattern that is none.
        """
        with answering():
            most = min(max_results, PAGE) if max_results > 0 else PAGE
            selection = Selection(tag_re, blob_re, max_results and most, None, after)
            if max_results == 0:
                selection.count = most + 1
            found = await selection.of(self._catalog)
        items = [held.entry for held in found[:most]]
        is_last = len(found) <= most and not (max_results > most and len(found) == most)
        return Found(items, None if is_last else (items[-1].tag, items[-1].name))

    async def op_list_tags(
        self, prefix: str = "", cursor: str | None = None, limit: int = 1000
    ) -> Tags:
        """Return names of tags that begin with ``prefix``, in their order."""
        with answering():
            if not 1 <= limit <= PAGE:
                message = f"limit: 1 to {PAGE}, not {limit}"
                raise InvalidRequest(message)
            names = await self._catalog.names(prefix, cursor, limit + 1)
        return Tags(names[:limit], names[limit - 1] if len(names) > limit else None)

    async def op_stat(self, tag: str) -> TagStat:
        """Return what is known of a tag. 404 where there is none."""
        with answering():
            found = await self._catalog.tag(tag)
            if found is None:
                message = f"there is no tag {tag!r}"
                raise NotFound(message, details={"tag": tag})
            return found.stat()

    # giving

    async def op_retrieve(
        self, tag_re: str, blob_re: str, max_results: int = 1024, max_size: int = 268_435_456
    ) -> Packed:
        """Return blobs packed one after another, with an index of their offsets.

        Where they are too much for one answer, ``data`` is None: ask ``retrieve_stream``.
        """
        with answering():
            return await self.pack(
                tag_re, blob_re, max_results, max_size, most=self._endpoint.max_content // 2
            )

    async def pack(
        self,
        tag_re: str,
        blob_re: str,
        max_results: int = 1024,
        max_size: int | None = None,
        *,
        most: int | None = None,
    ) -> Packed:
        """Return blobs packed, however many they are: for callers in this OS process.

        :param most: bytes of an answer; over these, there is no data in it. None: any number.
        :raises InvalidRequest: a pattern is none.
        :raises Damaged: a blob is not what it was.
        :raises NotFound: blobs are removed or replaced all the while.
        :raises Unavailable: the store is away.
        """
        for left in reversed(range(_TRIES)):
            found = await Selection(tag_re, blob_re, max_results, max_size).of(self._catalog)
            total = sum(held.blob.size for held in found)
            if most is not None and total + _ENTRY * len(found) > most:
                return Packed(None, total=total)
            try:
                data = await self._reader.packed(found)
            except NotFound:
                if not left:
                    raise
            else:
                return _packed(data, [held.entry for held in found])
        raise AssertionError(tag_re)

    async def op_retrieve_stream(
        self, tag_re: str, blob_re: str, max_results: int = 0, max_size: int | None = None
    ) -> AsyncIterator[Frame]:
        """Give blobs in pieces: which begin in it, and bytes one after another."""
        with answering():
            found = await Selection(tag_re, blob_re, max_results, max_size).of(self._catalog)
            async with aclosing(self._reader.frames(found)) as frames:
                async for frame in frames:
                    yield frame

    # destroying

    async def op_destroy(self, names: list[str]) -> Destroyed:
        """Destroy tags by their names; those that are not there are told, with code 1."""
        with answering():
            missing = await self._destroyed(list(dict.fromkeys(names)))
        gone = set(names) - set(missing)
        self._publisher.tell_of(events.TagDestroyed, sorted(gone))
        if not self._settings.linger:
            self._soon.set()
        return Destroyed(codes.FAILED if missing else codes.DONE, missing)

    async def _destroyed(self, names: list[str]) -> list[str]:
        """Destroy tags, as many parts of them at once as one write can; return which were none."""
        missing: list[str] = []
        left = names
        while left:
            gone, none = await self._catalog.change(set(left), partial(_to_destroy, left))
            missing += none
            done = gone.union(none)
            left = [name for name in left if name not in done]
        return missing


def _to_destroy(
    names: list[str], there: dict[str, Tag], change: Change
) -> tuple[set[str], list[str]]:
    """Plan to destroy tags; return those that are gone then, and those that are not there."""
    gone: set[str] = set()
    for name in names:
        for part in there[name].parts if name in there else ():
            if len(change.parts) == DESTROYED:
                return gone, []
            change.parts[name, part] = None
        if name in there:
            gone.add(name)
    return gone, [name for name in names if name not in there]


def _packed(data: bytes, index: list[BlobEntry]) -> Packed:
    offsets, at = [], 0
    for entry in index:
        offsets.append(at)
        at += entry.size
    return Packed(data, index, offsets, at)
