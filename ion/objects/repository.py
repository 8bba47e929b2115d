"""A repository: the versions of one object, on branches that part and come together.

Every commit stays as it was made. Nothing is merged by itself: who commits to a branch that others
have gone on with meanwhile gets a :class:`~ion.base.errors.Conflict`, merges, and tries again.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ion.base import errors
from ion.base.errors import InvalidRequest, NotFound
from ion.objects.commit import MAX_COMMENT, Commit, as_element, is_time
from ion.objects.editing import Path, steps
from ion.objects.freezing import Sink
from ion.objects.history import ancestors, as_of, is_before, merge_bases, read_commit
from ion.objects.merging import DISPUTED, Conflict, Merged, merge
from ion.objects.names import MAIN, checked_branch, checked_repository
from ion.objects.thawing import NOTHING
from ion.objects.tree import Tree
from ion.objects.types import Types


class Home(Protocol):
    """Where the elements and heads of a repository are."""

    async def get(self, hash: bytes) -> bytes:
        """Return an element.

        :raises NotFound: it is not there.
        """

    async def keep(self, elements: Mapping[bytes, bytes]) -> None:
        """Put elements by their hashes, leaves first."""

    async def secure(self, commits: Sequence[bytes]) -> None:
        """See to it that commits are there, and stay, before what refers to their parts is put.

        :raises Conflict: one is not there.
        """

    async def heads(self, repository: str) -> Mapping[str, bytes]:
        """Return branch -> hash of its last commit."""

    async def set_head(
        self, repository: str, branch: str, expected: bytes | None, commit: bytes
    ) -> None:
        """Let a branch end with another commit; see :meth:`Peer.set_head`."""


class Version(msgspec.Struct, frozen=True):
    """A commit as people see it.

    :ivar hash: in hexadecimal.
    :ivar time: seconds since 1970.
    """

    hash: str
    parents: tuple[str, ...]
    author: str
    time: float
    comment: str
    branch: str


class Merging(msgspec.Struct):
    """A merge that was not committed yet.

    :ivar tree: ours with the changes of theirs that do not conflict; decide what conflicts, change
        what you like, and commit it.
    :ivar is_needed: False where one of the two comes from the other: then ``tree`` is the later
        one, as it is.
    """

    tree: Tree
    is_needed: bool = True

    @property
    def conflicts(self) -> list[Conflict]:
        """What is to be decided: in ``tree`` ours stands there."""
        return self.tree.conflicts

    def resolve(self, path: str | Path, value: Any) -> None:
        """Decide a conflict: put a value there; ``NOTHING`` removes what is there.

        Of a typed message, all conflicts are decided together.

        :raises InvalidRequest: there is no conflict at ``path``.
        """
        path = steps(path)
        rest = [conflict for conflict in self.conflicts if conflict.path != path]
        if len(rest) == len(self.conflicts):
            message = f"there is no conflict at {'/'.join(path)!r} (any more)"
            raise InvalidRequest(message)
        if value is NOTHING:
            self.tree.remove(path, is_sure=False)
        else:
            self.tree.set(path, value)
        self.tree.conflicts = rest


class Repository:
    """The versions of one object; light: make one wherever it is needed.

    :param home: where they are.
    :param types: of the messages in it, which are read, put and merged as such; None: they are
        :class:`~ion.objects.element.Typed`, and merged whole.
    """

    def __init__(self, name: str, home: Home, *, types: Types | None = None) -> None:
        self.name = checked_repository(name)
        self._home = home
        self._types = types
        self._merge_typed = types.merge if types is not None else None

    # looking

    async def branches(self) -> dict[str, str]:
        """Return branch -> hash of its last commit, in hexadecimal."""
        heads = await self._home.heads(self.name)
        return {branch: head.hex() for branch, head in sorted(heads.items())}

    async def head(self, branch: str = MAIN) -> bytes | None:
        """Return the hash of the last commit of a branch, or None."""
        return (await self._home.heads(self.name)).get(checked_branch(branch))

    async def checkout(
        self,
        branch: str = MAIN,
        *,
        commit: str | bytes | None = None,
        at: float | None = None,
    ) -> Tree:
        """Return a version to be read and changed: a branch's last, a commit, or as of a time.

        :param commit: its hash.
        :param at: seconds since 1970: the last commit of the branch that is not after it.
        :raises NotFound: there is no such branch or commit, or none that early.
        """
        if commit is not None:
            found = _hash(commit)
        else:
            head = await self._needed(branch)
            early = await as_of(head, at, self._home.get) if at is not None else head
            if early is None:
                message = f"branch {branch!r} of {self.name!r} has no commit that early"
                raise NotFound(message)
            found = early
        version = await read_commit(found, self._home.get)
        return Tree(
            version.root, self._home.get, parents=(found,), branch=branch, types=self._types
        )

    def begin(self, branch: str = MAIN) -> Tree:
        """Return an empty object, to be committed as the first version of a branch."""
        return Tree({}, self._home.get, branch=checked_branch(branch), types=self._types)

    async def history(
        self, branch: str = MAIN, *, commit: str | bytes | None = None, limit: int | None = None
    ) -> AsyncIterator[Version]:
        """Iterate the versions that a branch, or a commit, comes from, the latest first."""
        start = _hash(commit) if commit is not None else await self._needed(branch)
        count = 0
        async for name, version in ancestors(start, self._home.get):
            if limit is not None and count >= limit:
                return
            count += 1
            yield version_of(name, version)

    # changing

    async def commit(
        self,
        tree: Tree,
        *,
        author: str = "",
        comment: str = "",
        branch: str | None = None,
        at: float | None = None,
    ) -> Version:
        """Keep an object as the next version of a branch; the tree goes on from it.

        :param branch: that of the tree by default.
        :param at: the time of it, seconds since 1970; now by default.
        :raises Conflict: the branch has gone on meanwhile: merge, and commit again; or conflicts
            of a merge are not decided; or what it comes from was collected.
        :raises InvalidRequest: there is something in it that cannot be kept; nothing was done.
        :raises NotFound: something was to be removed that is not there.
        """
        if len(comment) > MAX_COMMENT:
            message = f"a comment has at most {MAX_COMMENT} characters"
            raise InvalidRequest(message)
        if at is not None and not is_time(at):
            message = f"the time of a commit is seconds since 1970, not {at!r}"
            raise InvalidRequest(message)
        _refuse_undecided(tree)
        branch = checked_branch(branch or tree.branch or MAIN)
        await self._home.secure(tree.parents)
        sink = Sink(self._home)
        root = await tree.frozen(sink)
        when = time.time() if at is None else at
        version = Commit(root, tree.parents, author, when, comment, branch)
        name = await sink.put(as_element(version))
        await sink.flush()
        expected = tree.parents[0] if tree.parents else None
        heads = await self._home.heads(self.name)
        if branch not in heads:
            expected = None  # a new branch begins anywhere
        await self._home.set_head(self.name, branch, expected, name)
        tree.root, tree.parents, tree.branch = root, (name,), branch
        tree.forget()
        return version_of(name, version)

    async def branch(self, name: str, *, start: str = MAIN, commit: str | None = None) -> None:
        """Make a branch that begins where another one ends, or at a commit.

        :raises Conflict: there is one of that name.
        :raises NotFound: there is no such branch or commit.
        """
        first = _hash(commit) if commit is not None else await self._needed(start)
        await self._home.set_head(self.name, checked_branch(name), None, first)

    async def copy(self, name: str) -> Repository:
        """Make another repository with the branches of this one; they share what they have.

        :raises Conflict: there is one of that name, which has a branch of ours.
        """
        other = Repository(name, self._home, types=self._types)
        for branch, head in (await self._home.heads(self.name)).items():
            await self._home.set_head(other.name, branch, None, head)
        return other

    # merging

    async def merge(
        self, theirs: str | bytes, *, into: str = MAIN, ours: str | bytes | None = None
    ) -> Merging:
        """Merge another branch or commit into a branch; nothing is committed.

        :param theirs: name of a branch, or hash of a commit.
        :param into: the branch that the merge is to be committed to.
        :param ours: a commit that stands for the end of ``into``.
        :raises NotFound: there is no such branch or commit.
        """
        mine = _hash(ours) if ours is not None else await self._needed(into)
        other = await self._commit_named(theirs)
        get = self._home.get
        if await is_before(other, mine, get):
            return await self._unneeded(mine, into)
        if await is_before(mine, other, get):
            forward = await self._unneeded(other, into)
            forward.tree.parents = (mine, other)
            return forward
        base = await self._base(mine, other)
        own = (await read_commit(mine, get)).root
        merged = await merge(
            base, own, (await read_commit(other, get)).root, get, typed=self._merge_typed
        )
        tree = Tree(own, get, parents=(mine, other), branch=into, types=self._types)
        tree.apply(merged.changes)
        tree.conflicts = merged.conflicts
        return Merging(tree)

    async def _unneeded(self, commit: bytes, branch: str) -> Merging:
        version = await read_commit(commit, self._home.get)
        tree = Tree(
            version.root, self._home.get, parents=(commit,), branch=branch, types=self._types
        )
        return Merging(tree, is_needed=False)

    async def _base(self, ours: bytes, theirs: bytes, depth: int = 0) -> Any:
        """Return the frozen map that two commits come from.

        After merges crosswise there are several: they are merged. Where these conflict, nothing was
        in common: the two have made the same of it, or it is a conflict again.
        """
        get = self._home.get
        bases = await merge_bases(ours, theirs, get)
        if not bases:
            return {}
        root = (await read_commit(bases[0], get)).root
        for name in bases[1:]:
            other = (await read_commit(name, get)).root
            before = await self._base(bases[0], name, depth + 1) if depth < 5 else {}  # noqa: PLR2004
            merged = await merge(before, root, other, get, typed=self._merge_typed)
            root = await self._agreed(root, merged)
        return root

    async def _agreed(self, root: Any, merged: Merged) -> Any:
        tree = Tree(root, self._home.get)
        tree.apply(merged.changes)
        for conflict in merged.conflicts:
            tree.set(conflict.path, DISPUTED)
        sink = Sink(self._home)
        result = await tree.frozen(sink)
        await sink.flush()
        return result

    async def _commit_named(self, name: str | bytes) -> bytes:
        if isinstance(name, bytes):
            return name
        head = (await self._home.heads(self.name)).get(name)
        return head if head is not None else _hash(name)

    async def _needed(self, branch: str) -> bytes:
        head = await self.head(branch)
        if head is None:
            known = ", ".join(await self.branches())
            message = f"repository {self.name!r} has no branch {branch!r} (it has: {known})"
            if not known:
                message = f"there is no repository {self.name!r}: nothing was committed to it yet"
            raise NotFound(message, details={"repository": self.name, "branch": branch})
        return head


def version_of(name: bytes, commit: Commit) -> Version:
    """Return a commit as people see it."""
    parents = tuple(parent.hex() for parent in commit.parents)
    return Version(name.hex(), parents, commit.author, commit.time, commit.comment, commit.branch)


def _refuse_undecided(tree: Tree) -> None:
    if tree.conflicts:
        paths = ["/".join(conflict.path) for conflict in tree.conflicts[:10]]
        count = len(tree.conflicts)
        message = f"{count} conflicts of the merge are not decided: resolve {paths[0]!r} first"
        raise errors.Conflict(message, details={"paths": paths, "count": count})


def _hash(commit: str | bytes) -> bytes:
    if isinstance(commit, bytes):
        return commit
    try:
        return bytes.fromhex(commit)
    except ValueError:
        message = f"{commit!r} is neither a branch nor the hash of a commit"
        raise NotFound(message) from None
