"""What the datastore service answers with, and how much of an object it reads at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ion.base.errors import ContentTooLarge, InvalidRequest, NotFound
from ion.objects.history import read_commit
from ion.objects.kept import KeptPeer
from ion.objects.names import MAIN
from ion.objects.repository import Repository, Version, version_of
from ion.objects.thawing import Get
from ion.objects.tree import Tree

MAX_COUNT = 1000  # versions or names of one answer
_NOTHING = object()


class Checkout(msgspec.Struct, frozen=True):
    """An object, or a part of it, as it was in a version."""

    version: Version
    value: Any


class Names(msgspec.Struct, frozen=True):
    """Names of repositories, in the order of ``<name>/``, so that ``a.b`` comes before ``a``.

    :ivar after: give it for the next ones; None: these are the last.
    """

    items: list[str]
    after: str | None = None


def check_count(limit: int) -> None:
    """Refuse to tell none, or too many at a time.

    :raises InvalidRequest: they are not 1 to 1,000.
    """
    if not 1 <= limit <= MAX_COUNT:
        message = f"1 to {MAX_COUNT} are told at a time, not {limit}"
        raise InvalidRequest(message)


class Reading:
    """Reads elements of what is to fit into one answer.

    :param most: bytes; all elements together may not have more.
    """

    def __init__(self, get: Get, most: int) -> None:
        self._get = get
        self._most = most
        self._size = 0

    async def get(self, hash: bytes) -> bytes:
        """Return an element.

        :raises ContentTooLarge: with it there are too many bytes.
        """
        data = await self._get(hash)
        self._size += len(data)
        if self._size > self._most:
            message = (
                f"it has more than the {self._most} bytes of one answer: ask for a path within "
                "it, or clone the repository"
            )
            raise ContentTooLarge(message, details={"limit": self._most})
        return data


async def checked_out(
    repository: Repository,
    home: KeptPeer,
    *,
    branch: str = MAIN,
    commit: str | None = None,
    at: float | None = None,
    path: Sequence[str] = (),
    most: int,
) -> Checkout:
    """Return an object, or what is at a path of it, in a version; see ``Repository.checkout``.

    :raises NotFound: there is no such version, or nothing at the path.
    :raises ContentTooLarge: it is over ``most`` bytes.
    """
    tree = await repository.checkout(branch, commit=commit, at=at)
    version = await version_at(tree, home)
    part = Tree(tree.root, Reading(home.get, most).get)
    if not path:
        return Checkout(version, await part.value())
    value = await part.get(tuple(path), _NOTHING)
    if value is _NOTHING:
        message = f"there is nothing at {'/'.join(path)!r} in {version.hash}"
        raise NotFound(message, details={"path": list(path), "commit": version.hash})
    return Checkout(version, value)


async def version_at(tree: Tree, home: KeptPeer) -> Version:
    """Return the version that a tree was checked out at."""
    name = tree.parents[0]
    return version_of(name, await read_commit(name, home.get))


async def repositories(home: KeptPeer, prefix: str, after: str | None, limit: int) -> Names:
    """Return the names of repositories that begin with ``prefix``.

    :raises InvalidRequest: ``limit`` is not 1 to 1,000.
    """
    check_count(limit)
    names: dict[str, None] = {}
    start = f"{after}0" if after is not None else None  # "0" is next to "/" of its branches
    while True:
        page = await home.heads_store.keys(prefix, after=start, limit=limit)
        for key in page.items:
            names[key.partition("/")[0]] = None
            if len(names) > limit:
                kept = list(names)[:limit]
                return Names(kept, kept[-1])
        if page.cursor is None:
            return Names(list(names))
        start = page.cursor
