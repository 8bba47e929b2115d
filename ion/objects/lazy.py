"""A far repository read as it is needed: what nobody looks at does not travel.

It is no peer: it has not all that what it has refers to. One reads it, and commits to the far side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ion.objects.cache import Cache
from ion.objects.element import verified
from ion.objects.kept import CACHE_BYTES
from ion.objects.peer import BATCH_BYTES, Peer


class LazyHome:
    """A home of repositories (:class:`~ion.objects.repository.Home`) that is somewhere else.

    :param far: where it is.
    :param cache: bytes of elements that are kept here.
    """

    def __init__(self, far: Peer, cache: int = CACHE_BYTES) -> None:
        self._far = far
        self._cache = Cache(cache)

    async def get(self, hash: bytes) -> bytes:
        """Return an element, which is fetched where it is not at hand.

        :raises NotFound: the other side has none.
        :raises Damaged: it is not what its hash says.
        """
        data = self._cache.get(hash)
        if data is None:
            found = await self._far.fetch([hash])
            data = verified(hash, found[0] if found else b"")
            self._cache.put(hash, data)
        return data

    async def keep(self, elements: Mapping[bytes, bytes]) -> None:
        """Give elements to the other side, in batches; what they refer to is there, or before."""
        for batch in _batches(elements.values()):
            await self._far.offer(batch)
        for name, data in elements.items():
            self._cache.put(name, data)

    async def secure(self, commits: Sequence[bytes]) -> None:
        """Nothing: the other side takes no element without what that refers to."""

    async def heads(self, repository: str) -> Mapping[str, bytes]:
        """Return branch -> hash of its last commit."""
        return await self._far.heads(repository)

    async def set_head(
        self, repository: str, branch: str, expected: bytes | None, commit: bytes
    ) -> None:
        """Let a branch end with another commit; see :meth:`Peer.set_head`."""
        await self._far.set_head(repository, branch, expected, commit)


def _batches(elements: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for data in elements:
        if batch and size + len(data) > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(data)
        size += len(data)
    if batch:
        yield batch
