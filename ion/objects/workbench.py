"""The workbench: where one clones repositories of others, works on them, and gives them back.

It has elements and heads of its own. ``origin.main`` is its branch for what the other side's
``main`` was when it was looked at last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ion.base.errors import Conflict, NotFound
from ion.objects.history import is_before
from ion.objects.kept import KeptPeer
from ion.objects.names import MAIN
from ion.objects.peer import Peer
from ion.objects.repository import Repository
from ion.objects.transfer import Moved, pull, push
from ion.objects.types import Types

ORIGIN = "origin."  # in front of the names of the other side's branches
TRIES = 100  # to set a branch of our own, while others do, too
May = Callable[[bytes | None, bytes], Awaitable[bool]]


class Pulled(msgspec.Struct, frozen=True):
    """What a pull has brought.

    :ivar branches: of the other side -> hash of the last commit, in hexadecimal.
    :ivar moved: how much.
    :ivar is_forward: whether our branch, where there is one of that name, ends with theirs now.
    """

    branches: dict[str, str]
    moved: Moved
    is_forward: bool = True


class Workbench:
    """Repositories of one's own, and how they go to and fro.

    :param home: where they are; in memory, as a rule.
    :param types: see :class:`~ion.objects.repository.Repository`.
    """

    def __init__(self, home: KeptPeer, *, types: Types | None = None) -> None:
        self.home = home
        self._types = types

    def repository(self, name: str) -> Repository:
        """Return the repository of a name; it may be empty."""
        return Repository(name, self.home, types=self._types)

    async def clone(self, name: str, far: Peer, *, branch: str = MAIN) -> Repository:
        """Bring a branch of a repository, and all that it comes from.

        :raises NotFound: the other side has no such branch.
        :raises Conflict: there is a repository of that name here, with other versions: pull.
        """
        pulled = await self.pull(name, far, branch=branch)
        if not pulled.is_forward:
            message = f"{name!r} is here already, with versions that the other side has not: pull"
            raise Conflict(message)
        return self.repository(name)

    async def pull(self, name: str, far: Peer, *, branch: str = MAIN) -> Pulled:
        """Bring what is new of a branch; only what is missing here travels.

        Our branch goes on to theirs where it has nothing of its own; else it stays, and theirs is
        ``origin.<branch>``, to be merged.

        :raises NotFound: the other side has no such branch.
        """
        heads = await far.heads(name)
        theirs = heads.get(branch)
        if theirs is None:
            known = ", ".join(sorted(heads)) or "none"
            message = f"the other side has no branch {branch!r} of {name!r} (it has: {known})"
            raise NotFound(message, details={"repository": name, "branch": branch})
        moved = Moved(questions=1)
        if not await self.home.has(theirs):
            moved = await pull([theirs], far, self.home)
            moved.questions += 1
        await self._note(name, branch, theirs)
        is_forward = await self._set(name, branch, theirs, self._is_theirs)
        branches = {key: head.hex() for key, head in sorted(heads.items())}
        return Pulled(branches, moved, is_forward)

    async def push(self, name: str, far: Peer, *, branch: str = MAIN) -> Moved:
        """Give what is new of a branch to the other side, whose branch ends with ours then.

        :raises Conflict: theirs has gone on: pull, merge, and push again; ``details`` holds
            ``ours`` and ``theirs``. Nothing of theirs was changed.
        :raises NotFound: there is no such branch here.
        """
        ours = (await self.home.heads(name)).get(branch)
        if ours is None:
            message = f"there is no branch {branch!r} of {name!r} here"
            raise NotFound(message)
        theirs = (await far.heads(name)).get(branch)
        if theirs == ours:
            return Moved(questions=1)
        if theirs is not None:
            await self._refuse_stale(name, branch, ours, theirs)
        moved = await self._given(name, branch, theirs, ours, far)
        await self._note(name, branch, ours)
        return moved

    async def _given(
        self, name: str, branch: str, theirs: bytes | None, ours: bytes, far: Peer
    ) -> Moved:
        """Give all that a commit has, and let the branch end with it.

        What the other side collects meanwhile (:mod:`ion.objects.collecting`) is given again.
        """
        total = Moved(questions=2)
        for is_last in (False, False, True):
            try:
                total = total.plus(await push([ours], self.home, far))
                await far.set_head(name, branch, theirs, ours)
                break
            except (Conflict, NotFound) as error:
                is_collected = isinstance(error, NotFound) or "missing" in error.details
                if is_last or not is_collected:
                    raise
        return total

    async def _refuse_stale(self, name: str, branch: str, ours: bytes, theirs: bytes) -> None:
        known = await self.home.has(theirs)
        if known and await is_before(theirs, ours, self.home.get):
            return
        message = (
            f"branch {branch!r} of {name!r} ends with {theirs.hex()} there, which is not in ours: "
            "pull, merge, and push again"
        )
        raise Conflict(message, details={"theirs": theirs.hex(), "ours": ours.hex()})

    async def _note(self, name: str, branch: str, theirs: bytes) -> None:
        await self._set(name, f"{ORIGIN}{branch}", theirs, _always)

    async def _is_theirs(self, ours: bytes | None, theirs: bytes) -> bool:
        """Return whether a branch of ours that ends with ``ours`` has nothing of its own."""
        return ours is None or await is_before(ours, theirs, self.home.get)

    async def _set(self, name: str, branch: str, commit: bytes, may: May) -> bool:
        """Let a branch of ours end with a commit, where it may; return whether it does.

        Others may pull and push the same meanwhile.
        """
        for is_last in [False] * (TRIES - 1) + [True]:
            now = (await self.home.heads(name)).get(branch)
            if now == commit:
                return True
            if not await may(now, commit):
                return False
            try:
                await self.home.set_head(name, branch, now, commit)
            except Conflict as conflict:
                if is_last or "theirs" not in conflict.details:
                    raise
            else:
                return True
        return False


async def _always(_now: bytes | None, _commit: bytes) -> bool:
    return True
