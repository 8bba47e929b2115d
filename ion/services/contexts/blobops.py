"""Single blobs: putting them by hand, reading one, and putting together what other tags have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

from ion.base.errors import ApplicationError, InvalidRequest, NotFound
from ion.process.serving.incoming import IncomingCall
from ion.process.storeerrors import answering
from ion.services.contexts.assimilating import Assimilator
from ion.services.contexts.catalog import Catalog
from ion.services.contexts.codes import OVER_LIMIT, ItemError
from ion.services.contexts.directory import Held
from ion.services.contexts.draft import Draft, Meter
from ion.services.contexts.model import MAX_NAME, MAX_TAG, BlobEntry
from ion.services.contexts.names import fault_of
from ion.services.contexts.retrieving import Reader, Selection
from ion.services.contexts.sources.text import by_hand

PIECE = 256 * 1024  # bytes of a message
MAX_SPLICED = 2_000  # blobs: they are entered at once


class BlobOps:
    """The ops of the service for single blobs."""

    _catalog: Catalog
    _reader: Reader
    _assimilator: Assimilator
    message: IncomingCall

    async def op_put_blob(
        self, tag: str, name: str, data: bytes | None = None, media: str = ""
    ) -> BlobEntry:
        """Put a blob; one that was put by hand before is replaced.

        Without ``data``, it is a conversation: pieces are bytes, each answered with how many bytes
        there are, and ``{"finish": size}`` ends it. 409 for a name that a source's blob has.
        """
        with answering():
            _check_names(tag, name)
            draft = by_hand(tag, name, data or b"", "", media)
            if data is None:
                draft.size, draft.arriving = None, self._said
            await self._store([draft])
        blob = draft.blobs[0]
        return BlobEntry(tag, name, blob.size, blob.crc, media=media)

    async def _said(self) -> AsyncIterator[bytes]:
        """Give the pieces of the conversation."""
        size = 0
        await self.message.say(size)
        async for said in self.message:
            if isinstance(said, dict) and set(said) == {"finish"}:
                if said["finish"] != size:
                    message = f"{size} bytes of the blob came, not {said['finish']}"
                    raise InvalidRequest(message)
                return
            if not isinstance(said, bytes):
                message = "a piece of a blob is bytes, and its end {'finish': size}"
                raise InvalidRequest(message)
            if said:
                yield said
            size += len(said)
            await self.message.say(size)
        message = "the conversation ended before the blob did"
        raise ApplicationError(message, type="Unfinished")

    async def op_get_blob(
        self, tag: str, name: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Give a blob's bytes, or some of them, in pieces. 404 where there is none."""
        with answering():
            if offset < 0 or (length is not None and length < 0):
                message = f"no part of a blob: offset {offset}, length {length}"
                raise InvalidRequest(message)
            found = await self._catalog.tag(tag)
            held = found.blobs.get(name) if found is not None else None
            if held is None:
                message = f"there is no blob {name!r} in tag {tag!r}"
                raise NotFound(message, details={"tag": tag, "blob": name})
            end = held.blob.size if length is None else min(held.blob.size, offset + length)
            for start in range(offset, end, PIECE):
                yield await self._reader.some(held, start, min(PIECE, end - start))

    async def op_splice(self, tag: str, tag_re: str, blob_re: str) -> int:
        """Copy the blobs that match into a tag; return how many they were.

        A blob keeps its name, or, where several have it, is called ``<tag>/<name>``. What was
        spliced before under a name is replaced. 400 for over 2,000 blobs, 409 as ``put_blob``.
        """
        with answering():
            selection = Selection(tag_re, blob_re, MAX_SPLICED + 2)
            found = [h for h in await selection.of(self._catalog) if h.entry.tag != tag]
            if len(found) > MAX_SPLICED:
                message = f"over {MAX_SPLICED} blobs match: splice fewer at a time"
                raise InvalidRequest(message)
            await self._store([self._copy(tag, name, held) for name, held in _named(found)])
        return len(found)

    def _copy(self, tag: str, name: str, held: Held) -> Draft:
        _check_names(tag, name)
        draft = by_hand(tag, name, b"", held.entry.source, held.entry.media)
        draft.size, draft.mtime = held.blob.size, held.entry.mtime

        async def bytes_of() -> AsyncIterator[bytes]:
            async with aclosing(self._reader.frames([held])) as frames:
                async for frame in frames:
                    if frame.data:
                        yield frame.data

        draft.arriving = bytes_of
        return draft

    async def _store(self, drafts: list[Draft]) -> None:
        if not drafts:
            return
        try:
            await self._assimilator.store(drafts, Meter(), lambda: None)
        except ItemError as error:
            code = 413 if error.code == OVER_LIMIT else 400
            raise ApplicationError(error.reason, code=code, details={"code": error.code}) from error


def _named(found: Iterable[Held]) -> list[tuple[str, Held]]:
    """Return blobs with the names that they are to have together."""
    held = list(found)
    counts: dict[str, int] = {}
    for each in held:
        counts[each.blob.name] = counts.get(each.blob.name, 0) + 1
    return [
        (h.blob.name if counts[h.blob.name] == 1 else f"{h.entry.tag}/{h.blob.name}", h)
        for h in held
    ]


def _check_names(tag: str, name: str) -> None:
    for what, given, most in (("tag", tag, MAX_TAG), ("blob", name, MAX_NAME)):
        fault = fault_of(given, most)
        if fault:
            message = f"the name {given[:50]!r} of a {what} {fault}"
            raise InvalidRequest(message, details={what: given[:50]})
