"""The typed client of the service ``streams``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from ion.process.client import ServiceClient
from ion.process.granules.definition import StreamDefinition
from ion.process.granules.granule import Granule, granule_of
from ion.process.storeerrors import heard
from ion.services.streams.model import Described, Kept, Stream

CREDIT = 64  # granules on their way


class StreamsClient(ServiceClient, service="streams"):
    """Knows the streams of a system, has them kept, and reads what is kept.

    All calls raise :class:`~ion.base.errors.NotFound` where there is no such stream, and
    :class:`~ion.base.errors.InvalidRequest` for what makes no sense.
    """

    async def register(
        self,
        stream: str,
        definition: StreamDefinition | None = None,
        *,
        description: str = "",
        timeout: float | None = None,
    ) -> Stream:
        """Have a stream known, with a definition as its newest.

        :raises Conflict: it breaks readers of the one before; ``details["breaks"]`` says how.
        """
        content = {"stream": stream, "definition": definition, "description": description}
        answer: Stream = await self._ask("register", content, timeout, Stream)
        return answer

    async def streams(self, prefix: str = "", *, timeout: float | None = None) -> list[Stream]:
        """Return the streams whose names begin with ``prefix``, in order."""
        found: list[Stream] = []
        while True:
            content = {"prefix": prefix, "after": found[-1].name if found else None}
            page = await self._ask("streams", content, timeout, list[Stream])
            if not page:
                return found
            found += page

    async def describe(self, stream: str, *, timeout: float | None = None) -> Described:
        """Return a stream with what is kept of it."""
        answer: Described = await self._ask("describe", {"stream": stream}, timeout, Described)
        return answer

    async def delete(self, stream: str, *, timeout: float | None = None) -> bool:
        """Delete a stream with all that is kept of it; return whether there was one.

        Its publishers hear of it, and publish no more.
        """
        answer: bool = await self._ask("delete", {"stream": stream}, timeout, bool)
        return answer

    async def persist(
        self,
        stream: str,
        *,
        granules: int | None = None,
        seconds: float | None = None,
        create: bool = False,
        timeout: float | None = None,
    ) -> Stream:
        """Keep a stream from now on: all, the last ``granules``, or what is not older.

        :param create: register it, where it is not yet.
        """
        content = {"stream": stream, "granules": granules, "seconds": seconds, "create": create}
        answer: Stream = await self._ask("persist", content, timeout, Stream)
        return answer

    async def unpersist(
        self, stream: str, *, drop: bool = False, timeout: float | None = None
    ) -> Stream:
        """Keep a stream no more; with ``drop``, what was kept goes, too."""
        content = {"stream": stream, "drop": drop}
        answer: Stream = await self._ask("unpersist", content, timeout, Stream)
        return answer

    async def read(
        self,
        stream: str,
        *,
        after: int = 0,
        since: float | None = None,
        until: float | None = None,
        last: int | None = None,
        limit: int | None = None,
        follow: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Granule]:
        """Iterate what is kept of a stream, in its order; each granule has its ``offset``.

        :param after: behind this offset.
        :param since: published from then on, until: before then; seconds since 1970.
        :param last: the newest so many; limit: at most so many.
        :param follow: do not end there, but go on with what is published.
        """
        content = {
            "stream": stream,
            "after": after,
            "since": since,
            "until": until,
            "last": last,
            "limit": limit,
            "follow": follow,
        }
        async with aclosing(self._kept(content, timeout)) as items:
            async for item in items:
                if item.granule is not None:
                    yield granule_of(item.granule, item.offset)

    async def _kept(self, content: Any, timeout: float | None) -> AsyncGenerator[Kept, None]:
        with heard():
            items = self._stream("read", content, timeout=timeout, credit=CREDIT, returns=Kept)
            async with items:
                async for item in items:
                    yield item

    async def last(self, stream: str, n: int = 1, *, timeout: float | None = None) -> list[Granule]:
        """Return the newest granules that are kept, the oldest of them first."""
        return [granule async for granule in self.read(stream, last=n, timeout=timeout)]

    async def _ask(self, op: str, content: Any, timeout: float | None, returns: Any) -> Any:
        with heard():
            return await self._call(op, content, timeout=timeout, returns=returns)
