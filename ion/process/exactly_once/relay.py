"""The relay: sends what units of work have put into the outbox, and takes it out when the broker
has it.

What its own container commits it is handed at once. What another one has left behind it finds by
its claim (see :mod:`ion.process.exactly_once.claims`) and takes from the store, page by page: a
*sweep*. What cannot be sent now is left in the store, too, for a later sweep, so that little is
held in memory however long the broker is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Iterable

from ion.base import clock
from ion.base.errors import IonError, StoreError, Unavailable
from ion.base.settings import StoreSettings
from ion.base.tasks import Tasks
from ion.process.endpoint.endpoint import Endpoint
from ion.process.exactly_once.claims import Claims
from ion.process.exactly_once.outbox_message import OutboxMessage, unpacked
from ion.process.exactly_once.sending import Sender
from ion.stores.limits import MAX_BATCH
from ion.stores.store import Remove, Store

log = logging.getLogger(__name__)
AT_A_TIME = 100  # messages on their way to the broker
MAX_IN_HAND = 1000
MAX_BYTES_IN_HAND = 16 << 20
PAUSE = 0.2  # seconds before what could not be sent is tried again; twice as long each time
MAX_PAUSE = 30.0
FAREWELL = 2.0  # seconds to send what is left when the container stops


class _Trouble:
    """What goes wrong again and again: said once, and when it is over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: float | None = None

    def goes_on(self, error: IonError) -> None:
        """Take note of it."""
        if self._since is None:
            self._since = clock.monotonic()
            log.warning("%s: %s", self._what, error)

    def is_over(self) -> None:
        """Take note that it is well, where it was not."""
        if self._since is not None:
            lasted, self._since = clock.monotonic() - self._since, None
            log.warning("over, after %.0f s: %s", lasted, self._what)


class _Sweep:
    """A pass through all that one owner has in the outbox.

    :ivar due: when it goes on, on the monotonic clock.
    :ivar after: the last key of the page before.
    :ivar is_incomplete: something was left in this pass.
    :ivar until: when it may be over: before, something may still come.
    """

    __slots__ = ("after", "due", "is_incomplete", "pause", "until")

    def __init__(self, due: float) -> None:
        self.due = due
        self.after: str | None = None
        self.is_incomplete = False
        self.pause = PAUSE
        self.until = due


class Relay:
    """Sends what is in the outbox of one container, and of those that are gone.

    :param outbox: where the messages stand, as ``<sysname>/<owner>/<number>``.
    :ivar unsent: how many messages of this container the broker does not have yet.
    """

    def __init__(
        self, endpoint: Endpoint, outbox: Store, claims: Claims, settings: StoreSettings
    ) -> None:
        self._endpoint = endpoint
        self._outbox = outbox
        self._claims = claims
        self._lease = settings.lease
        self._limit = settings.max_unsent
        self._doubt = 2 * settings.timeout  # seconds in which a commit may still come to its end
        self._sender = Sender(endpoint, settings.remember)
        self._system = f"{endpoint.namespace.sysname}/"
        self._serial = itertools.count(1).__next__
        self._fresh: deque[tuple[str, OutboxMessage]] = deque()
        self._fresh_bytes = 0
        self._at_hand: set[str] = set()  # keys that no sweep is to send
        self._sent: set[str] = set()  # keys that are still to be taken out of the store
        self._sweeps: dict[str, _Sweep] = {}
        self._used = 0.0
        self._wake = asyncio.Event()
        self._tasks = Tasks(f"{endpoint.id}.relay")
        self._running: asyncio.Task[None]
        self._is_closing = False
        self.unsent = 0

    def start(self) -> None:
        """Begin to send, and to look for what others have left."""
        self._running = self._tasks.start(self._run(), "sending")
        self._tasks.start(self._look(), "claims")

    async def close(self, patience: float = FAREWELL) -> None:
        """Send what is left, for ``patience`` seconds; the rest is for others. Never raises."""
        self._is_closing = True
        if patience and self._at_hand:  # those on their way to the broker are, too
            self._wake.set()
            await asyncio.wait({self._running}, timeout=patience)
        await self._tasks.stop()
        if not self.unsent:
            with contextlib.suppress(IonError):
                await self._claims.give_up(self._claims.own)

    # for units of work

    async def reserve(self) -> str:
        """Return a key for a message, which no sweep touches before :meth:`take`.

        :raises Unavailable: too many wait for the broker already, or the store is away.
        """
        if self.unsent >= self._limit:
            message = (
                f"{self.unsent} messages of units of work wait for the broker already, the limit "
                "store.max_unsent: is it away, and are their receivers started?"
            )
            raise Unavailable(message)
        self._used = clock.monotonic()
        await self._claims.hold_own()
        key = f"{self._prefix(self._claims.own)}{self._serial():012x}"
        self._at_hand.add(key)
        return key

    def take(self, messages: Iterable[tuple[str, OutboxMessage]]) -> None:
        """Take messages that are in the store by now, under reserved keys."""
        self._used = clock.monotonic()
        for key, outgoing in messages:
            self.unsent += 1
            size = len(outgoing.envelope.body)
            if len(self._fresh) >= MAX_IN_HAND or self._fresh_bytes + size > MAX_BYTES_IN_HAND:
                self._leave(key)
            else:
                self._fresh.append((key, outgoing))
                self._fresh_bytes += size
        self._wake.set()

    def drop(self, keys: Iterable[str], *, perhaps_kept: bool) -> None:
        """Give reserved keys back.

        :param perhaps_kept: the messages may be in the store, or come there: it is not known.
        """
        for key in keys:
            self._at_hand.discard(key)
            if perhaps_kept:
                owner = _owner(key, self._system)
                self._sweep(owner, PAUSE)
                self._sweeps[owner].until = clock.monotonic() + self._doubt

    # sending

    async def _run(self) -> None:
        waiting = _Trouble("what is in the outbox has to wait")
        while not (self._is_closing and not (self._fresh or self._sent)):
            try:
                await self._step()
            except IonError as error:
                waiting.goes_on(error)
                await self._idle(1.0)
            else:
                waiting.is_over()

    async def _step(self) -> None:
        """Do the next thing that is to be done, or wait for it."""
        if self._sent:
            await self._take_out()
        await self._sender.ready()
        if self._fresh:
            await self._send([self._next() for _ in range(min(len(self._fresh), AT_A_TIME))])
        owner = self._due()  # one page, so that what is fresh does not wait for long
        if owner is not None:
            await self._sweep_on(owner, self._sweeps[owner])
        elif not (self._fresh or self._sent or self._is_closing):
            await self._idle(self._until_due())

    def _next(self) -> tuple[str, OutboxMessage]:
        key, outgoing = self._fresh.popleft()
        self._fresh_bytes -= len(outgoing.envelope.body)
        return key, outgoing

    async def _send(self, batch: list[tuple[str, OutboxMessage]]) -> bool:
        """Send messages, and take those that the broker has out; return whether it has all."""
        try:
            done = await self._sender.send([outgoing for _, outgoing in batch])
        except BaseException:
            for key, _ in batch:
                self._leave(key)
            raise
        for (key, _), is_done in zip(batch, done, strict=True):
            if is_done:
                self._sent.add(key)
            else:
                self._leave(key)
        if self._sent:
            await self._take_out()
        return all(done)

    def _leave(self, key: str) -> None:
        """Leave a message in the store, to be sent by a sweep."""
        self._at_hand.discard(key)
        self._sweep(_owner(key, self._system), PAUSE)

    async def _take_out(self) -> None:
        keys = list(itertools.islice(self._sent, MAX_BATCH))
        await self._outbox.write([Remove(key) for key in keys])
        self._sent.difference_update(keys)
        self._at_hand.difference_update(keys)
        own = self._prefix(self._claims.own)
        self.unsent = max(0, self.unsent - sum(key.startswith(own) for key in keys))

    # sweeps

    def _sweep(self, owner: str, pause: float) -> None:
        sweep = self._sweeps.get(owner)
        if sweep is None:
            self._sweeps[owner] = _Sweep(clock.monotonic() + pause)
        else:
            sweep.is_incomplete = True
        self._wake.set()

    def _due(self) -> str | None:
        """Return the owner whose sweep is to go on now, the longest due first; or None."""
        now = clock.monotonic()
        due = [(sweep.due, owner) for owner, sweep in self._sweeps.items() if sweep.due <= now]
        return min(due)[1] if due else None

    def _until_due(self) -> float:
        now = clock.monotonic()
        return min((sweep.due - now for sweep in self._sweeps.values()), default=60.0)

    async def _sweep_on(self, owner: str, sweep: _Sweep) -> None:
        """Send one page of what an owner has in the outbox."""
        prefix = self._prefix(owner)
        page = await self._outbox.scan(prefix, after=sweep.after, limit=AT_A_TIME)
        batch = []
        for entry in page.items:
            if entry.key in self._at_hand or entry.key in self._sent:
                continue
            try:
                batch.append((entry.key, unpacked(entry.value)))
            except StoreError as error:
                log.error("%s stays in the outbox: %s", entry.key, error)  # noqa: TRY400
                sweep.is_incomplete = True
        sweep.after = page.cursor
        if batch and not await self._send(batch):
            sweep.is_incomplete = True
        if page.cursor is None:
            await self._sweep_over(owner, sweep)

    async def _sweep_over(self, owner: str, sweep: _Sweep) -> None:
        if sweep.is_incomplete or clock.monotonic() < sweep.until:
            sweep.is_incomplete = False
            sweep.due = clock.monotonic() + sweep.pause
            sweep.pause = min(sweep.pause * 2, MAX_PAUSE)
            return
        self._sweeps.pop(owner, None)
        if owner != self._claims.own:
            await self._claims.give_up(owner)

    # claims

    async def _look(self) -> None:
        """Renew the claims, and take those of containers that are gone."""
        blind = _Trouble("the claims to what is in the outbox cannot be looked at")
        while True:
            try:
                await self._look_once()
            except IonError as error:
                blind.goes_on(error)
            else:
                blind.is_over()
            await clock.sleep(self._lease / 3)

    async def _look_once(self) -> None:
        for owner in await self._claims.renew():
            log.warning("what %s has in the outbox is sent by another container now", owner)
            self._sweeps.pop(owner, None)
        owners = await self._owners()
        for owner in await self._claims.take(owners):
            log.info("%s is gone: what it has left in the outbox is sent from here", owner)
            self._sweep(owner, 0.0)
        if not self._is_at_rest():
            return
        if self._claims.own in owners:  # a commit that was given up has come to its end after all
            self._sweep(self._claims.own, 0.0)
        else:
            await self._claims.give_up(self._claims.own)

    async def _owners(self) -> set[str]:
        """Return the names under which there is something in the outbox."""
        found: set[str] = set()
        after = None
        while True:
            page = await self._outbox.keys(self._system, after=after, limit=1)
            if not page.items:
                return found
            owner = _owner(page.items[0], self._system)
            found.add(owner)
            after = f"{self._system}{owner}0"  # 0 follows /: after all that it has

    def _is_at_rest(self) -> bool:
        is_unused = self._used + self._lease < clock.monotonic()
        return is_unused and not (self.unsent or self._at_hand or self._sweeps)

    # helpers

    async def _idle(self, seconds: float) -> None:
        """Wait, but not longer than until something is to be done."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._wake.wait()

    def _prefix(self, owner: str) -> str:
        return f"{self._system}{owner}/"


def _owner(key: str, system: str) -> str:
    return key.removeprefix(system).partition("/")[0]
