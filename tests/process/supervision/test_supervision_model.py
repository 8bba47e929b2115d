"""The decisions of a supervisor against two models that know nothing of how it decides.

*By the book* is a supervisor that does one thing at a time and waits for it, in loops, as OTP's
documentation reads; the two must do the very same things in the same order, as long as one thing
happens at a time. The *ledger* follows what happens at any moment, and in any order; it says what
may be done now, and what must be so when nothing more is to be done.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ion.process.supervision.actions import (
    Escalate,
    Finished,
    Forget,
    Ready,
    Start,
    Terminate,
    Wait,
)
from ion.process.supervision.decisions import ERROR, NORMAL, SHUTDOWN, Supervision
from ion.process.supervision.spec import Backoff, ChildSpec, Flags

IDS = "abcdef"
GROUPS = ("one_for_all", "rest_for_one")
FIRST, FACTOR, CAP, RESET, PERIOD, DRAW = 2.0, 2.0, 12.0, 40.0, 20.0, 0.5
REASONS = st.sampled_from([ERROR, ERROR, NORMAL, SHUTDOWN])
ENOUGH = 500  # steps: whatever was going on is over by then

any_flags = st.builds(
    Flags,
    strategy=st.sampled_from(["one_for_one", *GROUPS, *GROUPS, "pool"]),
    intensity=st.sampled_from([100, 4, 2, 1, 0]),
    period=st.just(PERIOD),
    auto_shutdown=st.sampled_from(["never", "any_significant", "all_significant"]),
    backoff=st.sampled_from([None, Backoff(first=FIRST, factor=FACTOR, cap=CAP, reset=RESET)]),
)
any_restart = st.sampled_from([*["permanent"] * 4, "transient", "transient", "temporary"])
some_kinds = st.lists(st.tuples(any_restart, st.booleans()), min_size=2, max_size=len(IDS))

with_first_starts = {
    "flags": any_flags,
    "kinds": some_kinds,
    "broken": st.sampled_from([*"...........", *IDS]),  # does not come up at first
    "declines": st.sampled_from([*"...........", *IDS]),
}
with_a_start = {
    "flags": any_flags,
    "kinds": some_kinds,
    "goes_well": st.sampled_from([True, True, False]),
}


def spec_of(flags: Flags, name: str, restart: Any, significant: bool) -> ChildSpec:
    allowed = restart != "permanent" and flags.auto_shutdown != "never"
    return ChildSpec(
        id=name, target="x:Y", restart=restart, significant=significant and allowed, shutdown=1.0
    )


def delay_of(flags: Flags, failures: int) -> float:
    """The back-off, in a loop."""
    if flags.backoff is None:
        return 0.0
    delay = FIRST
    for _ in range(failures):
        delay *= FACTOR
    return min(delay, CAP) * DRAW


def word_of(action: Any) -> str:
    if isinstance(action, Start):
        return f"start {action.id}"
    if isinstance(action, Terminate):
        return f"terminate {action.id}"
    if isinstance(action, Forget):
        return f"forget {action.id}"
    if isinstance(action, Wait):
        return f"wait {action.until}"
    if isinstance(action, Finished):
        return f"finished {action.reason}"
    return type(action).__name__.lower()


class BookChild:
    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.alive = False
        self.held = False
        self.failures = 0
        self.since = 0.0


class ByTheBook:
    """A supervisor that waits for everything it does. ``failing``: how many starts fail next."""

    def __init__(self, flags: Flags, specs: list[ChildSpec], failing: dict[str, int]) -> None:
        self.flags = flags
        self.children = [BookChild(spec) for spec in specs]
        self.failing = failing
        self.declining: dict[str, bool] = {}
        self.now = 0.0
        self.restarts: list[float] = []
        self.did: list[str] = []
        self.over = False

    def find(self, name: str) -> BookChild:
        return next(child for child in self.children if child.spec.id == name)

    def start_one(self, child: BookChild) -> bool:
        """Start a child, which may fail, or decline: that is no failure, and it is down."""
        self.did.append(f"start {child.spec.id}")
        if self.declining.pop(child.spec.id, None):
            if child.spec.restart == "temporary" or self.flags.strategy == "pool":
                self.forget(child)
            return True
        if self.failing.get(child.spec.id, 0):
            self.failing[child.spec.id] -= 1
            return False
        child.alive = True
        child.since = self.now
        return True

    def terminate_one(self, child: BookChild) -> None:
        if child.alive:
            self.did.append(f"terminate {child.spec.id}")
            child.alive = False

    def forget(self, child: BookChild) -> None:
        self.did.append(f"forget {child.spec.id}")
        self.children.remove(child)

    def finish(self, verdict: str) -> None:
        living = [child for child in self.children if child.alive]
        for child in living if self.flags.strategy == "pool" else reversed(living):
            self.terminate_one(child)
        self.did.append(verdict)
        self.over = True

    def start(self) -> None:
        for child in self.children[:]:
            if not self.start_one(child):
                self.finish("escalate")
                return
        self.did.append("ready")

    def died(self, name: str, reason: str) -> None:
        child = self.find(name)
        child.alive = False
        kind = child.spec.restart
        if kind == "permanent" or (kind == "transient" and reason == ERROR):
            if self.now - child.since >= RESET:
                child.failures = 0
            self.restart(child)
            return
        if kind == "temporary" or self.flags.strategy == "pool":
            self.forget(child)
        left = [c for c in self.children if c.alive and c.spec.significant]
        enough = {"never": False, "any_significant": True, "all_significant": not left}
        if child.spec.significant and enough[self.flags.auto_shutdown]:
            self.finish("finished shutdown")

    def restart(self, child: BookChild) -> None:
        while True:
            self.restarts.append(self.now)
            recent = [t for t in self.restarts if self.now - t <= PERIOD]
            if len(recent) > self.flags.intensity:
                self.finish("escalate")
                return
            group = self.terminate_group(child)
            delay = delay_of(self.flags, child.failures)
            child.failures += 1
            if delay:
                self.now += delay
                self.did.append(f"wait {self.now}")
            failed = next((one for one in group if not self.start_one(one)), None)
            if failed is None:
                return
            child = failed

    def terminate_group(self, child: BookChild) -> list[BookChild]:
        """Terminate those that go with it; return those that are then to be started."""
        index = self.children.index(child)
        whole = {"one_for_all": self.children[:], "rest_for_one": self.children[index:]}
        group = whole.get(self.flags.strategy, [child])
        for one in reversed(group):
            was_alive = one.alive
            self.terminate_one(one)
            if was_alive and one.spec.restart == "temporary":
                self.forget(one)
        return [one for one in group if one in self.children and not one.held]

    def add(self, spec: ChildSpec) -> None:
        child = BookChild(spec)
        self.children.append(child)
        if not self.start_one(child):
            self.forget(child)

    def ask_down(self, name: str, *, remove: bool) -> None:
        child = self.find(name)
        self.terminate_one(child)
        child.held = True
        if remove or child.spec.restart == "temporary" or self.flags.strategy == "pool":
            self.forget(child)

    def ask_restart(self, name: str) -> None:
        child = self.find(name)
        if child.alive:
            self.terminate_one(child)
            if not self.start_one(child):
                self.restart(child)
            return
        child.failures = 0
        child.held = not self.start_one(child)


class AtRest(RuleBasedStateMachine):
    """One thing happens at a time, and all that follows from it is done before the next."""

    @precondition(lambda self: self.book.over)
    @rule(**with_first_starts)
    def begin_anew(self, flags: Flags, kinds: Any, broken: str, declines: str) -> None:
        self.begin(flags, kinds, broken, declines)

    @initialize(**with_first_starts)
    def begin(self, flags: Flags, kinds: Any, broken: str, declines: str) -> None:
        pairs = zip(IDS, kinds, strict=False) if flags.strategy != "pool" else ()
        specs = [spec_of(flags, name, *kind) for name, kind in pairs]
        self.flags = flags
        self.failing = {broken: 1}
        self.declining: dict[str, bool] = {}
        self.now = 0.0
        self.did: list[str] = []
        self.book = ByTheBook(flags, specs, {broken: 1})
        self.may_decline(declines)
        self.core = Supervision(flags, specs, draw=lambda: DRAW)
        self.up: set[str] = set()
        self.book.start()
        self.do(self.core.start(self.now))

    def do(self, actions: list[Any]) -> None:
        todo = list(actions)
        for _ in range(ENOUGH):
            if not todo:
                break
            action = todo.pop(0)
            self.did.append(word_of(action))
            todo += self.done(action)
        assert not todo, "it does not come to an end"
        assert self.did == self.book.did
        assert self.now == self.book.now
        alive = [child.spec.id for child in self.book.children if child.alive]
        assert sorted(self.up) == sorted(alive)
        if not self.book.over:
            assert self.core.ids == [child.spec.id for child in self.book.children]

    def done(self, action: Any) -> list[Any]:
        if isinstance(action, Wait):
            self.now = action.until
            return self.core.woken(self.now)
        if isinstance(action, Terminate):
            self.up.remove(action.id)
            return self.core.stopped(action.id, self.now)
        if not isinstance(action, Start):
            return []
        if self.declining.pop(action.id, None):
            return self.core.declined(action.id, self.now)
        if self.failing.get(action.id, 0):
            self.failing[action.id] -= 1
            return self.core.start_failed(action.id, "broken", self.now)
        assert action.id not in self.up
        self.up.add(action.id)
        return self.core.started(action.id, self.now)

    def may_decline(self, name: str) -> None:
        """Let the next start of a child be one that it declines."""
        self.declining[name] = self.book.declining[name] = True

    def is_running(self) -> bool:
        return not self.book.over

    def has_children(self) -> bool:
        return self.is_running() and bool(self.book.children)

    def one_of(self, data: Any) -> BookChild:
        return data.draw(st.sampled_from(self.book.children))

    @precondition(lambda self: self.is_running() and bool(self.up))
    @rule(data=st.data(), reason=REASONS, fails=st.integers(0, 2), declines=st.booleans())
    def die(self, data: Any, reason: Any, fails: int, declines: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.up)))
        if declines:
            self.may_decline(self.one_of(data).spec.id)
        broken = self.one_of(data).spec.id
        for failing in (self.failing, self.book.failing):
            failing[broken] = fails
        self.up.remove(name)
        self.book.died(name, reason)
        self.do(self.core.died(name, reason, self.now))

    @precondition(is_running)
    @rule(seconds=st.sampled_from([1.0, 5.0, PERIOD, RESET]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.book.now += seconds

    @precondition(is_running)
    @rule(name=st.sampled_from(IDS), kind=any_restart, significant=st.booleans())
    def add(self, name: str, kind: Any, significant: bool) -> None:
        if name in self.core.ids:
            return
        spec = spec_of(self.flags, name, kind, significant)
        self.book.add(spec)
        self.do(self.core.add(spec, self.now))

    @precondition(has_children)
    @rule(data=st.data(), remove=st.booleans())
    def take_down(self, data: Any, remove: bool) -> None:
        name = self.one_of(data).spec.id
        self.book.ask_down(name, remove=remove)
        ask = self.core.remove if remove else self.core.terminate
        self.do(ask(name, self.now))

    @precondition(has_children)
    @rule(data=st.data())
    def restart(self, data: Any) -> None:
        child = self.one_of(data)
        if child.spec.restart == "temporary":
            return
        self.book.ask_restart(child.spec.id)
        self.do(self.core.restart(child.spec.id, self.now))

    def teardown(self) -> None:
        if hasattr(self, "book") and not self.book.over:
            self.book.finish("finished stopped")
            self.do(self.core.stop(self.now))


class Entry:
    """What the ledger has about a child. ``state``: absent, coming, up or going."""

    def __init__(self, spec: ChildSpec, why: str) -> None:
        self.spec = spec
        self.why = why
        self.state = "absent"
        self.should = True  # be up, in the end
        self.must_go = False  # before anything
        self.held = False
        self.doomed = False
        self.gate = 0.0
        self.failures = 0
        self.since = 0.0


class Interleaved(RuleBasedStateMachine):
    """Anything happens at any time; what is done is checked against a ledger."""

    @precondition(lambda self: self.ended)
    @rule(**with_a_start)
    def begin_anew(self, flags: Flags, kinds: Any, goes_well: bool) -> None:
        self.begin(flags, kinds, goes_well)

    @initialize(**with_a_start)
    def begin(self, flags: Flags, kinds: Any, goes_well: bool) -> None:
        pairs = zip(IDS, kinds, strict=False) if flags.strategy != "pool" else ()
        specs = [spec_of(flags, name, *kind) for name, kind in pairs]
        self.flags = flags
        self.now = 0.0
        self.ledger = [Entry(spec, "first") for spec in specs]
        self.restarts: list[float] = []
        self.verdict = ""  # how it is to end, once that is clear
        self.ended = False
        self.is_ready = False
        self.to_forget: list[str] = []
        self.alarm: float | None = None
        self.core = Supervision(flags, specs, draw=lambda: DRAW)
        self.follow(self.core.start(self.now))
        if goes_well:
            self.come_to_rest()

    # what the ledger says

    def entry(self, name: str) -> Entry:
        return next(e for e in self.ledger if e.spec.id == name)

    def those(self, *states: str) -> list[Entry]:
        return [e for e in self.ledger if e.state in states]

    @property
    def in_order(self) -> bool:
        if self.flags.strategy == "one_for_one":
            return bool(self.verdict) or not self.is_ready
        return self.flags.strategy in GROUPS

    def end(self, verdict: str) -> None:
        self.verdict = self.verdict or verdict
        for e in self.ledger:
            e.should = False
            e.must_go = e.state in {"coming", "up"}

    def absent(self, e: Entry) -> None:
        """It is down: is it forgotten?"""
        e.state = "absent"
        e.must_go = False
        gone = e.spec.restart == "temporary" or self.flags.strategy == "pool" or e.doomed
        if not e.should and gone and not self.verdict:
            self.ledger.remove(e)
            self.to_forget.append(e.spec.id)

    def trouble(self, e: Entry) -> None:
        self.restarts.append(self.now)
        if len([t for t in self.restarts if self.now - t <= PERIOD]) > self.flags.intensity:
            self.end("escalate")
            return
        gate = self.now + delay_of(self.flags, e.failures)
        e.failures += 1
        later = self.ledger[self.ledger.index(e) :]
        group = {"one_for_all": self.ledger, "rest_for_one": later}
        for one in group.get(self.flags.strategy, [e]):
            one.gate = max(one.gate, gate)
            if one is e or one.held:
                continue
            if one.state in {"coming", "up"}:
                one.must_go = True
                one.should = one.spec.restart != "temporary"
            elif one.spec.restart != "temporary":
                one.should = True

    def over(self, e: Entry, reason: str) -> None:
        """It has ended, or has not come up."""
        before, meant = e.state, e.must_go or e.state == "going"
        e.state = "absent"
        if meant:
            self.absent(e)
        elif before == "coming":
            self.no_start(e)
        elif e.spec.restart == "permanent" or (e.spec.restart, reason) == ("transient", ERROR):
            if self.now - e.since >= RESET:
                e.failures = 0
            self.trouble(e)
        else:
            e.should = False
            self.absent(e)
            at_work = [c for c in self.ledger if c.spec.significant and c.should]
            enough = {"never": False, "any_significant": True, "all_significant": not at_work}
            if e.spec.significant and enough[self.flags.auto_shutdown]:
                self.end("finished shutdown")

    def no_start(self, e: Entry) -> None:
        if e.why == "first":
            self.end("escalate")
        elif e.why == "again":
            self.trouble(e)
        else:
            e.should, e.held = False, True
            e.doomed = e.doomed or e.why == "added"
            self.absent(e)

    # what is done, and whether it may be

    def follow(self, actions: list[Any]) -> None:
        for action in actions:
            assert not self.ended, "nothing follows the end"
            getattr(self, f"on_{type(action).__name__.lower()}")(action)
        assert not self.to_forget
        self.check_rest()

    def on_start(self, action: Start) -> None:
        e = self.entry(action.id)
        assert e.state == "absent", "never two of one id"
        assert e.should
        assert e.gate <= self.now
        if self.in_order:
            assert not self.those("coming", "going")
            assert not [c for c in self.ledger if c.must_go]
            before = self.ledger[: self.ledger.index(e)]
            waits = [c for c in before if c.should and c.state == "absent"]
            if self.flags.strategy == "one_for_one":
                waits = [c for c in waits if c.gate <= self.now]
            assert not waits, "it is not its turn"
        e.state = "coming"

    def on_terminate(self, action: Terminate) -> None:
        e = self.entry(action.id)
        assert e.must_go
        assert e.state in {"coming", "up"}
        assert action.budget == 1.0
        if self.in_order:
            assert not self.those("going")
            assert [c for c in self.ledger if c.must_go][-1] is e, "it is not its turn"
        e.must_go = False
        e.state = "going"

    def on_wait(self, action: Wait) -> None:
        assert action.until > self.now
        assert action.until in {e.gate for e in self.ledger}
        self.alarm = action.until

    def on_forget(self, action: Forget) -> None:
        assert self.to_forget.pop(0) == action.id

    def on_ready(self, action: Ready) -> None:
        assert not self.is_ready
        assert not [e for e in self.ledger if e.why == "first" and e.should]
        self.is_ready = True

    def on_finished(self, action: Finished) -> None:
        assert self.verdict == f"finished {action.reason}"
        self.ended = True

    def on_escalate(self, action: Escalate) -> None:
        assert self.verdict == "escalate"
        assert action.reason
        self.ended = True

    def check_rest(self) -> None:
        """Nothing is forgotten: there is work under way, or an alarm set, or all is as it should
        be.
        """
        if self.ended:
            assert not self.those("coming", "up", "going")
            return
        assert not self.verdict or self.those("coming", "up", "going")
        waiting = [e for e in self.ledger if e.should and e.state == "absent"]
        if self.in_order and self.those("going"):
            return
        if self.in_order:
            assert not [e for e in self.ledger if e.must_go]
            if self.those("coming"):
                return
        for e in self.ledger:
            assert not e.must_go
            assert e in waiting or e.should == (e.state in {"coming", "up"}) or e.state == "going"
        due = [e.gate for e in waiting]
        if due:
            next_ = due[0] if self.flags.strategy in GROUPS else min(due)
            assert self.alarm is not None
            assert self.alarm <= next_, "nobody wakes it"

    # what happens

    def may_ask(self) -> bool:
        return not self.verdict

    def has(*states: str) -> Any:
        return precondition(lambda self: bool(self.those(*states)))

    def pick(self, data: Any, *states: str) -> Entry:
        names = [e.spec.id for e in self.those(*states)]
        return self.entry(data.draw(st.sampled_from(names)))

    @has("coming", "going")
    @rule(
        data=st.data(), how=st.sampled_from(["", "", "died", "up before", "no start", "declines"])
    )
    def moves(self, data: Any, how: str) -> None:
        """Something that was begun comes to its end."""
        e = self.pick(data, "coming", "going")
        name = e.spec.id
        if how == "declines":
            self.declines(e)
            return
        if e.state == "coming" and how != "no start":
            e.state, e.why, e.since = "up", "again", self.now
            self.follow(self.core.started(name, self.now))
            return
        if how == "up before":
            self.follow(self.core.started(name, self.now))
        self.over(e, SHUTDOWN)
        if how == "died":
            self.follow(self.core.died(name, ERROR, self.now))
        elif how == "no start":
            self.follow(self.core.start_failed(name, "broken", self.now))
        else:
            self.follow(self.core.stopped(name, self.now))

    def declines(self, e: Entry) -> None:
        """A start ends with a child that is down, and that is meant to be."""
        is_meant = not e.must_go and e.state == "coming"
        e.why = "again"
        if is_meant:
            e.should = False
        self.absent(e)
        self.follow(self.core.declined(e.spec.id, self.now))

    @has("up")
    @rule(data=st.data(), reason=REASONS)
    def dies(self, data: Any, reason: Any) -> None:
        e = self.pick(data, "up")
        self.over(e, reason)
        self.follow(self.core.died(e.spec.id, reason, self.now, "boom"))

    @precondition(lambda self: not self.ended)
    @rule(seconds=st.sampled_from([0.0, 1.0, 3.0, PERIOD, RESET]))
    def time_passes(self, seconds: float) -> None:
        """It may also be woken for nothing."""
        self.now += seconds
        if seconds == 0 or (self.alarm is not None and self.alarm <= self.now):
            self.wakes()

    def wakes(self) -> None:
        self.alarm = None
        self.follow(self.core.woken(self.now))

    @precondition(may_ask)
    @rule(name=st.sampled_from(IDS), kind=any_restart, significant=st.booleans())
    def add(self, name: str, kind: Any, significant: bool) -> None:
        if name in self.core.ids:
            return
        spec = spec_of(self.flags, name, kind, significant)
        self.ledger.append(Entry(spec, "added"))
        self.follow(self.core.add(spec, self.now))

    @precondition(lambda self: self.may_ask() and self.ledger)
    @rule(data=st.data(), what=st.sampled_from(["terminate", "restart", "restart", "remove"]))
    def ask(self, data: Any, what: str) -> None:
        e = self.pick(data, "absent", "coming", "up", "going")
        if what != "restart":
            e.should, e.held, e.doomed = False, True, e.doomed or what == "remove"
            if e.state == "absent":
                self.absent(e)
            else:
                e.must_go = e.state != "going"
        elif e.spec.restart == "temporary" or e.doomed:
            return
        elif not e.should:
            e.should, e.held, e.why, e.gate, e.failures = True, False, "asked", 0.0, 0
        elif e.state == "up":
            e.must_go = True
        elif e.state == "absent":
            for one in self.ledger if self.flags.strategy in GROUPS else [e]:
                one.gate = 0.0
        self.follow(getattr(self.core, what)(e.spec.id, self.now))

    @precondition(lambda self: self.may_ask() and self.now > 3 * RESET)
    @rule()
    def stop(self) -> None:
        self.end("finished stopped")
        self.follow(self.core.stop(self.now))

    @invariant()
    def restarts_are_counted(self) -> None:
        if hasattr(self, "core") and self.restarts:
            last = self.restarts[-1]
            assert self.core.restarts == [t for t in self.restarts if last - t <= PERIOD]

    @invariant()
    def news_of_those_that_are_down_changes_nothing(self) -> None:
        if hasattr(self, "core"):
            living = [e.spec.id for e in self.those("coming", "up", "going")]
            for name in set(IDS).difference(living):
                assert self.core.died(name, ERROR, self.now) == []

    @invariant()
    def the_same_children_are_known(self) -> None:
        if hasattr(self, "core"):
            assert self.core.ids == [e.spec.id for e in self.ledger]

    def teardown(self) -> None:
        """All goes well from here on: it comes to rest as it should be, and then it stops."""
        if not hasattr(self, "core"):
            return
        self.come_to_rest()
        if not self.ended:
            assert self.is_ready
            assert [e.should for e in self.ledger] == [e.state == "up" for e in self.ledger]
            self.end("finished stopped")
            self.follow(self.core.stop(self.now))
            self.come_to_rest()
        assert self.ended
        assert self.core.stop(self.now) == []

    def come_to_rest(self) -> None:
        for _ in range(ENOUGH):
            moving = self.those("coming", "going")
            if moving and moving[0].state == "coming":
                moving[0].state, moving[0].why = "up", "again"
                self.follow(self.core.started(moving[0].spec.id, self.now))
            elif moving:
                self.over(moving[0], SHUTDOWN)
                self.follow(self.core.stopped(moving[0].spec.id, self.now))
            elif self.alarm is not None and not self.ended:
                self.now = max(self.now, self.alarm)
                self.wakes()
            else:
                return
        msg = "it does not come to rest"
        raise AssertionError(msg)


def test_one_thing_at_a_time_is_done_by_the_book():
    run_state_machine_as_test(
        AtRest, settings=settings(max_examples=60, stateful_step_count=20, deadline=None)
    )


def test_anything_at_any_time_keeps_to_the_rules():
    run_state_machine_as_test(
        Interleaved, settings=settings(max_examples=70, stateful_step_count=40, deadline=None)
    )
