"""Peers: who has elements and heads of repositories, here or far.

What moves objects between processes speaks of this alone. The invariant of a peer: where it has an
element, it has all that the element refers to. So what it has needs no look inside, and elements
are put leaves first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

MAX_ASKED = 1000  # hashes of one question
BATCH_BYTES = 256 * 1024  # bytes of elements that travel at a time, unless one alone has more


class Elements(Protocol):
    """A place of elements."""

    async def missing(self, hashes: Sequence[bytes]) -> list[bytes]:
        """Return those that it has not, in their order.

        :param hashes: at most :data:`MAX_ASKED`.
        """

    async def fetch(self, hashes: Sequence[bytes]) -> list[bytes]:
        """Return elements, of the first of ``hashes`` on: as many as fit in ``BATCH_BYTES``.

        At least one is returned.

        :raises NotFound: it has not the first one.
        """

    async def offer(self, elements: Sequence[bytes]) -> None:
        """Take elements; whatever they refer to it has, or they come before them in the list.

        :raises Conflict: it has not all that they refer to; none is taken.
        :raises Damaged: one is no element.
        """


class Peer(Elements, Protocol):
    """A place of repositories."""

    async def heads(self, repository: str) -> Mapping[str, bytes]:
        """Return branch -> hash of its last commit; empty where there is no such repository."""

    async def set_head(
        self, repository: str, branch: str, expected: bytes | None, commit: bytes
    ) -> None:
        """Let a branch end with another commit, which it has.

        :param expected: the commit that it ends with now; None: there is no such branch.
        :raises Conflict: it ends with another one; ``details`` holds ``expected``, ``theirs``
            (what it is now) and ``ours`` (what it was to be), in hexadecimal.
        :raises NotFound: it has no such commit.
        :raises Damaged: the element is no commit.
        """
