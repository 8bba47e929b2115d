"""Blobs far away: contents of any size go in as a conversation, and come out as a stream.

Whoever puts one says it piece by piece, and hears after each how much the store has taken; a few
pieces are on their way at a time. Under an id of one's own it can be gone on with where it broke
off.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from ion.base.errors import ApplicationError, Conflict, Damaged, InvalidRequest, NotFound
from ion.process.calling import Calling
from ion.process.serving.incoming import IncomingCall
from ion.process.storeerrors import answering, heard
from ion.services.datastore.pieces import pieces
from ion.stores.blobs.blob import BlobRef, Stat
from ion.stores.blobs.blobstore import BlobStore
from ion.stores.blobs.source import Source, checked_source
from ion.stores.blobs.upload import Upload

PIECE = 256 * 1024  # bytes of one message
WINDOW = 4  # pieces on their way
CREDIT = 4


class Blobs:
    """The ops of a process that keeps blobs for others.

    :ivar blobs: where they are.
    """

    blobs: BlobStore
    message: IncomingCall

    async def op_put_blob(self, id: str | None = None, owner: str | None = None) -> BlobRef:
        """Take a blob, as a conversation.

        It says how many bytes it has: at first (of an upload of that ``id`` that broke off), and
        after each piece. Pieces are bytes; ``{"finish": hash}`` ends it with what the blob is:
        409 where its hash is another one. With ``owner`` it is linked, and stays until unlinked.
        What was finished under its ``id`` is finished: then it says so, and takes no more pieces.
        """
        with answering():
            ref = await self.blobs.finished(id) if id is not None else None
            if ref is not None:
                await self._repeated(ref)
            else:
                ref = await self._put(id)
            if owner is not None:
                await self.blobs.link(ref.hash, owner)
            return ref

    async def op_get_blob(
        self, hash: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Give a blob's bytes, or some of them, in pieces. 404 where there is none."""
        with answering():
            async for chunk in self.blobs.get(hash, offset, length):
                for start in range(0, len(chunk), PIECE):
                    yield chunk[start : start + PIECE]

    async def op_stat_blob(self, hash: str) -> Stat | None:
        """Return what is known of a blob, or None."""
        with answering():
            return await self.blobs.stat(hash)

    async def op_link_blob(self, hash: str, owner: str) -> None:
        """Let ``owner`` own a blob: it stays until the last owner is unlinked. 404 without it."""
        with answering():
            await self.blobs.link(hash, owner)

    async def op_unlink_blob(self, hash: str, owner: str) -> bool:
        """Undo ``link_blob``; return whether it was linked."""
        with answering():
            return await self.blobs.unlink(hash, owner)

    async def _put(self, id: str | None) -> BlobRef:
        upload = await self._upload(id)
        try:
            return await self._taken(upload)
        except BaseException:
            await (upload.pause() if id is not None else upload.abort())
            raise

    async def _repeated(self, ref: BlobRef) -> None:
        """Hear out who puts once more what is there: the answer may have been lost."""
        await self.message.say(ref.size)
        async for said in self.message:
            if said != {"finish": ref.hash}:
                break
            return
        message = f"another content was put under this id: blob {ref.hash}; take another id"
        raise Conflict(message, details={"hash": ref.hash})

    async def _upload(self, id: str | None) -> Upload:
        if id is None:
            return await self.blobs.begin()
        try:
            return await self.blobs.resume(id)
        except NotFound:
            return await self.blobs.begin(id)

    async def _taken(self, upload: Upload) -> BlobRef:
        await self.message.say(upload.offset)
        async for said in self.message:
            if isinstance(said, dict) and set(said) == {"finish"}:
                return await upload.finish(said["finish"])
            if not isinstance(said, bytes):
                message = "a piece of a blob is bytes, and its end {'finish': hash}"
                raise InvalidRequest(message)
            await upload.append(said)
            await self.message.say(upload.offset)
        message = "the conversation ended before the blob did: it can be gone on with by its id"
        raise ApplicationError(message, type="Unfinished", details={"offset": upload.offset})


class RemoteBlobs:
    """The blobs of a process with the ops of :class:`Blobs`.

    Calls raise what :class:`~ion.stores.blobs.blobstore.BlobStore` does, and
    :class:`~ion.base.errors.IonError` as :meth:`Process.rpc_send`.

    :param caller: a process, a container, or what ``ion.connect`` gives.
    :param timeout: seconds of silence.
    """

    def __init__(self, caller: Calling, to: str, *, timeout: float | None = None) -> None:
        self._caller = caller
        self._to = to
        self._timeout = timeout

    async def put(
        self, source: Source, *, id: str | None = None, owner: str | None = None
    ) -> BlobRef:
        """Keep a content; where it is there already, it stays.

        :param source: bytes, a file that was opened for reading bytes, or an async iterable of
            bytes; a few pieces of it are in memory.
        :param id: under which it can be gone on with: call this once more, with the same source
            from its start; what is there already does not travel again.
        :param owner: links it.
        :raises Conflict: it was altered on its way; nothing is kept.
        :raises TypeError: ``source`` is nothing of that.
        """
        checked_source(source)
        content = {"id": id, "owner": owner}
        with heard():
            talk = await self._caller.converse(self._to, "put_blob", content, self._timeout)
            async with talk:
                digest = await self._say(talk, source)
                await talk.say({"finish": digest})
                async for _ in talk:
                    pass
                return msgspec.convert(talk.result, BlobRef)

    async def get(
        self, hash: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Iterate a blob's bytes, or some of them; whole, they are checked against its hash.

        :raises NotFound: there is no such blob.
        :raises Damaged: it is not what its hash says; what was given before is to be dropped.
        """
        content = {"hash": hash, "offset": offset, "length": length}
        found = hashlib.sha256()
        stream = self._caller.stream(self._to, "get_blob", content, self._timeout, CREDIT, bytes)
        with heard():
            async with stream:
                async for piece in stream:
                    found.update(piece)
                    yield piece
        if offset == 0 and length is None and found.hexdigest() != hash:
            message = f"blob {hash} was altered on its way, or cut short"
            raise Damaged(message, details={"hash": hash})

    async def stat(self, hash: str) -> Stat | None:
        """Return what is known of a blob, or None."""
        found = await self._ask("stat_blob", {"hash": hash})
        return msgspec.convert(found, Stat | None)

    async def link(self, hash: str, owner: str) -> None:
        """Let ``owner`` own a blob: it stays until the last owner is unlinked.

        :raises NotFound: there is no such blob.
        """
        await self._ask("link_blob", {"hash": hash, "owner": owner})

    async def unlink(self, hash: str, owner: str) -> bool:
        """Undo :meth:`link`; return whether it was linked."""
        was: bool = await self._ask("unlink_blob", {"hash": hash, "owner": owner})
        return was

    async def _say(self, talk: Any, source: Source) -> str:
        """Say what is not there yet, a few pieces ahead of what was taken; return the hash."""
        there: int = await talk.hear()
        found, position, ahead = hashlib.sha256(), 0, 0
        async for piece in pieces(source, PIECE):
            found.update(piece)
            position += len(piece)
            if position <= there:
                continue
            rest = piece[max(len(piece) - (position - there), 0) :]
            await talk.say(bytes(rest))
            ahead += 1
            if ahead >= WINDOW:
                await talk.hear()
                ahead -= 1
        return found.hexdigest()

    async def _ask(self, op: str, content: Any) -> Any:
        with heard():
            return await self._caller.rpc_send(self._to, op, content, self._timeout)
