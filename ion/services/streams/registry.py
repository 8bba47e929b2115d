"""The streams that are registered, by name."""

from __future__ import annotations

import difflib
import heapq
import time
from collections.abc import AsyncIterator, Callable
from os.path import commonprefix

import msgspec

from ion.base.errors import Conflict, NotFound
from ion.process.granules.names import checked_stream
from ion.services.streams.model import Stream
from ion.stores.store import ABSENT, Datastore, Store

STORE = "streams"
MOST_COMPARED = 1000  # names, with one that is none; and closely, which takes 0.5 ms of each:
NEAREST = 20
TRIES = 20  # a change that others come before is made once more
_encode = msgspec.msgpack.Encoder().encode
_stream = msgspec.msgpack.Decoder(Stream).decode


class Registry:
    """Streams in a store, changed by compare-and-set.

    All calls raise :class:`~ion.base.errors.InvalidRequest` for what is no name, and
    :class:`~ion.base.errors.Unavailable` where the store is away.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    async def open(cls, datastore: Datastore) -> Registry:
        """Open it; made where there is none."""
        return cls(await datastore.store(STORE))

    async def get(self, name: str) -> Stream:
        """Return a stream.

        :raises NotFound: there is none; the message names those that may be meant.
        """
        data = await self._store.get(checked_stream(name))
        if data is None:
            raise await self._none(name)
        return _stream(data)

    async def change(
        self, name: str, changed: Callable[[Stream], Stream], *, make: bool = False
    ) -> Stream:
        """Change a stream, and return what it is then; what ``changed`` raises leaves it as it is.

        :param make: where there is none, begin with a new one.
        :raises NotFound: there is none.
        :raises Conflict: it is being deleted, or others change it all the time.
        """
        for _ in range(TRIES):
            entry = await self._store.entry(checked_stream(name))
            if entry is None and not make:
                raise await self._none(name)
            before = (
                _stream(entry.value) if entry is not None else Stream(name, created=time.time())
            )
            after = changed(before)
            if entry is not None and after == before:
                return after
            if before.ends:
                message = f"stream {name!r} is being deleted"
                raise Conflict(message, details={"stream": name})
            try:
                revision = entry.revision if entry is not None else ABSENT
                await self._store.put(name, _encode(after), revision=revision)
            except Conflict:
                continue
            return after
        message = f"stream {name!r} was changed by others {TRIES} times meanwhile"
        raise Conflict(message, details={"stream": name})

    async def remove(self, name: str) -> None:
        """Forget a stream."""
        await self._store.remove(name)

    async def page(self, prefix: str, after: str | None, limit: int) -> list[Stream]:
        """Return some streams, by name."""
        page = await self._store.scan(prefix, after=after, limit=limit)
        return [_stream(entry.value) for entry in page.items]

    async def all(self) -> AsyncIterator[Stream]:
        """Iterate all streams."""
        after: str | None = None
        while page := await self.page("", after, 100):
            for stream in page:
                yield stream
            after = page[-1].name

    async def _none(self, name: str) -> NotFound:
        """Return the error that there is no such stream; it names the one that may be meant."""
        page = await self._store.keys("", limit=MOST_COMPARED)
        alike = heapq.nlargest(NEAREST, page.items, key=lambda known: _shared(name, known))
        near = difflib.get_close_matches(name, alike)
        hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
        return NotFound(f"there is no stream {name!r}{hint}", details={"stream": name})


def _shared(one: str, other: str) -> int:
    """Return how many characters two names share at their ends."""
    ends = (one, other), (one[::-1], other[::-1])
    return sum(len(commonprefix(pair)) for pair in ends)  # noqa: RUF071 - characters are meant
