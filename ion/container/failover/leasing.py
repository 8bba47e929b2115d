"""Leases: who may run what only one container may run, as a pure core.

A lease is a queue of which the broker lets one consumer take at a time, and one message in it, the
token. Whoever is given it looks at all that is there, writes a token with a greater number, and
holds that unsettled: as long as its connection lives, the broker gives it to nobody else.

Every holder proves, again and again, that it is still the one: what it writes into the queue must
come back to it. Another can have become the one only after the last proof was sent; it waits for
the grace, and a holder without a proof stops before that time is over.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import msgspec

from ion.container.failover.lease_actions import (
    OVER,
    Action,
    Answer,
    Begin,
    End,
    Leave,
    Publish,
    Settle,
    State,
    Token,
)

LIMIT = 0.75  # of the grace: a holder without a proof for so long stops
PROOFS = 8  # in the time of a grace
RENEWAL = 10.0  # seconds: the token is written anew, for brokers that limit how long one is held
PATIENCE = 5.0  # seconds for what was written to come back
QUICK = 10.0  # seconds: a holder that ends sooner has held in vain
VANISHED = 20  # holders in a row that may vanish in vain


class Phase(enum.Enum):
    """Where a container is with a lease."""

    STANDBY = "standby"  # it consumes the queue, or does not even that; it was given nothing
    LOOKING = "looking"  # it was given something, and reads all that is there
    TAKING = "taking"  # it has written its token, and waits for it to come
    WAITING = "waiting"  # it has the token; the holder before it may still be there
    HELD = "held"
    LEAVING = "leaving"


class Lease:
    """One container's part in one lease. Methods return what is to be done, in order.

    :param own: this container, unique for ever.
    :param new_mark: makes unique words.
    :ivar token: that it holds, or held last.
    """

    def __init__(self, own: str, new_mark: Callable[[], str], grace: float = 2.0) -> None:
        self.phase = Phase.STANDBY
        self.token: Token | None = None
        self.error = ""
        self._own = own
        self._new_mark = new_mark
        self._grace = grace
        self._seen: dict[Any, Token] = {}
        self._mark = ""
        self._confirmed = False
        self._not_before = 0.0  # the grace of the holder before is over then
        self._above = -1  # the number of the holder before, where that has vanished
        self._claimed = float("-inf")  # when another container said that it holds it
        self._sent: dict[str, float] = {}  # mark of a proof -> when it was sent
        self._proof = 0.0
        self._begun = 0.0  # when it was given the first message
        self._renewed = 0.0
        self._adopted = False
        self._renewal: Token | None = None
        self._ticked = 0.0

    @property
    def grace(self) -> float:
        """Seconds between the last moment of one holder and the first of the next."""
        return self.token.grace if self.token is not None else self._grace

    def holds(self, now: float) -> bool:
        """Return whether nobody else can hold it now."""
        return self.phase is Phase.HELD and now - self._proof < self.grace * LIMIT

    # what the queue gives

    def arrived(self, tag: Any, token: Token, now: float, wall: float) -> list[Action]:
        """Take a message.

        :param tag: what it is settled by.
        :param wall: seconds since 1970.
        """
        if self.phase is Phase.LEAVING:
            self._seen[tag] = token
            return []
        if self.phase is Phase.STANDBY:
            return self._look(tag, token, now)
        overdue = self._overdue(now)
        if overdue:
            return [*overdue, Settle((tag,), back=True)]
        if self.phase in (Phase.WAITING, Phase.HELD):
            return self._while_held(tag, token, now)
        self._seen[tag] = token
        if token.mark != self._mark:
            return []
        self._proof = self._sent.pop(token.mark, self._proof)
        if self.phase is Phase.LOOKING:
            return self._decide(now, wall)
        return self._hold(now)

    def _look(self, tag: Any, token: Token, now: float) -> list[Action]:
        """Write a mark behind all that is in the queue: when it comes, all was seen."""
        self.phase = Phase.LOOKING
        self._begun = self._ticked = now
        self._seen = {tag: token}
        mark = Token(0, "mark", self._own, self._new_mark())
        self._mark = mark.mark
        self._sent = {mark.mark: now}
        return [Publish(mark, lasting=False)]

    def _decide(self, now: float, wall: float) -> list[Action]:
        """All that was in the queue is known: take the lease, or leave it."""
        tokens = [t for t in self._seen.values() if t.number and t.state not in ("bid", "mark")]
        bids = [t for t in self._seen.values() if t.state == "bid"]
        top = max(tokens, key=lambda t: (t.number, t.state != "held"), default=None)
        if not bids and top is None:
            return self._give_back(back=False)
        if not bids and top is not None and top.state in OVER:
            return self._leave(self._again(top, top.state))
        self._note_grace(top)
        self._adopted = top is not None and top.state not in OVER
        if top is None or not self._adopted:
            wanted = bids[-1]
        else:
            wanted = self._succeeded(top, wall)
            if bids:  # somebody wants it: what failed before does not count
                wanted = msgspec.structs.replace(wanted, failed=0, vanished=0)
            if wanted.vanished > VANISHED:
                why = f"{wanted.vanished} containers that held it vanished, one after another"
                return self._leave(self._again(wanted, "failed", error=why))
        number = max(top.number + 1 if top is not None else 1, int(wall * 1000))
        taken = self._again(wanted, "held", number=number, holder=self._own, since=wall)
        return self._write(msgspec.structs.replace(taken, unripe=False), now)

    def _note_grace(self, top: Token | None) -> None:
        """Take note of how long whoever held it before may still be at work."""
        self._above = -1
        if top is None:
            waits = self._begun - self._claimed < RENEWAL
        elif top.state == "held":
            waits = top.holder != self._own
            self._above = top.number if waits else -1
        else:
            waits = top.unripe
        if waits:
            grace = top.grace if top is not None else self._grace
            self._not_before = max(self._not_before, self._begun + grace)

    def _succeeded(self, top: Token, wall: float) -> Token:
        """Return what is known of the holder before, in the light of how it ended."""
        if top.state == "free" or top.holder == self._own:
            return top
        quick = 0 <= wall - top.since < QUICK
        return msgspec.structs.replace(top, vanished=top.vanished + 1 if quick else 0)

    def _write(self, token: Token, now: float) -> list[Action]:
        self.phase = Phase.TAKING
        self.token = token
        self._mark = token.mark
        self._confirmed = False
        self._sent[token.mark] = now
        return [Publish(token, lasting=True)]

    def confirmed(self, mark: str, *, taken: bool, now: float) -> list[Action]:
        """Hear whether the broker has a lasting message."""
        if self._renewal is not None and mark == self._renewal.mark:
            if not taken:
                self._renewal = None
            return []
        if self.phase is not Phase.TAKING or mark != self._mark:
            return []
        if not taken:
            return self._give_back()
        self._confirmed = True
        return self._hold(now)

    def _hold(self, now: float) -> list[Action]:
        """The token is safe, and here: settle what it stands for."""
        assert self.token is not None
        here = [tag for tag, token in self._seen.items() if token.mark == self._mark]
        if not here or not self._confirmed:
            return []
        higher = max(t.number for t in self._seen.values())
        if higher > self.token.number:  # of one that was cut off while it took the lease
            return self._write(self._again(self.token, "held", number=higher + 1), now)
        rest = tuple(tag for tag in self._seen if tag not in here)
        late = [token for token in self._seen.values() if self._is_last_word(token)]
        self._seen = dict.fromkeys(here, self.token)
        self.phase = Phase.WAITING
        self._renewed = self._ticked = now
        then = self._heed(late[-1], now) if late else self._begin(now)
        return [Settle(rest), *then, Answer()]

    def _is_last_word(self, token: Token) -> bool:
        """Whether the holder before, taken for vanished, was only slow to give the lease away."""
        return token.number == self._above and token.state not in ("held", "bid", "mark")

    def _heed(self, last: Token, now: float) -> list[Action]:
        """Do as the holder before has wished with its last word."""
        assert self.token is not None
        self._above = -1
        if last.state == "free":
            if not last.unripe:
                self._not_before = now
            return self._begin(now)
        ends = [End("it was stopped")] if self.phase is Phase.HELD else []
        return [*ends, *self._leave(self._again(self.token, last.state, error=last.error))]

    def _begin(self, now: float) -> list[Action]:
        if self.phase is not Phase.WAITING or now < self._not_before:
            return []
        if now - self._proof >= self.grace * LIMIT:
            return []
        assert self.token is not None
        self.phase = Phase.HELD
        return [Begin(self.token, self._adopted)]

    def _while_held(self, tag: Any, token: Token, now: float) -> list[Action]:
        assert self.token is not None
        sent = self._sent.pop(token.mark, None)
        if sent is not None:
            self._proof = max(self._proof, sent)
        if self._renewal is not None and token.mark == self._renewal.mark:
            old = tuple(self._seen)
            self._seen = {tag: token}
            self.token, self._renewal = self._renewal, None
            self._renewed = now
            return [Settle(old)]
        if token.mark == self.token.mark:  # the queue has crashed, and was restored
            old = tuple(self._seen)
            self._seen = {tag: token}
            return [Settle(old)]
        if token.state == "bid":
            return [Settle((tag,)), Answer()]
        if self._is_last_word(token):
            return [Settle((tag,)), *self._heed(token, now)]
        if token.holder != self._own and token.number >= self.token.number:
            self._seen[tag] = token  # late words of one that was cut off: stay above them
            return self._renew(now, token.number + 1)
        return [Settle((tag,))]

    # time, and trouble

    def tick(self, now: float, *, blocked: bool = False) -> list[Action]:
        """Take note of the time; to be called ``PROOFS`` times in a grace, unless on standby.

        :param blocked: the broker takes no messages of anybody, so that nobody can take the lease.
        """
        gap, self._ticked = now - self._ticked, now
        if self.phase in (Phase.LOOKING, Phase.TAKING):
            return self._give_back() if now - self._begun > PATIENCE + self._grace else []
        if self.phase not in (Phase.WAITING, Phase.HELD):
            return []
        if blocked and gap < self.grace / 2:
            self._proof = max(self._proof, now)
        overdue = self._overdue(now)
        if overdue:
            return overdue
        assert self.token is not None
        actions = self._begin(now)
        if now - self._renewed > RENEWAL:
            return [*actions, *self._renew(now, self.token.number)]
        proof = msgspec.structs.replace(self.token, mark=self._new_mark())
        self._sent[proof.mark] = now
        while len(self._sent) > 4 * PROOFS:
            del self._sent[next(iter(self._sent))]
        return [*actions, Publish(proof, lasting=False)]

    def _renew(self, now: float, number: int) -> list[Action]:
        """Write the token anew."""
        assert self.token is not None
        self._renewed = now
        self._renewal = self._again(self.token, "held", number=number)
        self._sent[self._renewal.mark] = now
        return [Publish(self._renewal, lasting=True)]

    def deleted(self, now: float) -> list[Action]:
        """The queue was not there, and is there again: what was in it is gone."""
        if self.phase in (Phase.LOOKING, Phase.TAKING):
            self._forget()
            return []
        if self.phase not in (Phase.WAITING, Phase.HELD):
            return []
        assert self.token is not None
        self._seen = {}
        return self._renew(now, self.token.number)

    def connected(self) -> list[Action]:
        """Messages can be sent again: the mark may not have been, as the first one came before."""
        if self.phase is not Phase.LOOKING:
            return []
        return [Publish(Token(0, "mark", self._own, self._mark), lasting=False)]

    def claimed(self, now: float) -> None:
        """Another container says that it holds the lease."""
        self._claimed = now

    def cut(self, why: str) -> list[Action]:
        """The connection is gone: the broker gives to others what was here."""
        phase = self.phase
        if phase is Phase.LEAVING:
            return []
        self._forget()
        return [End(why)] if phase is Phase.HELD else []

    def _overdue(self, now: float) -> list[Action]:
        """Stop where there was no proof for too long."""
        if self.phase not in (Phase.WAITING, Phase.HELD):
            return []
        silent = now - self._proof
        if silent < self.grace * LIMIT:
            return []
        ends = [End(f"no proof of it for {silent:.1f} s")] if self.phase is Phase.HELD else []
        return [*ends, *self._give_back()]

    def _give_back(self, *, back: bool = True) -> list[Action]:
        tags = tuple(self._seen)
        self._forget()
        return [Settle(tags, back=back)]

    def _forget(self) -> None:
        self.phase = Phase.STANDBY
        self._seen = {}
        self._sent = {}
        self._renewal = None
        self._mark = ""

    # what this side wants

    def bid(self, record: dict[str, Any], *, attempts: int) -> Token:
        """Return the message that asks for a start."""
        number = self.token.number if self.token is not None else 0
        mark = self._new_mark()
        grace = self._grace
        return Token(number, "bid", self._own, mark, 0.0, record, grace, attempts)

    def release(self, state: State, wall: float, error: str = "") -> list[Action]:
        """Give the lease away; nothing where it is not held.

        :param state: ``free`` for the next one, or ``stopped``.
        :param error: it failed here; after too many failures in a row it is ``failed``.
        """
        token = self.token
        if token is None or self.phase not in (Phase.WAITING, Phase.HELD):
            return []
        unripe = self.phase is Phase.WAITING
        if not error:
            return self._leave(self._again(token, state, unripe=unripe))
        quick = 0 <= wall - token.since < QUICK
        failed = token.failed + 1 if quick else 1
        state = "failed" if failed >= token.attempts else state
        last = self._again(token, state, failed=failed, error=error, unripe=unripe)
        return self._leave(last)

    def _leave(self, last: Token) -> list[Action]:
        self.phase = Phase.LEAVING
        rest = tuple(tag for tag, token in self._seen.items() if token.state == "bid")
        tags = tuple(tag for tag in self._seen if tag not in rest)
        self.token = last
        self._seen = {}
        return [Leave(last, tags, rest)]

    def left(self) -> list[Action]:
        """It has left: what came meanwhile goes back, but for what it said itself."""
        own = tuple(tag for tag, token in self._seen.items() if token.holder == self._own)
        for tag in own:
            del self._seen[tag]
        return [Settle(own), *self._give_back()]

    def _again(self, token: Token, state: State, **changes: Any) -> Token:
        return msgspec.structs.replace(token, state=state, mark=self._new_mark(), **changes)
