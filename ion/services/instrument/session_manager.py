"""Sessions of an agent, on the clock: handed out, waited for, taken back when they are over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ion.base import clock
from ion.services.instrument.model import Session, SessionHeld
from ion.services.instrument.session import Held, Sessions, Waiter

GRACE = 0.01  # so that what is to be over then is


class SessionManager:
    """Sessions on the clock.

    :param ended: called when a session has ended, given back or not.
    """

    def __init__(self, ended: Callable[[Held], None]) -> None:
        self._ended = ended
        self._sessions = Sessions()
        self._futures: dict[Waiter, asyncio.Future[Held]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, owner: str, lease: float, wait: float) -> Session:
        """Return a session, as soon as it can be had.

        :raises SessionHeld: it could not in ``wait`` seconds.
        :raises Wrong: a time that cannot be, or no owner.
        """
        self._look()
        found = self._sessions.acquire(owner, lease, wait, clock.monotonic())
        if isinstance(found, Waiter):
            found = await self._wait(found, wait)
        self._look()
        return _shown(found)

    async def _wait(self, waiter: Waiter, wait: float) -> Held:
        future = asyncio.get_running_loop().create_future()
        self._futures[waiter] = future
        try:
            async with asyncio.timeout(wait):
                held: Held = await future
        except TimeoutError:
            message = f"no session in {wait:g} s: {self.owner or 'others'} had it all the while"
            raise SessionHeld(message, details={"owner": self.owner or ""}) from None
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # it came too late to be told
                self.release(future.result().id)
            raise
        finally:
            self._futures.pop(waiter, None)
            self._sessions.give_up(waiter)
        return held

    def renew(self, id: str, lease: float) -> Session:
        """Let a session end ``lease`` seconds from now. :raises NoSession: it is over."""
        self._look()
        return _shown(self._sessions.renew(id, lease, clock.monotonic()))

    def release(self, id: str) -> None:
        """End a session. :raises NoSession: it is over already."""
        self._look()
        held = self._sessions.held
        self._sessions.release(id, clock.monotonic())
        if held is not None:
            self._ended(held)
        self._look()

    def check(self, id: str | None) -> Held | None:
        """Check that a command may be done; see :meth:`Sessions.check`."""
        self._look()
        return self._sessions.check(id, clock.monotonic())

    @property
    def held(self) -> Held | None:
        """The session, or None."""
        return self._sessions.held

    @property
    def owner(self) -> str | None:
        """Who has the session."""
        return self._sessions.held.owner if self._sessions.held else None

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        return len(self._sessions.waiting)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Take back what is over, give it to who waits, and look again when that is over."""
        now = clock.monotonic()
        over = self._sessions.expire(now)
        if over is not None:
            self._ended(over)
        given = self._sessions.next(now)
        if given is not None:
            future = self._futures.get(given[0])
            if future is None or future.done():
                self._sessions.release(given[1].id, now)
                return self._look()
            future.set_result(given[1])
        self.close()
        held = self._sessions.held
        if held is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(held.until - now, 0.0) + GRACE, self._look)
        return None


def _shown(held: Held) -> Session:
    return Session(held.id, held.owner, round(held.until - clock.monotonic(), 3))
