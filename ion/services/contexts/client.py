"""The typed client of the contexts service."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import msgspec

from ion.base.errors import CodecError
from ion.process.calling import Calling
from ion.process.client import ServiceClient
from ion.process.storeerrors import heard
from ion.services.contexts.model import (
    BlobEntry,
    BundleResult,
    Destroyed,
    Found,
    Frame,
    Item,
    Packed,
    Progress,
    Tags,
    TagStat,
)

MAX_SIZE = 256 * 1024 * 1024
_CREDIT = 16  # pieces on their way
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

        :param progress: is told how far it is.
        :param timeout: seconds for all of it; a day by default.
        :raises Refused: they are more than a bundle may have.
        """
        limit = timeout or self._timeout or _LONG
        caller = cast("Calling", self._caller)
        with heard():
            talk = caller.request(self._to, "bundle", {"items": list(items)}, limit)
            try:
                async for said in talk:
                    if progress is not None:
                        progress(msgspec.convert(said, Progress))
                result: BundleResult = _built(await talk, BundleResult)
                return result
            finally:
                talk.cancel()

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
        return await self._gathered(content, timeout)

    async def _gathered(self, content: dict[str, Any], timeout: float | None) -> Packed:
        data = io.BytesIO()
        index: list[BlobEntry] = []
        async for frame in self._frames(content, timeout):
            index += frame.index
            data.write(frame.data)
        offsets: list[int] = []
        at = 0
        for entry in index:
            offsets.append(at)
            at += entry.size
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
        async for frame in self._frames(content, timeout):
            waiting += frame.index
            data += frame.data
            at = done = 0
            for entry in waiting:
                if len(data) - at < entry.size:
                    break
                yield entry, bytes(data[at : at + entry.size])
                at += entry.size
                done += 1
            del data[:at], waiting[:done]

    async def _frames(self, content: dict[str, Any], timeout: float | None) -> AsyncIterator[Frame]:
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

    async def _ask(self, op: str, content: Any, timeout: float | None, returns: Any = Any) -> Any:
        with heard():
            return await self._call(op, content, timeout=timeout, returns=returns)


def _built(content: Any, returns: Any) -> Any:
    try:
        return msgspec.convert(content, returns)
    except msgspec.ValidationError as error:
        message = f"the answer of contexts is not what its client expects: {error}"
        raise CodecError(message) from None
