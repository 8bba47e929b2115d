"""Processes as peers: any two of them bring repositories of objects to each other.

:class:`Peering` gives a process the ops of a peer and a workbench on its own repositories;
:class:`FarPeer` is such a process as others see it. What moves, and how nothing is left half, is
the business of :mod:`ion.objects.transfer`; here it becomes messages: elements go out as a stream
of batches, which the reader's credit bounds, and come in by calls of one batch each.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from ion.base.errors import (
    ApplicationError,
    Conflict,
    Damaged,
    IonError,
    OpNotFound,
    ServiceNotFound,
)
from ion.objects.element import hash_of, verified
from ion.objects.kept import KeptPeer
from ion.objects.names import MAIN
from ion.objects.peer import BATCH_BYTES, MAX_ASKED
from ion.objects.repository import Repository
from ion.objects.workbench import Workbench
from ion.process.calling import Calling
from ion.process.client import Caller
from ion.process.storeerrors import Instead, answering, heard
from ion.stores.opening import open_datastore

CREDIT = 4  # batches that are on their way at a time
AIR = 2  # a batch is at most this part of what a message may hold


class FarPeer:
    """A process that has the ops of :class:`Peering`, as a peer (:class:`~ion.objects.peer.Peer`).

    Errors are as if it were here. All calls raise :class:`~ion.base.errors.IonError`, too, as
    :meth:`Process.rpc_send`: what was begun can then be tried again, and goes on where it ended.

    :param caller: a process, a container, or what ``ion.connect`` gives.
    :param to: name of a service, or process id.
    :param timeout: of each call, seconds; the setting by default.
    :param batch: bytes of elements that one message takes.
    """

    def __init__(
        self,
        caller: Caller,
        to: str,
        *,
        timeout: float | None = None,
        batch: int = BATCH_BYTES,
    ) -> None:
        self._caller = caller
        self._to = to
        self._timeout = timeout
        self._batch = batch

    async def missing(self, hashes: Sequence[bytes]) -> list[bytes]:
        """See :meth:`Elements.missing`."""
        found: list[bytes] = await self._ask("missing", {"hashes": list(hashes)})
        return found

    async def fetch(self, hashes: Sequence[bytes]) -> list[bytes]:
        """See :meth:`Elements.fetch`; each was checked against its hash."""
        content = {"hashes": list(hashes), "most": self._batch}
        return [data async for data in self._fetched(hashes, content)]

    def stream(self, hashes: Sequence[bytes]) -> AsyncIterator[bytes]:
        """Iterate elements, each checked against its hash, however large all of them are.

        No more than a few batches are on their way at a time.

        :param hashes: at most :data:`~ion.objects.peer.MAX_ASKED`.
        :raises NotFound: (after those before it) one is not there.
        :raises Damaged: one is not what its hash says, or something else came.
        """
        return self._fetched(hashes, {"hashes": list(hashes)})

    async def offer(self, elements: Sequence[bytes]) -> None:
        """See :meth:`Elements.offer`."""
        batch: list[bytes] = []
        size = 0
        for data in elements:
            if batch and (size + len(data) > self._batch or len(batch) == MAX_ASKED):
                await self._put(batch)
                batch, size = [], 0
            batch.append(data)
            size += len(data)
        if batch:
            await self._put(batch)

    async def heads(self, repository: str) -> Mapping[str, bytes]:
        """See :meth:`Peer.heads`."""
        found: dict[str, bytes] = await self._ask("heads", {"repository": repository})
        return found

    async def set_head(
        self, repository: str, branch: str, expected: bytes | None, commit: bytes
    ) -> None:
        """See :meth:`Peer.set_head`."""
        content = {
            "repository": repository,
            "branch": branch,
            "expected": expected,
            "commit": commit,
        }
        await self._ask("set_head", content)

    async def _put(self, elements: list[bytes]) -> None:
        hashes = [hash_of(data) for data in elements]
        await self._ask("put_blobs", {"elements": elements, "hashes": hashes})

    async def _fetched(
        self, hashes: Sequence[bytes], content: Mapping[str, Any]
    ) -> AsyncIterator[bytes]:
        batches = self._caller.stream(
            self._to, "fetch_blobs", content, self._timeout, CREDIT, list[bytes]
        )
        wanted = iter(hashes)
        with heard():
            async with batches:
                async for data in _flat(batches, wanted):
                    yield data

    async def _ask(self, op: str, content: Mapping[str, Any]) -> Any:
        with heard():
            return await self._caller.rpc_send(self._to, op, content, self._timeout)


async def _flat(
    batches: AsyncIterator[list[bytes]], wanted: Iterator[bytes]
) -> AsyncIterator[bytes]:
    """Iterate the elements of batches, each checked against the hash that is due."""
    async for batch in batches:
        for data in batch:
            name = next(wanted, None)
            if name is None:
                message = "more elements came than were asked for"
                raise Damaged(message)
            yield verified(name, data)


class Peering(Calling):
    """Makes a process a peer: ``class Archive(Peering, Process)``.

    Its repositories are in memory, unless it says otherwise by :meth:`open_home`.
    """

    _home: asyncio.Future[KeptPeer] | None = None

    # what the process itself may do

    async def open_home(self) -> KeptPeer:
        """Return where its repositories are; called once, when they are first asked for.

        May be overridden, and may raise: the next who asks tries again.
        """
        datastore = open_datastore("memory://")
        await datastore.open()
        return await KeptPeer.open(datastore)

    async def home(self) -> KeptPeer:
        """Return where its repositories are."""
        home = self._home
        if home is None or (home.done() and (home.cancelled() or home.exception())):
            self._home = home = asyncio.ensure_future(self.open_home())
        return await asyncio.shield(home)

    async def workbench(self) -> Workbench:
        """Return a workbench on its repositories."""
        return Workbench(await self.home())

    async def repository(self, name: str) -> Repository:
        """Return a repository of its own; it may be empty."""
        return Repository(name, await self.home())

    def peer(self, to: str, *, timeout: float | None = None) -> FarPeer:
        """Return another process as a peer: ``await bench.pull("ctd", self.peer("datastore"))``."""
        return FarPeer(self, to, timeout=timeout, batch=self._batch)

    @property
    def _batch(self) -> int:
        return min(BATCH_BYTES, self._endpoint.max_content // AIR)

    # what others may ask of it

    async def op_heads(self, repository: str) -> dict[str, bytes]:
        """Return branch -> hash of its last commit; empty where there is no such repository."""
        with answering():
            return await (await self.home()).heads(repository)

    async def op_missing(self, hashes: list[bytes]) -> list[bytes]:
        """Return those of the elements that are not here."""
        with answering():
            return await (await self.home()).missing(hashes)

    async def op_fetch_blobs(
        self, hashes: list[bytes], most: int | None = None
    ) -> AsyncIterator[list[bytes]]:
        """Give elements, in the order of their hashes, in batches; with ``most``, one batch."""
        with answering():
            home = await self.home()
            limit = self._batch if most is None else min(most, self._batch)
            rest = hashes
            while rest:
                batch = _within(await home.fetch(rest), limit)
                rest = rest[len(batch) :]
                yield batch
                if most is not None:
                    return

    async def op_put_blobs(self, elements: list[bytes], hashes: list[bytes] | None = None) -> None:
        """Take elements; whatever they refer to is here, or before them: else 409, and none is.

        With ``hashes`` each is checked against its own: 400 Damaged, and none is taken.
        """
        with answering():
            home = await self.home()
            try:
                _check(elements, hashes)
                await home.offer(elements)
            except Damaged as error:  # what came is, not what is here
                raise ApplicationError(
                    error.message, type=error.type, details=error.details
                ) from error

    async def op_set_head(
        self, repository: str, branch: str, expected: bytes | None, commit: bytes
    ) -> None:
        """Let a branch end with another commit, whose elements are here.

        409 Conflict where it does not end with ``expected`` (null: there is none): ``details``
        holds ``theirs``, what it is now, and ``ours``. Done twice, it is done once.
        """
        with answering():
            home = await self.home()
            try:
                await home.set_head(repository, branch, expected, commit)
            except Conflict:
                if (await home.heads(repository)).get(branch) != commit:
                    raise

    async def op_pull(self, repository: str, origin: str, branch: str = MAIN) -> dict[str, Any]:
        """Bring a branch here from another peer; what is missing here travels.

        Return ``head``, ``elements`` and ``size`` (what has travelled), and ``forward``: whether
        our branch ends with theirs now, or is to be merged with ``origin.<branch>``. 404 where
        nobody is called ``origin``, 400 where that is no peer.
        """
        with answering(), _asked_of(origin):
            pulled = await (await self.workbench()).pull(
                repository, self.peer(origin), branch=branch
            )
        return {
            "head": pulled.branches[branch],
            "forward": pulled.is_forward,
            "elements": pulled.moved.elements,
            "size": pulled.moved.size,
        }

    async def op_push(self, repository: str, target: str, branch: str = MAIN) -> dict[str, Any]:
        """Give a branch to another peer; 409 Conflict, with both sides, where theirs has gone on.

        404 where nobody is called ``target``, 400 where that is no peer. Return ``elements`` and
        ``size``: what has travelled.
        """
        with answering(), _asked_of(target):
            moved = await (await self.workbench()).push(
                repository, self.peer(target), branch=branch
            )
        return {"elements": moved.elements, "size": moved.size}


def _asked_of(peer: str) -> Instead:
    """Let a handler answer that who it was told to ask is none: that is not its own failure."""
    return Instead(functools.partial(_no_peer, peer))


def _no_peer(peer: str, error: BaseException) -> IonError | None:
    details = {"peer": peer}
    if isinstance(error, ServiceNotFound):
        message = f"there is no peer {peer!r}: give the name of a service, or a process id"
        return ApplicationError(message, code=404, type="NotFound", details=details)
    if isinstance(error, OpNotFound):
        message = f"{peer!r} is no peer, a process that keeps repositories: {error.message}"
        return ApplicationError(message, code=400, type="InvalidRequest", details=details)
    return None


def _within(found: list[bytes], limit: int) -> list[bytes]:
    """Return the first of some elements, as many as a batch holds, and one at least."""
    size = 0
    for count, data in enumerate(found):
        size += len(data)
        if count and size > limit:
            return found[:count]
    return found


def _check(elements: Sequence[bytes], hashes: Sequence[bytes] | None) -> None:
    if hashes is None:
        return
    if len(hashes) != len(elements):
        message = f"{len(elements)} elements came with {len(hashes)} hashes: it was cut short"
        raise Damaged(message)
    for name, data in zip(hashes, elements, strict=True):
        verified(name, data)
