"""The verifier: tells whom a token is of, and remembers it.

To check a signature costs more than an rpc. So what was checked is kept, by the token, until the
token ends or something revokes it; then a message costs a look into a map, and one at the clock.
What was refused is known, too, for a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ion.base.errors import Unauthorized
from ion.process.identity.identity import Identity
from ion.process.identity.keys import PublicKey
from ion.process.identity.negative_cache import NegativeCache
from ion.process.identity.revocations import Revocation, Revocations
from ion.process.identity.tokens import MAX_TOKEN, Limits, judge_time, key_of, read, refused


class Verifier:
    """Checks tokens with trusted keys.

    :ivar checked: how many were checked, and not known from before.
    :param keys: that are trusted.
    :param size: how many checked tokens are remembered; beyond, the oldest are forgotten.
    :param now: the clock, seconds since 1970.
    """

    def __init__(
        self,
        keys: Iterable[PublicKey],
        limits: Limits,
        *,
        size: int = 4096,
        revocations: Revocations | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.checked = 0
        self.limits = limits
        self.revocations = revocations if revocations is not None else Revocations()
        self._own = {key.id: key for key in keys}
        self._keys = self._own
        self._size = size
        self._now = now
        self._known: dict[str, Identity] = {}
        self._refusals = NegativeCache()

    def __len__(self) -> int:
        return len(self._known)

    def trust(self, keys: Iterable[PublicKey]) -> None:
        """Trust these keys, too, in the place of those that this was told of before."""
        self._keys = {**{key.id: key for key in keys}, **self._own}
        self._known = {}
        self._refusals = NegativeCache()

    def knows(self, token: str) -> bool:
        """Tell whether a token was checked before, and was good."""
        return token in self._known

    def identify(self, token: str) -> Identity:
        """Return whom a token is of.

        :raises Unauthorized: it is not good, or no more; ``details["reason"]`` says why in a word.
        :raises Unavailable: it is not known, and too many others were checked in vain.
        """
        identity = self._known.get(token)
        now = self._now()
        if identity is None:
            return self._check(token, now)
        if identity.expires <= now:
            judge_time(identity, self.limits, now)
        return identity

    def identified(self, token: str, at: float) -> Identity:
        """Return whom a token was of at a former time, seconds since 1970.

        :raises Unauthorized: as :meth:`identify`, then.
        """
        identity = self._known.get(token)
        if identity is None:
            identity = self._read(token, key_of(token, self._keys), at)
            self._remember(token, identity)
        judge_time(identity, self.limits, at)
        return identity

    def revoke(self, told: Iterable[Revocation]) -> None:
        """Take what was revoked; what is remembered of it is forgotten."""
        if not self.revocations.learn(told, self._now()):
            return
        of = self.revocations.of
        self._known = {t: identity for t, identity in self._known.items() if of(identity) is None}

    def _check(self, token: str, now: float) -> Identity:
        refusals = self._refusals
        refusals.look(token, now)
        checked = False
        try:
            key = key_of(token, self._keys)
            refusals.may_check(now)
            checked = True
            identity = self._read(token, key, now)
        except Unauthorized as error:
            if len(token) <= MAX_TOKEN:
                refusals.note(token, error, now, checked=checked)
            raise
        self._remember(token, identity)
        return identity

    def _remember(self, token: str, identity: Identity) -> None:
        if len(self._known) >= self._size:
            del self._known[next(iter(self._known))]
        self._known[token] = identity

    def _read(self, token: str, key: PublicKey, now: float) -> Identity:
        self.checked += 1
        identity = read(token, key, self.limits, now)
        revocation = self.revocations.of(identity)
        if revocation is not None:
            raise _revoked(identity, revocation)
        return identity


def _revoked(identity: Identity, revocation: Revocation) -> Unauthorized:
    why = f" ({revocation.reason})" if revocation.reason else ""
    message = f"the token of {identity.actor!r} was revoked{why}: get a new one"
    return refused(message, "revoked")
