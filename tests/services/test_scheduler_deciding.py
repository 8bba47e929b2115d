"""What becomes of a task, step by step: any clock, any end of its calls, any owner's death."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ion.services.scheduler import deciding, taskstore, times, validation
from ion.services.scheduler.model import Firing, Kept, Schedule, Target

NOW = 1.8e9
KINDS = [
    Target(origin="x"),
    Target(kind="send", to="a", op="b"),
    Target(kind="call", to="a", op="b", overlap="skip"),
    Target(kind="call", to="a", op="b", overlap="queue"),
]


class Owner(RuleBasedStateMachine):
    """Looks at one task again and again, as the ticker does."""

    @initialize(
        what=st.sampled_from(KINDS),
        misfire=st.sampled_from(["skip", "once", "all"]),
        every=st.sampled_from([1.0, 7.0, 60.0]),
        end=st.none() | st.floats(60, 600),
        jitter=st.sampled_from([0.0, 2.0]),
    )
    def add(
        self, what: Target, misfire: str, every: float, end: float | None, jitter: float
    ) -> None:
        rest = {"misfire": misfire, "grace": 5.0, "most": 10, "jitter": jitter}
        schedule = Schedule(every=every, end=NOW + end if end else None, **rest)  # type: ignore[arg-type]
        self.kept = validation.kept_of(
            "t", schedule, what, NOW, by="", owner="", description="", keep=5
        )
        self.now = self.latest = NOW
        self.fired: list[Firing] = []
        self.skipped: list[float] = []
        self.calls: dict[str, int] = {}
        self.at_it: str | None = None  # the call that goes on here
        self.due = self.kept.task.due
        self.by_hand = 0
        self.is_steady = misfire == "all"

    def _take(self, move: deciding.Move | None) -> bool:
        if move is None:
            return False
        self.kept = msgspec.msgpack.decode(msgspec.msgpack.encode(move.kept), type=Kept)
        if move.post is not None:
            self.fired.append(move.post)
        if move.call is not None:
            self.calls[move.call.id] = self.calls.get(move.call.id, 0) + 1
            assert self.calls[move.call.id] == move.call.tries <= deciding.MAX_TRIES
            if move.call.tries == 1:
                self.fired.append(move.call)
            self.at_it = move.call.id
        last = self.kept.task.last
        is_skipped = last is not None and last.outcome == "skipped"
        if last is not None and is_skipped and last.due not in self.skipped:
            self.skipped.append(last.due)
        return True

    @rule(seconds=st.floats(0.1, 4.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(20):
            alive = self.at_it is not None
            if not self._take(deciding.look(self.kept, self.now, alive=alive)):
                break

    @rule(seconds=st.floats(-1000.0, 1000.0))
    def the_clock_is_set(self, seconds: float) -> None:
        self.now += seconds
        self.is_steady = False

    @precondition(lambda self: self.at_it)
    @rule(fails=st.booleans())
    def the_call_ends(self, fails: bool) -> None:
        error = {"code": 500, "type": "X", "message": "x"} if fails else None
        self.kept = deciding.ended(self.kept, self.at_it or "", self.now, error=error)
        self.at_it = None
        assert self.kept.task.running is None
        assert self.kept.task.last is not None
        assert self.kept.task.last.outcome == ("failed" if fails else "done")

    @rule()
    def the_owner_dies(self) -> None:
        """The next one has the lease: it begins again what was begun."""
        self.at_it = None
        if self.kept.task.running is not None:
            self._take(deciding.lost(self.kept, self.now))
            self.at_it = self.kept.task.running.id if self.kept.task.running else None

    @precondition(lambda self: self.kept.task.target.kind == "send")
    @rule()
    def nobody_is_there_to_be_sent_to(self) -> None:
        move = deciding.held(self.kept, self.now, {"code": 404, "type": "X", "message": "x"})
        due = self.kept.task.due
        if not self._take(move):
            return
        assert move is not None
        assert move.post is None
        assert self.kept.task.trouble is not None
        if self.kept.task.due == due:  # else it was skipped
            assert self.now < (deciding.look_at(self.kept) or 0.0) <= self.now + deciding.MAX_PAUSE
            assert deciding.held(self.kept, self.now, {}) is None
            assert self.kept.task.last is not None
            assert self.kept.task.last.outcome == "failed"

    @rule()
    def it_is_paused_and_resumed(self) -> None:
        self.kept = deciding.paused(self.kept)
        assert (
            deciding.look(self.kept, self.now + 1e9, alive=True) is None or self.kept.task.running
        )
        self.kept = deciding.resumed(self.kept, self.now)
        self.is_steady = False

    @precondition(lambda self: self.kept.task.running is None)
    @rule()
    def somebody_fires_it(self) -> None:
        self.by_hand += 1
        self._take(deciding.by_hand(self.kept, f"t/by-hand/{self.by_hand}", self.now))

    @invariant()
    def each_fires_once_and_time_goes_on(self) -> None:
        if not hasattr(self, "kept"):
            return
        ids = [firing.id for firing in self.fired]
        assert len(set(ids)) == len(ids)
        dues = [firing.due for firing in self.fired if "by-hand" not in firing.id]
        assert dues == sorted(dues)
        task = self.kept.task
        if self.due is not None and task.due is not None:
            assert task.due >= self.due
        self.due = task.due if task.due is not None else self.due
        assert len(self.kept.history) <= self.kept.keep
        assert task.fired == len(self.fired)
        assert task.state != "done" or task.due is None
        assert task.state == "done" or task.due is not None or task.running is not None
        look = taskstore.index_of(self.kept)
        assert look[taskstore.SENDS] is None or look[taskstore.CALLS] is None
        if task.state == "active":
            assert look[taskstore.SENDS] is not None or look[taskstore.CALLS] is not None

    @invariant()
    def none_is_lost_while_the_clock_goes_on(self) -> None:
        if (
            not hasattr(self, "kept")
            or not self.is_steady
            or self.kept.task.missed > len(self.skipped)
        ):
            return  # more than ten at a time are dropped, and counted
        dues = [firing.due for firing in self.fired if "by-hand" not in firing.id]
        done = sorted({*dues, *self.skipped})
        moment = NOW
        for due in done:
            assert times.after(self.kept.task.schedule, moment) == due
            moment = due
        assert self.kept.task.due == times.after(self.kept.task.schedule, moment)


Owner.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
TestOwner = Owner.TestCase


def test_who_is_far_behind_takes_turns_with_all_that_are_due() -> None:
    words = {"by": "", "owner": "", "description": "", "keep": 5}
    behind = Schedule(every=1.0, start=NOW, misfire="all", most=1000)
    kept = validation.kept_of("behind", behind, KINDS[0], NOW, **words)  # type: ignore[arg-type]
    now = NOW + 3600.0
    move = deciding.look(kept, now)
    assert move is not None
    assert move.post is not None
    look = deciding.look_at(move.kept)
    assert look == now  # and not its due time, an hour ago: what is due since then comes first
    assert deciding.look(move.kept, now) is not None
