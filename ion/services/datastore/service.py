"""The datastore service: a peer whose repositories are in its container's datastore.

Processes clone, pull and push as between any two of them (:mod:`ion.process.peering`); what it has
besides is for who only wants to look, or to change a little: branches, history, an object or a part
of it as of a version or a time, and commits made here.

Contents that are large, and no objects, are blobs (:mod:`ion.services.datastore.blobs`).

Its app's ``config`` says ``name``: several of them in one datastore do not see each other; and how
often what nobody needs is removed (:mod:`ion.services.datastore.cleanup`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from ion.base.errors import ConfigurationError, InvalidRequest
from ion.objects.kept import KeptPeer
from ion.objects.names import MAIN
from ion.objects.repository import Version
from ion.objects.tree import Tree
from ion.process.peering import Peering
from ion.process.service import Service
from ion.process.storeerrors import answering
from ion.services.datastore import model
from ion.services.datastore.blobs import Blobs
from ion.services.datastore.cleanup import Plan, Tidied, keep_tidy, plan_of, tidy
from ion.services.datastore.committing import Committing, made
from ion.services.datastore.model import Checkout, Names
from ion.stores.blobs.blobstore import BlobStore

NAME = "objects"


class DatastoreService(Peering, Blobs, Service, name="datastore", version="0.1.0"):
    """Keeps repositories of objects, and blobs.

    :param store: in front of the names of its stores; the app's ``config.name``, else ``objects``,
        by default.
    """

    _plan: Plan

    def __init__(self, store: str | None = None) -> None:
        self._store = store

    async def on_init(self) -> None:
        """Open its stores.

        :raises ConfigurationError: their name is none, or ``collect`` no number of seconds.
        """
        self._plan = plan_of(self.app_config)
        try:
            await self.home()
            self.blobs = await BlobStore.open(await self.datastore(), f"{self._name}_blobs")
        except InvalidRequest as error:
            message = f"the stores of objects cannot be opened: {error}"
            raise ConfigurationError(message) from error

    async def on_activate(self) -> None:
        """Begin to tidy, where its app says so."""
        if self._plan.every:
            self.run(keep_tidy(await self.home(), self.blobs, self._plan), "tidying")

    async def open_home(self) -> KeptPeer:
        """Return where its repositories are: in the container's datastore."""
        return await KeptPeer.open(await self.datastore(), self._name)

    @property
    def _name(self) -> str:
        return self._store or self.app_config.get("name") or NAME

    # looking

    async def op_repositories(
        self, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> Names:
        """Return some names of repositories; ``after``: that of the page before."""
        with answering():
            return await model.repositories(await self.home(), prefix, after, limit)

    async def op_branches(self, repository: str) -> dict[str, str]:
        """Return branch -> hash of its last commit, in hexadecimal."""
        with answering():
            return await (await self.repository(repository)).branches()

    async def op_checkout(
        self,
        repository: str,
        branch: str = MAIN,
        commit: str | None = None,
        at: float | None = None,
        path: list[str] | None = None,
    ) -> Checkout:
        """Return an object, or what is at a path of it, in a version (see ``version``).

        404 where there is no such version or part; 413 where it is over one answer.
        """
        with answering():
            return await model.checked_out(
                await self.repository(repository),
                await self.home(),
                branch=branch,
                commit=commit,
                at=at,
                path=path or (),
                most=self._endpoint.max_content // 2,
            )

    async def op_version(
        self,
        repository: str,
        branch: str = MAIN,
        commit: str | None = None,
        at: float | None = None,
    ) -> Version:
        """Return which version that is: the last one, a commit, or as of a time (since 1970)."""
        with answering():
            tree = await (await self.repository(repository)).checkout(branch, commit=commit, at=at)
            return await model.version_at(tree, await self.home())

    async def op_history(
        self, repository: str, branch: str = MAIN, commit: str | None = None, limit: int = 100
    ) -> list[Version]:
        """Return the last versions of a branch, or before a commit, the latest first.

        At most 1,000; ``versions`` gives all of them, as a stream.
        """
        with answering():
            model.check_count(limit)
            found = (await self.repository(repository)).history(branch, commit=commit, limit=limit)
            return [version async for version in found]

    async def op_versions(
        self, repository: str, branch: str = MAIN, commit: str | None = None
    ) -> AsyncIterator[Version]:
        """Give all versions of a branch, or before a commit, the latest first."""
        with answering():
            found = (await self.repository(repository)).history(branch, commit=commit)
            async with aclosing(found) as versions:  # type: ignore[type-var]
                async for version in versions:
                    yield version

    # changing

    async def op_commit(
        self,
        repository: str,
        changes: dict[str, Any] | None = None,
        removed: list[str] | None = None,
        branch: str = MAIN,
        expected: str | None = None,
        author: str = "",
        comment: str = "",
        at: float | None = None,
    ) -> Version:
        """Make the next version of a branch: ``changes`` by their paths, without ``removed``.

        409 Conflict, with both sides, where the branch does not end with ``expected``, the hash of
        a version ("": there is none yet); without it, the change is made to whatever is there. With
        ``at``, the time of the version, the same once more is done once.
        """
        with answering():
            paths, values = removed or (), changes or {}

            def change(tree: Tree) -> None:
                for path in paths:
                    tree.remove(path)
                for path, value in values.items():
                    tree.set(path, value)

            repeat = self.message.redelivered
            committing = Committing(change, branch, expected, author, comment, at, repeat)
            return await made(await self.repository(repository), await self.home(), committing)

    async def op_branch(
        self, repository: str, name: str, start: str = MAIN, commit: str | None = None
    ) -> None:
        """Make a branch where another one ends, or at a commit; 409 where there is one."""
        with answering():
            await (await self.repository(repository)).branch(name, start=start, commit=commit)

    async def op_remove_branch(self, repository: str, name: str) -> bool:
        """Remove a branch; return whether there was one. Its versions stay for who knows them."""
        with answering():
            return await (await self.home()).remove_head(repository, name)

    async def op_collect(self) -> Tidied:
        """Remove what nobody needs, and has not for the app's ``collect_grace``; return how much.

        Elements take two rounds: what one condemns a later one removes.
        """
        with answering():
            return await tidy(await self.home(), self.blobs, self._plan.grace)
