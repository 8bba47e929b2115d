"""What was revoked before its time: tokens by id, and all that an actor had before a moment. Pure.

Bounded: what was revoked is forgotten once no token that it is about can be valid any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Literal

import msgspec

from ion.process.identity.identity import Identity

MAX_REVOCATIONS = 100_000
ONE: Literal["token"] = "token"
ACTOR: Literal["actor"] = "actor"


class Revocation(msgspec.Struct, frozen=True):
    """One thing that was revoked.

    :ivar kind: ``token`` (and all that was derived from it) or ``actor`` (its tokens so far).
    :ivar name: the token's id, or the actor.
    :ivar at: when, seconds since 1970; tokens of an actor that were made later are good.
    :ivar until: when it may be forgotten, seconds since 1970.
    :ivar reason: for people.
    """

    kind: Literal["token", "actor"]
    name: str
    at: float
    until: float
    reason: str = ""


class Revocations:
    """All that is known to be revoked. To learn one costs little, however many are known."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Revocation] = {}
        self._ends: list[tuple[float, str, str]] = []  # a heap; what was said anew is in it twice

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, told: Iterable[Revocation], now: float) -> list[Revocation]:
        """Take what others say was revoked; return what is new in it.

        :param now: seconds since 1970; what may be forgotten by then is.
        """
        news = []
        for each in told:
            key = (each.kind, each.name)
            known = self._known.get(key)
            if each.until > now and (known is None or known.at < each.at):
                self._known[key] = each
                heappush(self._ends, (each.until, *key))
                news.append(each)
        if news:
            self._forget(now)
        return news

    def all(self, now: float) -> list[Revocation]:
        """Return all that is still revoked."""
        return [each for each in self._known.values() if each.until > now]

    def of(self, identity: Identity) -> Revocation | None:
        """Return what revokes a token, or None: itself, its origin, its actor, or who acts."""
        known = self._known
        if not known:
            return None
        for each in (identity.id, identity.root):
            found = known.get((ONE, each))
            if found is not None:
                return found
        for actor in (identity.actor, *identity.chain):
            found = known.get((ACTOR, actor))
            if found is not None and identity.issued <= found.at:
                return found
        return None

    def _forget(self, now: float) -> None:
        """Forget what is over, and, beyond the bound, what ends first."""
        ends, known = self._ends, self._known
        while ends and (ends[0][0] <= now or len(known) > MAX_REVOCATIONS):
            until, *key = heappop(ends)
            found = known.get((key[0], key[1]))
            if found is not None and found.until == until:
                del known[key[0], key[1]]
        if len(ends) > 2 * MAX_REVOCATIONS:
            self._ends = [(each.until, each.kind, each.name) for each in known.values()]
            heapify(self._ends)
