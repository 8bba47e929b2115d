"""Retrieval: blobs by patterns, packed one after another or in pieces."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import cast

from ion.base.errors import Damaged, InvalidRequest, NotFound
from ion.base.patterns import Pattern, compiled
from ion.services.contexts.buffers import sized
from ion.services.contexts.catalog import Catalog
from ion.services.contexts.content_store import ContentStore
from ion.services.contexts.directory import Held, Tag
from ion.services.contexts.model import BlobEntry, Frame
from ion.services.contexts.natural_sort import natural_key
from ion.services.contexts.rows import DATA, ROW
from ion.stores.store import Store

FRAME = 512 * 1024  # bytes of a piece
_AHEAD = 2  # portions that are read, or wait to be taken
_AT_ONCE = 2 * 1024 * 1024  # bytes of a large blob that are read at once
_ROWS = 512  # that are read at a time


class Selection:
    """What is asked for.

    :param count: blobs at most; 0: any number.
    :param size: bytes at most; it ends before the first blob that does not fit. None: any number.
    :param after: (tag, name): only what comes after.
    :raises InvalidRequest: a pattern is none, or a bound is negative.
    """

    def __init__(
        self,
        tag_re: str,
        blob_re: str,
        count: int = 0,
        size: int | None = None,
        after: tuple[str, str] | None = None,
    ) -> None:
        if count < 0 or (size is not None and size < 0):
            message = f"bounds of a retrieval are 0 or more, not {count} blobs of {size} bytes"
            raise InvalidRequest(message)
        self.tag = compiled(tag_re)
        self.blob = compiled(blob_re)
        self.count = count
        self.size = size
        self.after = after

    async def of(self, catalog: Catalog) -> list[Held]:
        """Return the blobs, by tag and in natural order."""
        found: list[Held] = []
        if self.tag.literal is not None:
            tag = await catalog.tag(self.tag.literal)
            if tag is not None:
                self._take(tag, found)
            return self._bounded(found)
        async for tag in catalog.tags(self._is_wanted):
            self._take(tag, found)
            if self.count and len(found) >= self.count:
                break
        return self._bounded(found)

    def _is_wanted(self, name: str) -> bool:
        return (self.after is None or name >= self.after[0]) and self.tag.matches(name)

    def _take(self, tag: Tag, found: list[Held]) -> None:
        held = _matching(tag, self.blob)
        if self.after is not None and tag.name == self.after[0]:
            start = natural_key(self.after[1])
            held = [each for each in held if natural_key(each.blob.name) > start]
        found += held

    def _bounded(self, found: list[Held]) -> list[Held]:
        if self.count:
            del found[self.count :]
        if self.size is not None:
            total = 0
            for number, held in enumerate(found):
                total += held.blob.size
                if total > self.size:
                    return found[:number]
        return found


def _matching(tag: Tag, pattern: Pattern) -> list[Held]:
    if pattern.is_all:
        return list(tag.blobs.values())
    if pattern.literal is not None:
        held = tag.blobs.get(pattern.literal)
        return [held] if held is not None else []
    return [held for name, held in tag.blobs.items() if pattern.matches(name)]


class Reader:
    """Reads the bytes of blobs, and checks them."""

    def __init__(self, store: Store, contents: ContentStore) -> None:
        self._store = store
        self._contents = contents

    async def packed(self, wanted: Sequence[Held]) -> bytes:
        """Return the bytes of blobs, one after another. No more memory is taken than for these.

        :raises NotFound: one was removed, or replaced, meanwhile.
        :raises Damaged: one is not what it was.
        """
        total = sum(held.blob.size for held in wanted)
        if not total:
            return b""
        buffer = sized(total)
        with buffer.getbuffer() as view:
            await self._fill(wanted, view)
        return buffer.getvalue()  # what it has is given away, not copied

    async def frames(self, wanted: Sequence[Held]) -> AsyncGenerator[Frame, None]:
        """Iterate the bytes of blobs in pieces of :data:`FRAME`; errors as :meth:`packed`.

        What comes next is read while it is waited for that the last is taken.
        """
        crc = 0
        async with aclosing(self._read_ahead(_portions(wanted))) as ahead:
            async for portion, data in ahead:
                for frame in _cut(portion, data):
                    yield frame
                crc = _checked(portion, data, crc)

    async def _read_ahead(
        self, portions: Iterator[_Portion]
    ) -> AsyncGenerator[tuple[_Portion, bytes], None]:
        ahead: deque[tuple[_Portion, asyncio.Task[bytes]]] = deque()
        try:
            while True:
                for portion in itertools.islice(portions, _AHEAD - len(ahead)):
                    ahead.append((portion, asyncio.ensure_future(self._read(portion))))
                if not ahead:
                    return
                portion, task = ahead.popleft()
                yield portion, await task
        finally:
            for _, task in ahead:
                task.cancel()

    async def _read(self, portion: _Portion) -> bytes:
        if portion.size is None:
            return await self.packed(portion.held)
        return await self.some(portion.held[0], portion.offset, portion.size)

    async def some(self, held: Held, offset: int, size: int) -> bytes:
        """Return some bytes of one blob, unchecked."""
        blob, part = held.blob, held.part
        if blob.data is not None:
            return blob.data[offset : offset + size]
        start = blob.offset + offset
        if part.where == ROW:
            data = await self._store.get(DATA + part.place)
            if data is None:
                raise _gone(held)
            return data[start : start + size]
        return await self._contents.read(part.place, part.ref, start, size)

    async def _fill(self, wanted: Sequence[Held], view: memoryview) -> None:
        rooms: list[memoryview] = []
        at = 0
        for held in wanted:
            rooms.append(view[at : at + held.blob.size])
            at += held.blob.size
        try:
            await self._fill_all(wanted, rooms)
        finally:
            # A worker may still know them, and then their bytes would be copied; what has failed
            # does know them, and the buffer could not be closed.
            for room in rooms:
                with suppress(BufferError):  # given up while a worker reads into it
                    room.release()

    async def _fill_all(self, wanted: Sequence[Held], rooms: Sequence[memoryview]) -> None:
        in_rows: list[tuple[Held, memoryview]] = []
        run: list[tuple[Held, memoryview]] = []
        for held, room in zip(wanted, rooms, strict=True):
            if held.blob.data is not None:
                room[:] = held.blob.data
            elif held.part.where == ROW:
                in_rows.append((held, room))
            elif held.blob.size:
                if run and run[0][0].part.place != held.part.place:
                    await self._from_contents(run)
                    run = []
                run.append((held, room))
        if run:
            await self._from_contents(run)
        for start in range(0, len(in_rows), _ROWS):
            await self._from_rows(in_rows[start : start + _ROWS])

    async def _from_contents(self, run: list[tuple[Held, memoryview]]) -> None:
        part = run[0][0].part
        rooms = [(held.blob.offset, room, held.blob.crc) for held, room in run]
        wrong = await self._contents.read_into(part.place, part.ref, rooms)
        if wrong is not None:
            raise _damaged(run[wrong][0].entry)

    async def _from_rows(self, wanted: list[tuple[Held, memoryview]]) -> None:
        keys = list(dict.fromkeys(DATA + held.part.place for held, _ in wanted))
        if len(keys) == 1:  # SQLite reads one at once, and several in a thread
            rows = {keys[0]: await self._store.get(keys[0])}
        else:
            rows = {**await self._store.get_many(keys)}
        for held, room in wanted:
            data = rows.get(DATA + held.part.place)
            if data is None:
                raise _gone(held)
            blob = held.blob
            room[:] = data[blob.offset : blob.offset + blob.size]
            _check(held.entry, zlib.crc32(room))


@dataclass(frozen=True, slots=True)
class _Portion:
    """What is read at once: whole blobs, or, with a size, a part of a large one."""

    held: list[Held]
    offset: int = 0
    size: int | None = None

    @property
    def index(self) -> list[BlobEntry]:
        """The blobs that begin in it."""
        return [] if self.offset else [held.entry for held in self.held]


def _portions(wanted: Sequence[Held]) -> Iterator[_Portion]:
    some: list[Held] = []
    size = 0
    for held in wanted:
        more = held.blob.size
        if some and (size + more > FRAME or len(some) >= _ROWS):
            yield _Portion(some)
            some, size = [], 0
        if more > _AT_ONCE:
            for offset in range(0, more, _AT_ONCE):
                yield _Portion([held], offset, min(_AT_ONCE, more - offset))
        else:
            some.append(held)
            size += more
    if some:
        yield _Portion(some)


def _cut(portion: _Portion, data: bytes) -> Iterator[Frame]:
    view = memoryview(data)
    for start in range(0, len(data), FRAME) or (0,):
        index = [] if start else portion.index
        yield Frame(index, cast("bytes", view[start : start + FRAME]))


def _checked(portion: _Portion, data: bytes, crc: int) -> int:
    """Return the sum of a large blob so far.

    :raises Damaged: that was its end, and it is not what it was.
    """
    if portion.size is None:
        return 0
    blob = portion.held[0].blob
    crc = zlib.crc32(data, crc if portion.offset else 0)
    if portion.offset + portion.size == blob.size:
        _check(portion.held[0].entry, crc)
    return crc


def _check(entry: BlobEntry, crc: int) -> None:
    if crc != entry.crc:
        raise _damaged(entry)


def _damaged(entry: BlobEntry) -> Damaged:
    message = f"blob {entry.name!r} of tag {entry.tag!r} is not what it was: assimilate it again"
    return Damaged(message, details={"tag": entry.tag, "blob": entry.name})


def _gone(held: Held) -> NotFound:
    message = f"blob {held.blob.name!r} of tag {held.entry.tag!r} is not there (any more)"
    return NotFound(message, details={"tag": held.entry.tag, "blob": held.blob.name})
