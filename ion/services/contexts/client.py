"""The typed client of the contexts service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

import msgspec

from ion.base.errors import CodecError
from ion.process.calling import Calling
from ion.process.client import ServiceClient
from ion.process.conversations.dialogue import Dialogue
from ion.process.conversations.request import RequestConversation
from ion.process.storeerrors import heard
from ion.services.contexts.buffers import sized
from ion.services.contexts.codes import DONE, ItemError
from ion.services.contexts.dependencies import portioned
from ion.services.contexts.model import (
    BlobEntry,
    BundleResult,
    Destroyed,
    Found,
    Frame,
    Item,
    ItemResult,
    Packed,
    Progress,
    Tags,
    TagStat,
)

Source = bytes | bytearray | memoryview | AsyncIterable[bytes]
MAX_SIZE = 256 * 1024 * 1024
_CREDIT = 16  # pieces on their way
_PIECE = 256 * 1024  # bytes of one message
_WINDOW = 4  # of them on their way
_AT_ONCE = 512 * 1024  # bytes of a blob that goes in one message
_LONG = 24 * 3600.0  # seconds that a bundle may take


class ContextsClient(ServiceClient, service="contexts"):
    """Assimilates, finds, retrieves and destroys contexts.

    ::

        contexts = ContextsClient(container)
        result = await contexts.bundle([Item("file::/data/run1.bin", "iowarp::runs")])
        for blob in await contexts.query("runs", ".*"):
            print(blob.tag, blob.name, blob.size)

    Patterns are regular expressions of RE2 that match whole names. All calls raise
    :class:`~ion.base.errors.InvalidRequest` for a pattern that is none, and
    :class:`~ion.base.errors.Unavailable` where the store is away.
    """

    async def bundle(
        self,
        items: Sequence[Item],
        *,
        progress: Callable[[Progress], None] | None = None,
        timeout: float | None = None,
    ) -> BundleResult:
        """Assimilate items one after another, until one fails; cancel it, and the service stops.

        Those that are too large for one message go in several, in the order that they depend on
        each other; progress and timeout are of each then.

        :param progress: is told how far it is.
        :param timeout: seconds for all of it; a day by default. The client's own ``timeout`` is for
            the silence of the service meanwhile.
        :raises Refused: they are more than a bundle may have.
        """
        items = list(items)
        try:
            portions = portioned(items)
        except ItemError as error:
            failed = ItemResult(code=error.code, reason=error.reason)
            return BundleResult(error.code, [failed for _ in items])
        if len(portions) == 1:
            return await self._portion(items, progress, timeout)
        results: list[ItemResult] = [ItemResult(tag=item.dst.partition("::")[2]) for item in items]
        for portion in portions:
            some = [item for _, item in portion]
            done = await self._portion(some, progress, timeout)
            for (number, _), result in zip(portion, done.items, strict=True):
                results[number] = result
            if done.code:
                return BundleResult(done.code, results)
        return BundleResult(DONE, results)

    async def _portion(
        self,
        items: list[Item],
        progress: Callable[[Progress], None] | None,
        timeout: float | None,
    ) -> BundleResult:
        caller = cast("Calling", self._caller)
        patience = self._timeout
        limit = timeout or _LONG
        with heard():
            talk = caller.request(self._to, "bundle", {"items": items}, limit, patience, patience)
            try:
                await _followed(talk, progress)
                result: BundleResult = _built(await talk, BundleResult)
            finally:
                talk.cancel()
        return result

    async def query(
        self, tag_re: str, blob_re: str, max_results: int = 0, *, timeout: float | None = None
    ) -> list[BlobEntry]:
        """Return the blobs whose tag and name match, by tag and in natural order.

        :param max_results: 0: any number.
        """
        items: list[BlobEntry] = []
        after: tuple[str, str] | None = None
        while True:
            content = {
                "tag_re": tag_re,
                "blob_re": blob_re,
                "max_results": max_results and max_results - len(items),
                "after": after,
            }
            found: Found = await self._ask("query", content, timeout, Found)
            items += found.items
            after = found.after
            if after is None or (max_results and len(items) >= max_results):
                return items

    async def retrieve(
        self,
        tag_re: str,
        blob_re: str,
        max_results: int = 1024,
        max_size: int = MAX_SIZE,
        *,
        timeout: float | None = None,
    ) -> Packed:
        """Return blobs packed one after another, with an index of where each is.

        :param max_size: bytes of all together; it ends before the first blob that does not fit.
        :raises Damaged: a blob is not what it was.
        """
        content = {
            "tag_re": tag_re,
            "blob_re": blob_re,
            "max_results": max_results,
            "max_size": max_size,
        }
        packed: Packed = await self._ask("retrieve", content, timeout, Packed)
        if packed.data is not None:
            return packed
        return await self._gathered(content, timeout, min(packed.total, max_size))

    async def _gathered(
        self, content: dict[str, Any], timeout: float | None, expected: int
    ) -> Packed:
        data = sized(expected)
        index: list[BlobEntry] = []
        async with aclosing(self._frames(content, timeout)) as frames:
            async for frame in frames:
                index += frame.index
                data.write(frame.data)
        offsets: list[int] = []
        at = 0
        for entry in index:
            offsets.append(at)
            at += entry.size
        data.truncate()  # it may have changed meanwhile
        return Packed(data.getvalue(), index, offsets, at)

    async def blobs(
        self,
        tag_re: str,
        blob_re: str,
        max_results: int = 0,
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[tuple[BlobEntry, bytes]]:
        """Iterate blobs with their bytes, in order, whatever they are together.

        :param timeout: seconds of silence.
        """
        content = {"tag_re": tag_re, "blob_re": blob_re, "max_results": max_results}
        waiting: list[BlobEntry] = []
        data = bytearray()
        async with aclosing(self._frames(content, timeout)) as frames:
            async for frame in frames:
                waiting += frame.index
                data += frame.data
                for blob in _taken(waiting, data):
                    yield blob

    async def _frames(
        self, content: dict[str, Any], timeout: float | None
    ) -> AsyncGenerator[Frame, None]:
        stream = self._stream(
            "retrieve_stream", content, timeout=timeout, credit=_CREDIT, returns=Frame
        )
        with heard():
            async with stream:
                async for frame in stream:
                    yield frame

    async def destroy(self, names: Sequence[str], *, timeout: float | None = None) -> Destroyed:
        """Destroy tags by their names, with all that is in them."""
        content = {"names": list(names)}
        gone: Destroyed = await self._ask("destroy", content, timeout, Destroyed)
        return gone

    async def list_tags(self, prefix: str = "", *, timeout: float | None = None) -> list[str]:
        """Return the names of all tags that begin with ``prefix``, in order."""
        names: list[str] = []
        cursor: str | None = None
        while True:
            content = {"prefix": prefix, "cursor": cursor}
            page: Tags = await self._ask("list_tags", content, timeout, Tags)
            names += page.items
            cursor = page.cursor
            if cursor is None:
                return names

    async def stat(self, tag: str, *, timeout: float | None = None) -> TagStat:
        """Return what is known of a tag.

        :raises NotFound: there is none.
        """
        found: TagStat = await self._ask("stat", {"tag": tag}, timeout, TagStat)
        return found

    async def put_blob(
        self,
        tag: str,
        name: str,
        source: Source,
        *,
        media: str = "",
        timeout: float | None = None,
    ) -> BlobEntry:
        """Put a blob by hand; one that was put so before is replaced.

        :param source: bytes, or an async iterable of bytes, of any length.
        :raises Conflict: a source's blob has that name.
        :raises InvalidRequest: a name is none.
        """
        content: dict[str, Any] = {"tag": tag, "name": name, "media": media}
        if isinstance(source, bytes | bytearray | memoryview) and len(source) <= _AT_ONCE:
            content["data"] = bytes(source)
            put: BlobEntry = await self._ask("put_blob", content, timeout, BlobEntry)
            return put
        caller = cast("Calling", self._caller)
        with heard():
            talk = await caller.converse(self._to, "put_blob", content, timeout or self._timeout)
            async with talk:
                await _say(talk, source)
                async for _ in talk:
                    pass
            result: BlobEntry = _built(talk.result, BlobEntry)
        return result

    async def get_blob(
        self,
        tag: str,
        name: str,
        offset: int = 0,
        length: int | None = None,
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[bytes]:
        """Iterate the bytes of a blob, or some of them.

        :raises NotFound: there is no such blob.
        """
        content = {"tag": tag, "name": name, "offset": offset, "length": length}
        stream = self._stream("get_blob", content, timeout=timeout, credit=_CREDIT, returns=bytes)
        with heard():
            async with stream:
                async for piece in stream:
                    yield piece

    async def splice(
        self, tag: str, tag_re: str, blob_re: str, *, timeout: float | None = None
    ) -> int:
        """Copy the blobs that match into a tag; return how many they were.

        Where several have a name, they are called ``<tag>/<name>`` there.

        :raises Conflict: a source's blob has a name already.
        """
        content = {"tag": tag, "tag_re": tag_re, "blob_re": blob_re}
        count: int = await self._ask("splice", content, timeout, int)
        return count

    async def _ask(self, op: str, content: Any, timeout: float | None, returns: Any = Any) -> Any:
        with heard():
            return await self._call(op, content, timeout=timeout, returns=returns)


async def _say(talk: Dialogue, source: Source) -> None:
    """Say a blob piece by piece, and that it is over."""
    size = on_their_way = 0
    async for data in _given(source):
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PIECE):
            while on_their_way >= _WINDOW:
                await talk.hear()
                on_their_way -= 1
            piece = bytes(view[start : start + _PIECE])
            await talk.say(piece)
            size += len(piece)
            on_their_way += 1
    await talk.say({"finish": size})


async def _given(source: Source) -> AsyncIterator[bytes | bytearray | memoryview]:
    if isinstance(source, bytes | bytearray | memoryview):
        yield source
    else:
        async for data in source:
            yield data


def _taken(waiting: list[BlobEntry], data: bytearray) -> list[tuple[BlobEntry, bytes]]:
    """Take the blobs that are whole."""
    taken: list[tuple[BlobEntry, bytes]] = []
    at = 0
    for entry in waiting:
        if len(data) - at < entry.size:
            break
        taken.append((entry, bytes(data[at : at + entry.size])))
        at += entry.size
    del data[:at], waiting[: len(taken)]
    return taken


async def _followed(talk: RequestConversation, progress: Callable[[Progress], None] | None) -> None:
    async for said in talk:
        if progress is not None:
            progress(_built(said, Progress))


def _built(content: Any, returns: Any) -> Any:
    try:
        return msgspec.convert(content, returns)
    except msgspec.ValidationError as error:
        message = f"the answer of contexts is not what its client expects: {error}"
        raise CodecError(message) from None
