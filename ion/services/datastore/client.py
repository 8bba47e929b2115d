"""The typed client of the datastore service."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from ion.objects.kept import KeptPeer
from ion.objects.lazy import LazyHome
from ion.objects.names import MAIN
from ion.objects.repository import Repository, Version
from ion.objects.workbench import Workbench
from ion.process.calling import Calling
from ion.process.client import Caller, ServiceClient
from ion.process.peering import FarPeer
from ion.process.storeerrors import heard
from ion.services.datastore.blobs import RemoteBlobs
from ion.services.datastore.model import Checkout, Names
from ion.stores.opening import open_datastore


class DatastoreClient(ServiceClient, service="datastore"):
    """Looks at repositories of the datastore, and changes them there.

    Who works on an object at length clones it: ``await bench.clone("ctd", client.peer)``, and gives
    it back with ``bench.push``; ``bench`` is the process's own (``Peering.workbench``), or that of
    :func:`new_workbench`.

    All calls raise :class:`~ion.base.errors.NotFound` where there is no such repository, branch or
    version, :class:`~ion.base.errors.Conflict` where a branch has gone on, with both sides
    (``ours`` and ``theirs``) in ``details``, and :class:`~ion.base.errors.Unavailable` where the
    store is away.

    :ivar peer: the datastore as a peer of workbenches.
    :ivar blobs: its blobs.
    """

    def __init__(self, service: str | Caller, caller: Caller | None = None, **options: Any) -> None:
        super().__init__(service, caller, **options)
        self.peer = FarPeer(self._caller, self._to, timeout=self._timeout)
        self.blobs = RemoteBlobs(cast("Calling", self._caller), self._to, timeout=self._timeout)

    def repository(self, name: str) -> Repository:
        """Return a repository there, read as it is needed: what nobody looks at does not travel.

        Its commits are made there.
        """
        return Repository(name, LazyHome(self.peer))

    async def repositories(self, prefix: str = "", *, timeout: float | None = None) -> list[str]:
        """Return the names of all repositories that begin with ``prefix``, in order."""
        found: list[str] = []
        after: str | None = None
        while True:
            content = {"prefix": prefix, "after": after, "limit": 1000}
            names: Names = await self._ask("repositories", content, timeout, Names)
            found += names.items
            if names.after is None:
                return sorted(found)
            after = names.after

    async def branches(self, repository: str, *, timeout: float | None = None) -> dict[str, str]:
        """Return branch -> hash of its last commit, in hexadecimal."""
        content = {"repository": repository}
        found: dict[str, str] = await self._ask("branches", content, timeout, dict[str, str])
        return found

    async def checkout(
        self,
        repository: str,
        *,
        branch: str = MAIN,
        commit: str | None = None,
        at: float | None = None,
        path: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Checkout:
        """Return an object, or what is at a path of it, as of a version.

        :param commit: its hash; else the branch's last, or the last that is not after ``at``
            (seconds since 1970).
        :raises ContentTooLarge: it is over one answer: ask for less of it, or clone it.
        """
        content = {
            "repository": repository,
            "branch": branch,
            "commit": commit,
            "at": at,
            "path": list(path),
        }
        found: Checkout = await self._ask("checkout", content, timeout, Checkout)
        return found

    async def version(
        self,
        repository: str,
        *,
        branch: str = MAIN,
        commit: str | None = None,
        at: float | None = None,
        timeout: float | None = None,
    ) -> Version:
        """Return which version that is; see :meth:`checkout`."""
        content = {"repository": repository, "branch": branch, "commit": commit, "at": at}
        found: Version = await self._ask("version", content, timeout, Version)
        return found

    async def history(
        self,
        repository: str,
        *,
        branch: str = MAIN,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Version]:
        """Iterate the versions of a branch, or before a commit, the latest first."""
        content = {"repository": repository, "branch": branch, "commit": commit}
        versions = self._stream("versions", content, timeout=timeout, returns=Version)
        with heard():
            async with aclosing(versions):
                async for version in versions:
                    yield version

    async def commit(
        self,
        repository: str,
        changes: Mapping[str, Any] | None = None,
        *,
        removed: Sequence[str] = (),
        branch: str = MAIN,
        expected: str | None = None,
        author: str = "",
        comment: str = "",
        timeout: float | None = None,
    ) -> Version:
        """Make the next version of a branch there.

        :param changes: path (``"a/b"``) -> value.
        :param removed: paths.
        :param expected: hash of the commit that the branch ends with; "": there is none yet; None:
            it is made to whatever is there.
        :raises Conflict: the branch ends with another one.
        """
        content = {
            "repository": repository,
            "changes": dict(changes or {}),
            "removed": list(removed),
            "branch": branch,
            "expected": expected,
            "author": author,
            "comment": comment,
            "at": time.time(),  # so that what the broker delivers twice is one version
        }
        made: Version = await self._ask("commit", content, timeout, Version)
        return made

    async def branch(
        self,
        repository: str,
        name: str,
        *,
        start: str = MAIN,
        commit: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Make a branch where another one ends, or at a commit.

        :raises Conflict: there is one of that name.
        """
        content = {"repository": repository, "name": name, "start": start, "commit": commit}
        await self._ask("branch", content, timeout)

    async def remove_branch(
        self, repository: str, name: str, *, timeout: float | None = None
    ) -> bool:
        """Remove a branch; return whether there was one."""
        content = {"repository": repository, "name": name}
        was: bool = await self._ask("remove_branch", content, timeout, bool)
        return was

    async def _ask(self, op: str, content: Any, timeout: float | None, returns: Any = Any) -> Any:
        with heard():
            return await self._call(op, content, timeout=timeout, returns=returns)


async def new_workbench() -> Workbench:
    """Return a workbench in memory, for scripts; a process that is a peer has one of its own."""
    datastore = open_datastore("memory://")
    await datastore.open()
    return Workbench(await KeptPeer.open(datastore))
