"""Who alone may command an agent, and until when. Pure: whoever asks says what time it is.

A *session* is a lease: it ends when it is given back, or when its time is over, whatever its owner
does. Who waits for it comes next, first come, first served. The id of a session is what fences it:
a command with the id of a session that is over is refused, even where its owner does not know.
"""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, field

from ion.services.instrument.model import NoSession, SessionHeld, Wrong

MIN_LEASE = 1.0
DEFAULT_LEASE = 300.0
MAX_LEASE = 1800.0
MAX_WAIT = 60.0
MAX_WAITING = 100
MAX_OWNER = 200  # characters


@dataclass
class Held:
    """A session: its id, whose it is, and when it ends (on the clock of whoever asks)."""

    id: str
    owner: str
    until: float


@dataclass(eq=False)
class Waiter:
    """Somebody who wants a session.

    :ivar until: when they give up.
    """

    owner: str
    lease: float
    until: float


@dataclass
class Sessions:
    """The session of one agent, and who waits for it. Times in seconds.

    :ivar held: the session, or None.
    """

    held: Held | None = None
    waiting: deque[Waiter] = field(default_factory=deque)

    def acquire(self, owner: str, lease: float, wait: float, now: float) -> Held | Waiter:
        """Return a session, or, where somebody else has it, a place in the queue.

        :raises Wrong: an owner without a name, or a time that cannot be.
        :raises SessionHeld: somebody has it and ``wait`` is 0, or too many wait already.
        """
        _check(owner, lease, wait)
        self.expire(now)
        if self.held is None and not self.waiting:
            return self._give(owner, lease, now)
        if wait <= 0 or len(self.waiting) >= MAX_WAITING:
            raise self._taken(now)
        waiter = Waiter(owner, lease, now + wait)
        self.waiting.append(waiter)
        return waiter

    def renew(self, id: str, lease: float, now: float) -> Held:
        """Let a session end ``lease`` seconds from now.

        :raises Wrong: ``lease`` cannot be.
        :raises NoSession: it is over.
        """
        _check("-", lease, 0)
        held = self._own(id, now)
        held.until = now + lease
        return held

    def release(self, id: str, now: float) -> None:
        """End a session.

        :raises NoSession: it is over already.
        """
        self._own(id, now)
        self.held = None

    def next(self, now: float) -> tuple[Waiter, Held] | None:
        """Give the session to who waits longest, where nobody has it; None: nothing to do."""
        self.expire(now)
        while self.held is None and self.waiting:
            waiter = self.waiting.popleft()
            if waiter.until > now:
                return waiter, self._give(waiter.owner, waiter.lease, now)
        return None

    def give_up(self, waiter: Waiter) -> None:
        """Take somebody out of the queue; nothing happens where they are not in it."""
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    def expire(self, now: float) -> Held | None:
        """End the session whose time is over, and return it."""
        held = self.held
        if held is None or held.until > now:
            return None
        self.held = None
        return held

    def check(self, id: str | None, now: float) -> Held | None:
        """Check that a command may be done: with the session, or where there is none.

        :raises SessionHeld: it has no session, and somebody has one.
        :raises NoSession: its session is over.
        """
        if id is not None:
            return self._own(id, now)
        self.expire(now)
        if self.held is not None:
            raise self._taken(now)
        return None

    def _own(self, id: str, now: float) -> Held:
        self.expire(now)
        if self.held is None or self.held.id != id:
            message = f"session {id!r} is over, or was none: acquire one"
            raise NoSession(message)
        return self.held

    def _give(self, owner: str, lease: float, now: float) -> Held:
        self.held = Held(secrets.token_hex(8), owner, now + lease)
        return self.held

    def _taken(self, now: float) -> SessionHeld:
        owner = self.held.owner if self.held else "others"
        left = max(self.held.until - now, 0.0) if self.held else 0.0
        message = f"{owner} has the session, for {left:.1f} s at most; {len(self.waiting)} wait"
        details = {"owner": owner, "left": left, "waiting": len(self.waiting)}
        return SessionHeld(message, details=details)


def _check(owner: str, lease: float, wait: float) -> None:
    if not owner:
        message = "owner: say who wants the session"
        raise Wrong(message)
    if len(owner) > MAX_OWNER or not owner.isprintable():
        message = f"owner: at most {MAX_OWNER} printable characters, not {owner[:50]!r}"
        raise Wrong(message)
    if not MIN_LEASE <= lease <= MAX_LEASE:
        message = f"lease: {MIN_LEASE:g} to {MAX_LEASE:g} s, not {lease!r}"
        raise Wrong(message)
    if not 0 <= wait <= MAX_WAIT:
        message = f"wait: 0 to {MAX_WAIT:g} s, not {wait!r}"
        raise Wrong(message)
