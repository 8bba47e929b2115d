"""A datastore in Redis, which many containers and systems may share."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from ion.base.errors import ConfigurationError, InvalidRequest, Unavailable
from ion.stores.errors import closed, is_indexed, not_opened
from ion.stores.limits import check_changes, check_indices, check_name, merged_indices
from ion.stores.redis import server
from ion.stores.redis.layout import GENERATION, Space, meta_of
from ion.stores.redis.link import SingleLink, connection_of, masked, place_of
from ion.stores.redis.pipelines import ClusterPipelines, Pipelines, SinglePipelines
from ion.stores.redis.scripts import DESCRIBE
from ion.stores.redis.store import RedisStore, cleared
from ion.stores.store import Change, Indices, Read, UnitOfWork

TIMEOUT = 30.0
_SYSNAME = "ion"
_ONLY_ONE = "Redis has no transactions over several stores (sqlite:// and postgresql:// have)"
_LEFT = b"LEFT"
_SCHEMES = ("redis://", "rediss://")


class RedisDatastore:
    """See :class:`~ion.stores.store.Datastore`.

    What was put is as safe as the server keeps it: see docs/reference/stores.md. Where the server
    is a node of a cluster, its others are found from it.

    :param url: ``redis://[user:password@]host[:port][/database]``; ``rediss://`` is over TLS.
    :param timeout: seconds for one call.
    :param sysname: in front of the names of all keys.
    """

    scheme = "redis"
    has_transactions = False

    def __init__(self, url: str, *, timeout: float = TIMEOUT, sysname: str = "") -> None:
        if not url.startswith(_SCHEMES):
            message = f"{masked(url)!r} is no URL of Redis: write redis://host:port/database"
            raise ConfigurationError(message)
        connection_of(url)  # its options are looked at now, not at the first call
        self.scheme = url.partition(":")[0]
        self.url = masked(url)
        self._full_url = url
        self._where = place_of(url)
        self._timeout = timeout
        self._sysname = sysname or _SYSNAME
        self._pipelines: Pipelines | None = None
        self._closing: asyncio.Task[None] | None = None
        self._spaces: dict[str, Space] = {}
        # Where the names of stores are: no store has an empty name.
        self._system = Space(self._sysname, "")
        self._names = f"{{{self._sysname}}}:stores".encode()

    async def open(self) -> None:
        """See :meth:`Datastore.open`."""
        if self._pipelines is not None:
            return
        link = SingleLink(self._full_url)
        try:
            async with asyncio.timeout(self._timeout):
                is_cluster = await server.look_at(link, self._where)
        except TimeoutError:
            message = f"Redis at {self._where} does not answer: is it held up?"
            raise Unavailable(message, details={"server": self._where}) from None
        finally:
            await link.close()
        pipelines: Pipelines = (ClusterPipelines if is_cluster else SinglePipelines)(
            self._full_url, self._where, self._timeout
        )
        try:
            await server.check_schema(pipelines.main(self._system), self._where, self._sysname)
        except BaseException:
            await pipelines.close()
            raise
        self._pipelines = pipelines

    async def close(self) -> None:
        """See :meth:`Datastore.close`."""
        pipelines, self._pipelines = self._pipelines, None
        self._spaces.clear()
        if pipelines is not None:
            self._closing = asyncio.create_task(pipelines.close(), name=f"closing {self.url}")
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def store(self, name: str) -> RedisStore:
        """See :meth:`Datastore.store`."""
        space = await self._space(check_name(name), None)
        if space.indices is not None:
            raise is_indexed(name)
        return RedisStore(space, self._opened())

    async def index_store(self, name: str, indices: Indices) -> RedisStore:
        """See :meth:`Datastore.index_store`."""
        declared = check_indices(indices)
        space = await self._space(check_name(name), {})
        while (merged := merged_indices(name, space.indices, declared)) != space.indices:
            await self._describe(space, space.meta, meta_of(space.generation, merged))
        return RedisStore(space, self._opened())

    async def names(self) -> list[str]:
        """See :meth:`Datastore.names`."""
        pipelines = self._opened()
        found = await pipelines.main(self._system).command(b"SMEMBERS", self._names)
        spaces = [Space(self._sysname, data.decode()) for data in found]
        # One that was dropped is in the set, and not there.
        there = await asyncio.gather(
            *(pipelines.side(space).command(b"EXISTS", space.base + b"m") for space in spaces)
        )
        return sorted(space.name for space, is_there in zip(spaces, there, strict=True) if is_there)

    async def drop(self, name: str) -> None:
        """See :meth:`Datastore.drop`; in steps: nothing can be put in it after the first."""
        pipelines = self._opened()
        space = self._spaces.pop(check_name(name), None) or Space(self._sysname, name)
        space.is_gone = True
        await pipelines.main(space).command(b"DEL", space.base + b"m")
        # Its name stays known: somebody may make it again meanwhile.
        await cleared(space, pipelines.side(space), b"")

    async def commit(self, changes: Sequence[Change], reads: Sequence[Read] = ()) -> list[int]:
        """See :meth:`Datastore.commit`: it takes changes to one store, and no reads."""
        check_changes(changes, reads)
        stores = {change.store for change in changes}
        if len(stores) > 1 or reads:
            message = f"{_ONLY_ONE}: it takes changes to one store, and no reads"
            raise InvalidRequest(message)
        if not stores:
            return []
        space = self._spaces.get(stores.pop())
        if space is None:
            raise not_opened(changes[0].store)
        store = RedisStore(space, self._opened())
        return await store.write([change.write for change in changes])

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Refuse: see :meth:`Datastore.unit_of_work`.

        :raises InvalidRequest: always.
        """
        message = f"{_ONLY_ONE}: there are no units of work"
        raise InvalidRequest(message)

    async def _space(self, name: str, indices: Indices | None) -> Space:
        """Return a store's place; the store is made where there is none."""
        self._opened()
        space = self._spaces.get(name)
        if space is not None and not space.is_gone:
            return space
        system = self._opened().main(self._system)
        await system.command(b"SADD", self._names, name.encode())
        space = Space(self._sysname, name)
        await self._describe(space, b"", meta_of(secrets.token_bytes(GENERATION), indices))
        known = self._spaces.get(name)  # others may have opened it meanwhile
        if known is None or known.is_gone:
            known = self._spaces[name] = space
        return known

    async def _describe(self, space: Space, expected: bytes, meta: bytes) -> None:
        """Replace a store's description where it is as expected; take note of what is there."""
        pipeline = self._opened().main(space)
        while (found := await pipeline.script(DESCRIBE, space.base, [expected, meta])) == _LEFT:
            await cleared(space, pipeline, b"")
        if not found:
            space.is_gone = True
            message = f"store {space.name!r} was dropped meanwhile: open it again"
            raise InvalidRequest(message, details={"store": space.name})
        space.learn(found)

    def _opened(self) -> Pipelines:
        if self._pipelines is None:
            raise closed(self.url)
        return self._pipelines
