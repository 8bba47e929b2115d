"""The decisions of a supervisor: every rule of OTP's documentation as an example."""

from __future__ import annotations

import pytest

from ion.base.errors import ConfigurationError, LifecycleError
from ion.process.supervision.actions import Escalate, Finished, Forget, Ready, Start, Terminate
from ion.process.supervision.children import Phase
from ion.process.supervision.decisions import ERROR, NORMAL, SHUTDOWN, Supervision
from ion.process.supervision.spec import Backoff, ChildSpec, Flags

OFTEN = 100


def child(id, restart="permanent", **more):
    return ChildSpec(id=id, target="some.module:Process", restart=restart, **more)


def flags(strategy="one_for_one", intensity=OFTEN, backoff=None, **more):
    return Flags(strategy=strategy, intensity=intensity, backoff=backoff, **more)


class World:
    """What a supervisor has around it: it does as it is told, at once, unless it is held.

    :ivar told: what it was told since it was last looked at, as short words: "+a" starts a, "-a"
        terminates it, "~3" waits until 3.0.
    :ivar broken: ids of children that do not come up.
    :ivar declining: ids of children that end normally while they start.
    """

    def __init__(self, flags, *children, draw=lambda: 1.0, hold=False):
        self.core = Supervision(flags, children, draw=draw)
        self.now = 0.0
        self.told = []
        self.up = []
        self.broken = set()
        self.declining = set()
        self.todo = []
        self.hold = hold
        self.budgets = {}

    def start(self):
        self.ask("start")
        return self

    def ask(self, what, *args):
        """Ask for something, or tell what has happened; return what it came to."""
        self._take(getattr(self.core, what)(*args, self.now))
        return self.seen()

    def die(self, id, reason=ERROR):
        self.up.remove(id)
        self._take(self.core.died(id, reason, self.now, "boom"))
        return self.seen()

    def pass_time(self, seconds):
        self.now += seconds
        self._take(self.core.woken(self.now))
        return self.seen()

    def seen(self):
        told, self.told = self.told, []
        return " ".join(told)

    def step(self):
        """Do the next thing that is held back; return what follows from it."""
        action = self.todo.pop(0)
        self._take(self._done(action))
        return self.seen()

    def _take(self, actions):
        for action in actions:
            self.told.append(self._word(action))
            if isinstance(action, (Start, Terminate)):
                self.todo.append(action)
        while self.todo and not self.hold:
            self._take(self._done(self.todo.pop(0)))

    def _done(self, action):
        if isinstance(action, Start):
            if action.id in self.declining:
                return self.core.declined(action.id, self.now)
            if action.id in self.broken:
                return self.core.start_failed(action.id, "no luck", self.now)
            self.up.append(action.id)
            return self.core.started(action.id, self.now)
        self.budgets[action.id] = action.budget
        if action.id in self.up:
            self.up.remove(action.id)
        return self.core.stopped(action.id, self.now)

    @staticmethod
    def _word(action):
        if isinstance(action, Start):
            return f"+{action.id}"
        if isinstance(action, Terminate):
            return f"-{action.id}"
        if isinstance(action, Forget):
            return f"forget:{action.id}"
        if isinstance(action, Ready):
            return "ready"
        if isinstance(action, Finished):
            return f"finished:{action.reason}"
        if isinstance(action, Escalate):
            return "escalate"
        return f"~{action.until:g}"


def running(strategy="one_for_one", ids="abc", **more):
    world = World(flags(strategy, **more), *[child(name) for name in ids])
    world.start()
    assert world.up == list(ids)
    return world


# Starting and stopping


def test_children_are_started_in_order_and_stopped_in_reverse():
    world = World(flags(), *[child(name) for name in "abc"])
    assert world.ask("start") == "+a +b +c ready"
    assert world.ask("stop") == "-c -b -a finished:stopped"
    assert world.core.phase == "ENDED"


def test_a_child_is_started_only_when_the_one_before_is_up():
    world = World(flags(), *[child(name) for name in "ab"], hold=True)
    assert world.ask("start") == "+a"
    assert world.core.phase_of("a") is Phase.STARTING
    assert world.core.is_waiting("b")
    assert world.step() == "+b"
    assert world.step() == "ready"


def test_a_child_is_stopped_only_when_the_one_after_it_is_down():
    world = running(ids="ab")
    world.hold = True
    assert world.ask("stop") == "-b"
    assert world.step() == "-a"
    assert world.step() == "finished:stopped"


def test_a_supervisor_without_children_is_ready_at_once():
    world = World(flags())
    assert world.ask("start") == "ready"
    assert world.ask("stop") == "finished:stopped"


def test_a_supervisor_that_was_never_started_stops():
    assert World(flags(), child("a")).ask("stop") == "finished:stopped"


def test_where_a_first_start_fails_all_are_taken_back_and_the_supervisor_has_failed():
    world = World(flags(), *[child(name) for name in "abcd"])
    world.broken = {"c"}
    assert world.ask("start") == "+a +b +c -b -a escalate"
    assert world.up == []


def test_the_reason_of_a_failed_start_is_told():
    core = Supervision(flags(), [child("a")])
    core.start(0.0)
    [last] = core.start_failed("a", "no disk", 1.0)
    assert last == Escalate("child 'a' did not come up: no disk")


def test_a_stop_during_the_first_start_gives_the_start_up():
    world = World(flags(), *[child(name) for name in "abc"], hold=True)
    world.ask("start")
    assert world.step() == "+b"
    assert world.ask("stop") == "-b"
    assert world.core.started("b", 0.0) == []  # it was up before it heard of it
    world.todo.pop(0)
    assert world.step() == "-a"
    assert world.step() == "finished:stopped"


def test_a_child_has_its_budget_to_end():
    specs = [child("a", shutdown=0), child("b"), child("c", shutdown=None)]
    world = World(flags(), *specs).start()
    world.ask("stop")
    assert world.budgets == {"a": 0, "b": 5.0, "c": None}


def test_a_second_stop_changes_nothing():
    world = running(ids="ab")
    world.hold = True
    assert world.ask("stop") == "-b"
    assert world.ask("stop") == ""
    assert world.step() == "-a"
    assert world.step() == "finished:stopped"
    assert world.ask("stop") == ""


# Strategies


def test_one_for_one_restarts_only_the_one_that_died():
    world = running("one_for_one")
    assert world.die("b") == "+b"


def test_one_for_all_restarts_all():
    world = running("one_for_all")
    assert world.die("b") == "-c -a +a +b +c"


def test_rest_for_one_restarts_those_that_were_started_after_it():
    world = running("rest_for_one", "abcd")
    assert world.die("b") == "-d -c +b +c +d"
    assert world.die("d") == "+d"
    assert world.die("a") == "-d -c -b +a +b +c +d"


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_restarts_begin_when_all_terminations_are_over(strategy):
    world = running(strategy)
    world.hold = True
    assert world.die("a") == "-c"
    assert world.step() == "-b"
    assert world.step() == "+a"
    assert world.step() == "+b"
    assert world.step() == "+c"
    assert world.step() == ""


def test_a_pool_begins_empty_and_takes_children_in():
    world = World(flags("pool"))
    assert world.ask("start") == "ready"
    assert world.ask("add", child("a")) == "+a"
    assert world.ask("add", child("b", "temporary")) == "+b"
    assert world.die("a") == "+a"
    assert world.die("b") == "forget:b"
    assert world.core.ids == ["a"]


def test_children_of_a_pool_are_stopped_at_the_same_time():
    world = World(flags("pool")).start()
    for name in "abc":
        world.ask("add", child(name))
    world.hold = True
    assert world.ask("stop") == "-a -b -c"
    assert [world.step() for _ in range(3)] == ["", "", "finished:stopped"]


def test_a_child_of_a_pool_that_is_down_for_good_is_forgotten():
    world = World(flags("pool")).start()
    for name in "ab":
        world.ask("add", child(name, "transient"))
    assert world.die("a", NORMAL) == "forget:a"
    assert world.ask("terminate", "b") == "-b forget:b"
    assert world.core.ids == []


def test_a_pool_with_first_children_is_refused():
    with pytest.raises(ConfigurationError, match="strategy: a pool begins empty"):
        Supervision(flags("pool"), [child("a")])


# Kinds of restart


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, ERROR])
def test_a_permanent_child_is_always_restarted(reason):
    assert running().die("b", reason) == "+b"


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN])
def test_a_transient_child_that_ends_well_is_not_restarted_and_nobody_is_touched(strategy, reason):
    world = World(flags(strategy), child("a"), child("b", "transient"), child("c")).start()
    assert world.die("b", reason) == ""
    assert world.up == ["a", "c"]
    assert world.core.ids == ["a", "b", "c"]
    assert not world.core.is_waiting("b")


def test_a_transient_child_that_fails_is_restarted():
    world = World(flags(), child("a", "transient")).start()
    assert world.die("a") == "+a"


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, ERROR])
def test_a_temporary_child_is_never_restarted(reason):
    world = World(flags("one_for_all"), child("a", "temporary"), child("b")).start()
    assert world.die("a", reason) == "forget:a"
    assert world.up == ["b"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_temporary_child_is_not_restarted_where_a_siblings_death_took_it_down(strategy):
    world = World(flags(strategy), child("a"), child("b", "temporary"), child("c")).start()
    assert world.die("a") == "-c -b forget:b +a +c"
    assert world.core.ids == ["a", "c"]


def test_a_transient_child_that_had_ended_well_comes_back_with_its_group():
    world = World(flags("one_for_all"), child("a"), child("b", "transient")).start()
    world.die("b", NORMAL)
    assert world.die("a") == "+a +b"


# Intensity


def test_by_default_one_restart_in_five_seconds_is_allowed():
    assert Flags().intensity == 1
    assert Flags().period == 5.0
    world = running(intensity=1)
    assert world.die("a") == "+a"
    assert world.die("a") == "-c -b escalate"
    assert world.core.phase == "ENDED"


def test_restarts_that_are_long_ago_do_not_count():
    world = running(intensity=1, period=5.0)
    for _ in range(4):
        assert world.die("a") == "+a"
        world.now += 5.1


def test_restarts_just_within_the_period_count():
    world = running(intensity=1, period=5.0)
    world.die("a")
    world.now += 5.0
    assert world.die("b") == "-c -a escalate"


def test_with_no_restart_allowed_the_first_death_is_the_end():
    world = running(intensity=0)
    assert world.die("b") == "-c -a escalate"


def test_the_restart_of_a_group_counts_once():
    world = running("one_for_all", intensity=2)
    world.die("a")
    assert world.core.restarts == [0.0]
    world.die("c")
    assert world.die("b") == "-c -a escalate"


def test_the_reason_for_giving_up_is_told():
    core = Supervision(flags(intensity=0, period=7.0), [child("a")])
    core.start(0.0)
    core.started("a", 0.0)
    assert core.died("a", ERROR, 1.0, "ValueError: x") == [
        Escalate("child 'a' died (ValueError: x): more than 0 restarts within 7 s")
    ]


def test_ends_that_are_not_followed_by_a_restart_do_not_count():
    specs = [child("a", "temporary"), child("b", "transient"), child("c")]
    world = World(flags(intensity=0), *specs).start()
    world.die("a")
    world.die("b", NORMAL)
    world.ask("restart", "b")
    world.ask("restart", "c")
    assert world.core.restarts == []
    assert world.core.phase == "RUNNING"


# Failing starts of restarts, and back-off


def test_a_restart_that_fails_counts_and_is_tried_again():
    world = running(intensity=3)
    world.broken = {"b"}
    assert world.die("b") == "+b +b +b -c -a escalate"


def test_a_restart_waits_for_its_back_off_and_the_longer_the_more_often_it_fails():
    world = running(backoff=Backoff(first=1.0, factor=2.0, cap=5.0))
    world.broken = {"b"}
    assert world.die("b") == "~1"
    assert world.core.is_waiting("b")
    assert world.pass_time(1.0) == "+b ~3"
    assert world.pass_time(2.0) == "+b ~7"
    assert world.pass_time(4.0) == "+b ~12"
    world.broken = set()
    assert world.pass_time(5.0) == "+b"


def test_a_child_that_was_up_for_a_while_begins_anew():
    world = running(ids="a", backoff=Backoff(first=1.0, reset=10.0))
    assert world.die("a") == "~1"
    assert world.pass_time(1.0) == "+a"
    world.now = 5.0
    assert world.die("a") == "~7"
    world.pass_time(2.0)
    world.now = 17.0
    assert world.die("a") == "~18"


def test_a_wait_that_ends_too_early_goes_on():
    world = running(ids="a", backoff=Backoff(first=1.0))
    assert world.die("a") == "~1"
    assert world.pass_time(0.5) == "~1"
    assert world.pass_time(0.5) == "+a"


def test_jitter_is_a_part_of_the_delay():
    draws = iter([0.25, 0.0])
    backoff = Backoff(first=1.0)
    world = World(flags(backoff=backoff), child("a"), draw=lambda: next(draws)).start()
    assert world.die("a") == "~0.25"
    assert world.pass_time(0.25) == "+a"
    assert world.die("a") == "+a"


def test_without_jitter_all_of_it():
    backoff = Backoff(first=1.0, jitter=False)
    world = World(flags(backoff=backoff), child("a"), draw=lambda: 0.0).start()
    assert world.die("a") == "~1"


def test_the_delay_has_a_cap():
    backoff = Backoff()
    assert [backoff.delay(n, 1.0) for n in (0, 1, 2, 8, 9, 10**9)] == [0.1, 0.2, 0.4, 25.6, 30, 30]
    assert Backoff(factor=1).delay(10**9, 1.0) == 0.1
    assert Backoff(first=9.0, cap=3.0).delay(0, 1.0) == 3.0


def test_one_for_one_a_back_off_keeps_nobody_else_waiting():
    world = running(backoff=Backoff(first=1.0))
    world.die("a")
    world.now = 0.5
    assert world.die("b") == ""  # the earlier of the two is waited for already
    assert world.ask("add", child("d")) == "+d"
    assert world.pass_time(0.5) == "+a ~1.5"
    assert world.pass_time(0.5) == "+b"


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_waits_together(strategy):
    world = running(strategy, backoff=Backoff(first=1.0))
    assert world.die("a") == "-c -b ~1"
    assert world.pass_time(1.0) == "+a +b +c"


def test_one_for_all_a_failing_restart_takes_all_down_again():
    world = running("one_for_all", backoff=Backoff(first=1.0))
    world.die("a")
    world.broken = {"b"}
    assert world.pass_time(1.0) == "+a +b -a ~2"
    world.broken = set()
    assert world.pass_time(1.0) == "+a +b +c"


def test_rest_for_one_a_failing_restart_leaves_those_before_it_alone():
    world = running("rest_for_one", backoff=Backoff(first=1.0))
    world.die("a")
    world.broken = {"b"}
    assert world.pass_time(1.0) == "+a +b ~2"
    world.broken = set()
    assert world.pass_time(1.0) == "+b +c"


def test_the_failure_of_another_does_not_shorten_a_back_off():
    world = running("rest_for_one", backoff=Backoff(first=4.0))
    world.die("b")
    world.pass_time(4.0)
    assert world.die("b") == "-c ~12"
    assert world.die("a") == "~8"
    assert world.pass_time(4.0) == "+a ~12"
    assert world.pass_time(4.0) == "+b +c"


def test_an_asked_restart_does_not_wait():
    world = running(backoff=Backoff(first=10.0))
    world.die("b")
    assert world.ask("restart", "b") == "+b"


def test_a_stop_during_a_back_off_is_the_end_of_it():
    world = running(backoff=Backoff(first=10.0))
    world.die("b")
    assert world.ask("stop") == "-c -a finished:stopped"
    assert world.pass_time(10.0) == ""


# Declining (OTP's ``ignore``)


def test_a_child_that_declines_is_down_and_the_others_go_on():
    world = World(flags(), *[child(name) for name in "abc"])
    world.declining = {"b"}
    assert world.ask("start") == "+a +b +c ready"
    assert world.core.phase_of("b") is Phase.DOWN
    assert world.core.ids == ["a", "b", "c"]
    assert world.core.restarts == []
    assert world.ask("stop") == "-c -a finished:stopped"


def test_one_that_declined_is_asked_again_with_its_group_and_on_request():
    world = World(flags("one_for_all"), child("a"), child("b"))
    world.declining = {"b"}
    world.start()
    assert world.die("a") == "+a +b"
    assert world.up == ["a"]
    world.declining = set()
    assert world.ask("restart", "b") == "+b"


def test_a_temporary_one_that_declines_is_forgotten():
    world = World(flags(), child("a", "temporary"), child("b"))
    world.declining = {"a"}
    assert world.ask("start") == "+a forget:a +b ready"
    assert world.ask("add", child("a", "temporary")) == "+a forget:a"


def test_one_of_a_pool_that_declines_is_forgotten():
    world = World(flags("pool")).start()
    world.declining = {"a"}
    assert world.ask("add", child("a")) == "+a forget:a"
    assert world.core.ids == []


def test_an_added_one_that_declines_is_kept():
    world = running(ids="a")
    world.declining = {"b"}
    assert world.ask("add", child("b")) == "+b"
    assert world.core.ids == ["a", "b"]


def test_a_restart_that_is_declined_is_no_failure():
    world = running(intensity=1)
    world.declining = {"b"}
    assert world.die("b") == "+b"
    assert world.core.restarts == [0.0]
    assert not world.core.is_waiting("b")


def test_a_significant_one_that_declines_does_not_end_the_supervisor():
    one = child("a", "transient", significant=True)
    world = World(flags(auto_shutdown="any_significant"), one, child("b"))
    world.declining = {"a"}
    assert world.ask("start") == "+a +b ready"


# Deaths in the midst of something


def test_a_death_while_a_sibling_is_terminated_is_part_of_the_same_restart():
    world = running("one_for_all", intensity=1)
    world.hold = True
    assert world.die("a") == "-c"
    assert world.die("b") == ""  # it was to go down anyway
    assert world.step() == "+a"
    world.hold = False
    world.step()
    assert world.up == ["a", "b", "c"]
    assert len(world.core.restarts) == 1


def test_a_death_while_it_is_terminated_itself_is_what_was_asked_for():
    world = running("one_for_all", intensity=1)
    world.hold = True
    assert world.die("a") == "-c"
    world.todo.clear()
    assert world.die("c") == "-b"
    assert len(world.core.restarts) == 1


def test_a_death_of_another_while_a_group_is_terminated_counts():
    world = running("rest_for_one", "abcd")
    world.hold = True
    assert world.die("c") == "-d"
    assert world.die("a") == ""
    assert len(world.core.restarts) == 2
    assert [world.step() for _ in range(6)] == ["-b", "+a", "+b", "+c", "+d", ""]


def test_a_death_while_the_group_is_started_takes_down_what_is_up_already():
    world = running("one_for_all")
    world.hold = True
    assert [world.die("c"), world.step(), world.step()] == ["-b", "-a", "+a"]
    assert world.step() == "+b"
    assert world.die("a") == "-b"  # its start is given up
    world.todo.pop(0)
    assert [world.step() for _ in range(4)] == ["+a", "+b", "+c", ""]


def test_a_death_during_the_first_start_is_remedied_and_the_start_goes_on():
    world = World(flags("one_for_all"), *[child(name) for name in "abc"], hold=True)
    assert [world.ask("start"), world.step()] == ["+a", "+b"]
    assert world.die("a") == "-b"
    world.todo.pop(0)
    assert [world.step() for _ in range(4)] == ["+a", "+b", "+c", "ready"]


def test_a_temporary_child_that_was_not_started_yet_is_not_lost_with_a_siblings_death():
    specs = [child("a"), child("b"), child("c", "temporary")]
    world = World(flags("one_for_all"), *specs, hold=True)
    assert [world.ask("start"), world.step()] == ["+a", "+b"]
    assert world.die("a") == "-b"
    world.todo.pop(0)
    assert [world.step() for _ in range(4)] == ["+a", "+b", "+c", "ready"]


def test_one_for_one_a_back_off_during_the_first_start_does_not_keep_it_waiting():
    specs = [child(name) for name in "abc"]
    world = World(flags(backoff=Backoff(first=1.0)), *specs, hold=True)
    assert [world.ask("start"), world.step()] == ["+a", "+b"]
    assert world.die("a") == ""
    assert [world.step(), world.step()] == ["+c", "ready ~1"]


def test_a_first_start_that_fails_after_a_restart_of_another_still_fails_the_supervisor():
    world = World(flags(), *[child(name) for name in "abc"], hold=True)
    world.broken = {"b"}
    world.ask("start")
    world.step()
    world.die("a")
    assert world.step() == "escalate"


def test_two_deaths_at_once_one_for_one():
    world = running()
    world.hold = True
    assert world.die("a") == "+a"
    assert world.die("c") == "+c"  # nobody waits for the start of another
    assert [world.step(), world.step()] == ["", ""]


def test_too_many_failures_in_the_midst_of_a_restart():
    world = running("rest_for_one", "abcd", intensity=1)
    world.hold = True
    assert world.die("c") == "-d"
    assert world.die("b") == ""
    assert world.step() == "-a"
    assert world.step() == "escalate"


def test_a_death_while_all_are_stopped_is_one_less_to_stop():
    world = running()
    world.hold = True
    assert world.ask("stop") == "-c"
    assert world.die("b") == ""
    assert [world.step(), world.step()] == ["-a", "finished:stopped"]
    assert world.core.restarts == []


def test_late_news_is_ignored():
    world = running(ids="ab")
    assert world.core.died("nobody", ERROR, 0.0) == []
    world.ask("terminate", "a")
    assert world.core.stopped("a", 0.0) == []
    assert world.core.died("a", ERROR, 0.0) == []
    world.ask("stop")
    assert world.core.died("b", ERROR, 0.0) == []
    assert world.core.woken(0.0) == []


def test_news_of_a_start_that_was_not_asked_for_is_an_error():
    core = running(ids="a").core
    with pytest.raises(LifecycleError, match="'a' was not being started: it is up"):
        core.started("a", 0.0)
    with pytest.raises(LifecycleError, match="'a' was not being started: it is up"):
        core.start_failed("a", "", 0.0)
    with pytest.raises(LifecycleError, match="there is no child 'b'"):
        core.started("b", 0.0)


# Requests


def test_an_added_child_is_the_last_in_order():
    world = running("rest_for_one", "ab")
    assert world.ask("add", child("c")) == "+c"
    assert world.die("b") == "-c +b +c"
    assert world.ask("stop") == "-c -b -a finished:stopped"


def test_an_added_child_that_does_not_come_up_is_forgotten_and_nobody_is_touched():
    world = running("one_for_all", "ab")
    world.broken = {"c"}
    assert world.ask("add", child("c")) == "+c forget:c"
    assert world.core.restarts == []


def test_an_added_child_waits_for_its_turn_in_a_group():
    world = running("one_for_all", "ab", backoff=Backoff(first=1.0))
    world.die("a")
    assert world.ask("add", child("c")) == ""
    assert world.pass_time(1.0) == "+a +b +c"


def test_an_id_is_there_once():
    core = running(ids="a").core
    with pytest.raises(ConfigurationError, match="child 'a': id is given twice") as caught:
        core.add(child("a"), 0.0)
    assert caught.value.details == {"key": "id"}
    with pytest.raises(ConfigurationError, match="twice"):
        Supervision(flags(), [child("a"), child("a")])


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_child_that_is_terminated_on_request_stays_down_and_nobody_is_touched(strategy):
    world = running(strategy)
    assert world.ask("terminate", "b") == "-b"
    assert world.core.ids == ["a", "b", "c"]
    assert world.core.restarts == []
    assert world.ask("restart", "b") == "+b"


def test_a_child_that_is_terminated_on_request_does_not_come_back_with_its_group():
    world = running("one_for_all")
    world.ask("terminate", "b")
    assert world.die("a") == "-c +a +c"


def test_a_temporary_child_that_is_terminated_on_request_is_forgotten():
    world = World(flags(), child("a", "temporary")).start()
    assert world.ask("terminate", "a") == "-a forget:a"
    with pytest.raises(LifecycleError, match="there is no child 'a'"):
        world.ask("restart", "a")


def test_a_temporary_child_that_is_up_cannot_be_restarted():
    world = World(flags(), child("a", "temporary")).start()
    with pytest.raises(LifecycleError, match="'a' cannot be restarted"):
        world.ask("restart", "a")


def test_a_child_that_waits_for_a_restart_can_be_terminated():
    world = running(backoff=Backoff(first=1.0))
    world.die("b")
    assert world.ask("terminate", "b") == ""
    assert world.pass_time(1.0) == ""


def test_a_removed_child_is_taken_down_and_forgotten():
    world = running("one_for_all")
    assert world.ask("remove", "b") == "-b forget:b"
    assert world.die("a") == "-c +a +c"
    assert world.ask("terminate", "c") == "-c"
    assert world.ask("remove", "c") == "forget:c"


def test_a_child_that_is_being_removed_cannot_be_restarted_but_its_id_is_free_afterwards():
    world = running(ids="ab")
    world.hold = True
    world.ask("remove", "a")
    with pytest.raises(LifecycleError, match="'a' cannot be restarted"):
        world.ask("restart", "a")
    with pytest.raises(ConfigurationError, match="twice"):
        world.ask("add", child("a"))
    assert world.step() == "forget:a"
    assert world.ask("add", child("a")) == "+a"
    assert world.core.ids == ["b", "a"]


def test_an_asked_restart_of_a_child_that_is_up_terminates_it_before():
    world = running("one_for_all")
    assert world.ask("restart", "b") == "-b +b"


def test_an_asked_restart_that_fails_leaves_the_child_down():
    world = running("one_for_all")
    world.ask("terminate", "b")
    world.broken = {"b"}
    assert world.ask("restart", "b") == "+b"
    assert world.core.phase_of("b") is Phase.DOWN
    assert not world.core.is_waiting("b")
    assert world.core.restarts == []
    assert world.die("a") == "-c +a +c"


def test_an_asked_restart_of_a_group_that_waits_is_one_of_all_of_it():
    world = running("one_for_all", backoff=Backoff(first=10.0))
    world.die("b")
    assert world.ask("restart", "b") == "+a +b +c"


def test_an_asked_restart_of_a_child_that_was_taken_down_while_it_waited_does_not_wait():
    world = running(backoff=Backoff(first=10.0))
    world.die("b")
    world.ask("terminate", "b")
    assert world.ask("restart", "b") == "+b"


def test_a_child_that_was_brought_back_comes_back_with_its_group_again():
    world = running("one_for_all")
    world.ask("terminate", "b")
    world.ask("restart", "b")
    assert world.die("a") == "-c -b +a +b +c"


def test_an_asked_restart_while_it_is_terminated_on_request_brings_it_back():
    world = running()
    world.hold = True
    world.ask("terminate", "b")
    assert world.ask("restart", "b") == ""
    assert world.step() == "+b"


def test_a_start_is_given_up_on_request():
    world = running()
    world.hold = True
    assert world.die("b") == "+b"
    assert world.ask("terminate", "b") == "-b"
    world.todo.pop(0)
    assert world.core.start_failed("b", "given up", 0.0) == []  # also an end
    assert world.core.restarts == [0.0]


def test_a_first_start_is_complete_without_a_child_that_is_not_wanted_any_more():
    world = World(flags(), child("a"), child("b"), hold=True)
    world.ask("start")
    world.ask("terminate", "b")
    assert world.step() == "ready"


def test_nothing_can_be_asked_for_before_the_start_or_after_the_end():
    world = World(flags(), child("a"))
    for _ in range(2):
        for request in ("terminate", "remove", "restart"):
            with pytest.raises(LifecycleError, match="'ask' is not allowed"):
                world.ask(request, "a")
        with pytest.raises(LifecycleError, match="'ask' is not allowed"):
            world.ask("add", child("b"))
        world.ask("stop")
    with pytest.raises(LifecycleError):
        world.ask("start")


# Significant children


def significant(id, restart="transient"):
    return child(id, restart, significant=True)


def test_any_significant_a_transient_one_that_ends_well_ends_the_supervisor():
    shut = flags(auto_shutdown="any_significant")
    world = World(shut, child("a"), significant("b"), significant("c"), child("d")).start()
    assert world.die("b", NORMAL) == "-d -c -a finished:shutdown"


def test_any_significant_a_transient_one_that_fails_is_restarted():
    world = World(flags(auto_shutdown="any_significant"), significant("a")).start()
    assert world.die("a") == "+a"


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, ERROR])
def test_any_significant_a_temporary_one_ends_the_supervisor_however_it_ended(reason):
    specs = [child("a"), significant("b", "temporary")]
    world = World(flags(auto_shutdown="any_significant"), *specs).start()
    assert world.die("b", reason) == "forget:b -a finished:shutdown"


def test_any_significant_others_do_not_matter():
    specs = [significant("a"), child("b", "transient")]
    world = World(flags(auto_shutdown="any_significant"), *specs).start()
    assert world.die("b", NORMAL) == ""


def test_all_significant_the_last_one_ends_the_supervisor():
    specs = [child("a"), significant("b"), significant("c", "temporary")]
    world = World(flags(auto_shutdown="all_significant"), *specs).start()
    assert world.die("b", NORMAL) == ""
    assert world.die("c", ERROR) == "forget:c -a finished:shutdown"


def test_all_significant_one_that_waits_for_its_restart_is_still_at_work():
    shut = flags(auto_shutdown="all_significant", backoff=Backoff(first=1.0))
    world = World(shut, significant("a"), significant("b")).start()
    world.die("a")
    assert world.die("b", NORMAL) == ""
    world.pass_time(1.0)
    assert world.die("a", NORMAL) == "finished:shutdown"


def test_all_significant_one_that_was_terminated_on_request_is_not_waited_for():
    specs = [significant("a"), significant("b"), child("c")]
    world = World(flags(auto_shutdown="all_significant"), *specs).start()
    world.ask("terminate", "a")
    assert world.die("b", NORMAL) == "-c finished:shutdown"


def test_a_significant_child_that_is_terminated_on_request_does_not_end_the_supervisor():
    world = World(flags(auto_shutdown="any_significant"), child("a"), significant("b")).start()
    assert world.ask("terminate", "b") == "-b"
    assert world.up == ["a"]


def test_a_significant_child_that_a_sibling_took_down_does_not_end_the_supervisor():
    specs = [child("a"), significant("b", "temporary")]
    shut = flags("one_for_all", auto_shutdown="any_significant")
    world = World(shut, *specs).start()
    assert world.die("a") == "-b forget:b +a"


def test_a_pool_ends_with_its_last_significant_child():
    world = World(flags("pool", auto_shutdown="all_significant")).start()
    for name in "ab":
        world.ask("add", significant(name, "temporary"))
    assert world.die("a", NORMAL) == "forget:a"
    assert world.die("b", ERROR) == "forget:b finished:shutdown"


# Specs


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("id", {"id": "a.b"}),
        ("id", {"id": ""}),
        ("target", {"target": 7}),
        ("target", {"target": ""}),
        ("args", {"args": ["x"]}),
        ("restart", {"restart": "permament"}),
        ("shutdown", {"shutdown": -1.0}),
        ("shutdown", {"shutdown": float("nan")}),
        ("shutdown", {"shutdown": "5"}),
        ("significant", {"significant": 1, "restart": "transient"}),
        ("significant", {"significant": True}),
    ],
)
def test_a_wrong_child_spec_is_an_error_that_names_the_key(key, values):
    with pytest.raises(ConfigurationError, match=key) as caught:
        ChildSpec(**{"id": "a", "target": "x:Y", **values})
    assert caught.value.details == {"key": key}


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("strategy", {"strategy": "one_for_none"}),
        ("intensity", {"intensity": -1}),
        ("intensity", {"intensity": 1.5}),
        ("period", {"period": 0}),
        ("auto_shutdown", {"auto_shutdown": "always"}),
        ("backoff", {"backoff": 3}),
    ],
)
def test_wrong_flags_are_an_error_that_names_the_key(key, values):
    with pytest.raises(ConfigurationError, match=key) as caught:
        Flags(**values)
    assert caught.value.details == {"key": key}


def test_a_wrong_back_off_is_an_error_that_names_the_key():
    with pytest.raises(ConfigurationError, match="factor") as caught:
        Backoff(factor=0.5)
    assert caught.value.details == {"key": "factor"}


def test_a_significant_child_is_refused_where_it_would_mean_nothing():
    with pytest.raises(ConfigurationError, match="auto_shutdown is never") as caught:
        Supervision(flags(), [significant("a")])
    assert caught.value.details == {"key": "significant"}
    with pytest.raises(ConfigurationError, match="auto_shutdown is never"):
        running().core.add(significant("d"), 0.0)


def test_a_target_may_be_a_class():
    assert ChildSpec(id="a", target=World).target is World
