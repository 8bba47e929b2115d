"""Making the next version of a branch for a client: once, however often its message comes.

What a client asks for has the client's time in it, so that the same once more is the same commit,
bit for bit: where that is a part of the branch already, it is not made again. Others may have gone
on from it by then; what they have done since must not be undone by a message that came twice.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable

import msgspec

from ion.base.errors import Conflict, Damaged, InvalidRequest, NotFound
from ion.objects.commit import Commit
from ion.objects.element import HASH
from ion.objects.history import read_commit
from ion.objects.kept import KeptPeer
from ion.objects.repository import Repository, Version, version_of
from ion.objects.tree import Tree

RECENT = 1000  # commits that are looked through, of a message that has come before
_HASH = re.compile(rf"[0-9a-fA-F]{{{2 * HASH}}}")
TRIES = 100  # to be made to whatever is there, while others do the same


class Committing(msgspec.Struct, frozen=True):
    """What a client asks for.

    :ivar change: makes the changes of a tree.
    :ivar expected: what the branch ends with; "": there is none yet; None: whatever it does.
    :ivar at: of the version; None: now, so that it is another one each time.
    :ivar is_repeat: the message has come before, or may have.
    """

    change: Callable[[Tree], None]
    branch: str
    expected: str | None
    author: str
    comment: str
    at: float | None
    is_repeat: bool


async def made(repository: Repository, home: KeptPeer, committing: Committing) -> Version:
    """Make the next version of a branch, unless it is made already; return it.

    :raises Conflict: the branch does not end with what is expected.
    :raises NotFound: there is no such version; or what is to be removed is not there.
    :raises InvalidRequest: something cannot be kept; or what is expected is no hash.
    """
    work = _Work(repository, home, committing)
    if committing.expected and not _HASH.fullmatch(committing.expected):
        message = (
            f"expected: the hash of the version that the branch ends with, {2 * HASH} hexadecimal "
            f'digits ("": there is none yet), not {committing.expected!r}'
        )
        raise InvalidRequest(message)
    if committing.expected is not None:
        return await work.on(committing.expected)
    version = await work.made_already()
    for is_last in [False] * (TRIES - 1) + [True]:
        if version is not None:
            break
        version = await work.on_head(is_last=is_last)
    assert version is not None
    return version


class _Work:
    def __init__(self, repository: Repository, home: KeptPeer, committing: Committing) -> None:
        self._repository = repository
        self._home = home
        self._committing = committing

    async def on(self, expected: str) -> Version:
        """Make it of a version (in hexadecimal; "": of nothing), which the branch ends with."""
        committing = self._committing
        tree = await self._tree(expected)
        committing.change(tree)
        try:
            return await self._repository.commit(
                tree,
                author=committing.author,
                comment=committing.comment,
                branch=committing.branch,
                at=committing.at,
            )
        except Conflict as conflict:
            version = await self._found(conflict)
            if version is None:
                raise
            return version

    async def on_head(self, *, is_last: bool) -> Version | None:
        """Make it of what is there; None: others were faster."""
        head = await self._repository.head(self._committing.branch)
        try:
            return await self.on(head.hex() if head is not None else "")
        except Conflict as conflict:
            if is_last or "theirs" not in conflict.details:
                raise
            return None

    async def made_already(self) -> Version | None:
        """Return the version, where it is a recent one of the branch; None: it is not."""
        committing = self._committing
        head = await self._repository.head(committing.branch)
        if head is None or committing.at is None:
            return None
        async for _, commit in self._recent(head):
            if commit.time == committing.at:  # it may be this one: made again, it is the same then
                try:
                    return await self.on(commit.parents[0].hex() if commit.parents else "")
                except (Conflict, NotFound, InvalidRequest):
                    continue  # of that very time, and another
        return None

    async def _found(self, conflict: Conflict) -> Version | None:
        """Return the version that could not be made since the branch has it; None: it has not."""
        theirs, ours = (conflict.details.get(side) for side in ("theirs", "ours"))
        if theirs is None or ours is None:
            return None
        async for name, commit in self._recent(bytes.fromhex(theirs)):
            if name.hex() == ours:
                return version_of(name, commit)
        return None

    async def _recent(self, head: bytes) -> AsyncIterator[tuple[bytes, Commit]]:
        """Iterate a branch from its end; where the message is new, that alone."""
        name: bytes | None = head
        for _ in range(RECENT if self._committing.is_repeat else 1):
            if name is None:
                return
            commit = await read_commit(name, self._home.get)
            yield name, commit
            name = commit.parents[0] if commit.parents else None

    async def _tree(self, expected: str) -> Tree:
        branch = self._committing.branch
        if not expected:
            return self._repository.begin(branch)
        try:
            return await self._repository.checkout(branch, commit=expected)
        except (NotFound, Damaged) as error:
            head = await self._repository.head(branch)
            if head is not None and head.hex() == expected.lower():
                raise
            raise _unknown(expected, branch, head) from error


def _unknown(expected: str, branch: str, head: bytes | None) -> Conflict:
    """Return the refusal of a version that there is none of, so that no branch ends with it."""
    theirs = head.hex() if head is not None else None
    message = (
        f"branch {branch!r} ends with {theirs or 'nothing'}, not with {expected}, which is no "
        "version known here: check it out, and commit again"
    )
    return Conflict(message, details={"expected": expected, "theirs": theirs, "ours": None})
