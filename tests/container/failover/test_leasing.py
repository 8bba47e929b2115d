"""The core of a lease, against a model of a broker, slow lines, cuts and sleepers."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ion.container.failover.lease_actions import Answer, Begin, End, Leave, Publish, Settle, Token
from ion.container.failover.leasing import PROOFS, VANISHED, Lease, Phase

GRACE = 2.0
STEP = GRACE / PROOFS


class Broker:
    """One queue with a single active consumer. What is settled is gone, the rest comes again."""

    def __init__(self) -> None:
        self.ready: list[tuple[int, Token]] = []
        self.places = itertools.count()
        self.line: list[Node] = []  # consumers, the active one first

    def put(self, token: Token) -> None:
        self.ready.append((next(self.places), token))
        self.hand_out()

    def hand_out(self) -> None:
        if not self.line:
            return
        node = self.line[0]
        ready, self.ready = self.ready, []
        for place, token in ready:
            node.unsettled[place] = token
            node.coming.append(("message", node.life, place, token))

    def take_back(self, node: Node, places: list[int]) -> None:
        back = [(place, node.unsettled.pop(place)) for place in places if place in node.unsettled]
        self.ready = sorted([*self.ready, *back], key=lambda item: item[0])
        self.hand_out()

    def cut(self, node: Node) -> None:
        if node in self.line:
            self.line.remove(node)
        self.take_back(node, list(node.unsettled))


class Node:
    """A container: its core, and its line to the broker and back."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.core = Lease(name, world.new_mark, GRACE)
        self.name = name
        self.life = 0  # of its connection
        self.is_frozen = False
        self.is_cut = False  # at the broker; it does not know yet
        self.going: deque[tuple[Any, ...]] = deque()
        self.coming: deque[tuple[Any, ...]] = deque()
        self.unsettled: dict[int, Token] = {}
        self.runs = 0

    def act(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Publish():
                    self.going.append(("put", action.token, action.lasting))
                case Settle():
                    self.going.append(("settle", action.tags, action.back))
                case Leave():
                    self.going.append(("leave",))
                    self.going.append(("put", action.last, True))
                    self.going.append(("settle", action.tags, False))
                    self.going.append(("settle", action.rest, True))
                    self.going.append(("left",))
                case Begin():
                    self.world.begun(self, action)
                case End():
                    self.runs = 0
                case Answer():
                    pass

    @property
    def is_out(self) -> bool:
        """Whether it has left, and could consume again."""
        idle = self.core.phase is Phase.STANDBY and not self.going
        return idle and not self.is_cut and self not in self.world.broker.line

    # the line

    def send(self) -> None:
        """The broker takes what was sent first."""
        if not self.going or self.is_cut:
            return
        broker = self.world.broker
        kind, *what = self.going.popleft()
        if kind == "put":
            broker.put(what[0])
            if what[1]:
                self.coming.append(("confirm", self.life, what[0].mark, None))
        elif kind == "settle":
            tags, back = what
            if back:
                broker.take_back(self, list(tags))
            else:
                for tag in tags:
                    self.unsettled.pop(tag, None)
        elif kind == "leave":
            broker.line.remove(self)
            broker.hand_out()
        else:
            self.coming.append(("left", self.life, None, None))

    def receive(self) -> None:
        """The container takes what came first."""
        if self.is_frozen or not self.coming:
            return
        kind, life, what, token = self.coming.popleft()
        if life != self.life:
            return
        core, world = self.core, self.world
        if kind == "message":
            self.act(core.arrived(what, token, world.now, world.now + 1.7e9))
        elif kind == "confirm":
            self.act(core.confirmed(what, taken=True, now=world.now))
        else:
            self.act(core.left())

    def notice(self) -> None:
        """It learns that it was cut off, and comes back."""
        if self.is_frozen or not self.is_cut:
            return
        self.act(self.core.cut("cut"))
        if self.core.phase is Phase.LEAVING:
            self.act(self.core.left())
        self.going.clear()
        self.coming.clear()
        self.unsettled.clear()
        self.life += 1
        self.is_cut = False
        self.world.broker.line.append(self)
        self.world.broker.hand_out()


class World:
    """Containers, a broker, and time."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.marks = itertools.count()
        self.broker = Broker()
        self.nodes = [Node(self, f"n{number}") for number in range(count)]
        self.broker.line = list(self.nodes)
        self.tokens: list[int] = []

    def new_mark(self) -> str:
        return f"m{next(self.marks)}"

    def begun(self, node: Node, action: Begin) -> None:
        assert action.token.number > max(self.tokens, default=0)
        self.tokens.append(action.token.number)
        node.runs = action.token.number

    def check(self) -> None:
        """Nobody may think to hold it beside another: not even one that sleeps."""
        holders = [node.name for node in self.nodes if node.core.holds(self.now)]
        assert len(holders) <= 1, holders
        for node in self.nodes:
            assert not node.core.holds(self.now) or node.runs

    def flow(self) -> None:
        """All that is on its way arrives."""
        for _ in range(1000):
            if not any(
                (n.going and not n.is_cut) or (n.coming and not n.is_frozen) for n in self.nodes
            ):
                return
            for node in self.nodes:
                node.send()
                node.receive()
        raise AssertionError("it never comes to rest")

    def tick(self) -> None:
        self.now += STEP
        for node in self.nodes:
            if not node.is_frozen and node.core.phase is not Phase.STANDBY:
                node.act(node.core.tick(self.now))

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.tick()
            self.flow()
            self.check()

    def bid(self, node: Node, attempts: int = 5) -> None:
        node.act([Publish(node.core.bid({"name": "app"}, attempts=attempts), lasting=True)])

    @property
    def holder(self) -> Node | None:
        return next((node for node in self.nodes if node.core.holds(self.now)), None)


def test_the_first_start_is_at_once():
    world = World(3)
    world.bid(world.nodes[1])
    world.flow()
    assert world.holder is world.nodes[0]  # whoever the broker gives it to
    assert world.holder.core.token.record == {"name": "app"}
    world.pass_time(30)
    assert len(world.tokens) == 1


def test_a_second_bid_changes_nothing():
    world = World(2)
    world.bid(world.nodes[0])
    world.pass_time(1)
    world.bid(world.nodes[1])
    world.pass_time(1)
    assert world.tokens == [world.nodes[0].core.token.number]


def test_ten_bid_at_once_and_one_holds():
    world = World(10)
    for node in world.nodes:
        world.bid(node)
    world.pass_time(5)
    assert len(world.tokens) == 1


def test_after_the_holder_vanished_the_next_one_waits_for_the_grace():
    world = World(2)
    world.bid(world.nodes[0])
    world.pass_time(1)
    first = world.nodes[0]
    first.is_frozen = first.is_cut = True
    world.broker.cut(first)
    world.pass_time(GRACE - 2 * STEP)
    assert world.nodes[1].core.phase is Phase.WAITING
    world.pass_time(3 * STEP)
    assert world.holder is world.nodes[1]


def test_what_is_handed_over_begins_at_once():
    world = World(2)
    world.bid(world.nodes[0])
    world.pass_time(1)
    world.nodes[0].act(world.nodes[0].core.release("free", 1.7e9))
    world.flow()
    assert world.holder is world.nodes[1]


def test_what_was_stopped_is_started_by_nobody_until_it_is_asked_for():
    world = World(3)
    world.bid(world.nodes[0])
    world.pass_time(1)
    world.nodes[0].act(world.nodes[0].core.release("stopped", 1.7e9))
    world.pass_time(30)
    assert world.holder is None
    assert world.broker.line == []
    world.broker.line = [world.nodes[2]]
    world.bid(world.nodes[2])
    world.flow()
    assert world.holder is world.nodes[2]


def slow_goodbye(world: World, state: str) -> Node:
    """Let the holder give the lease away so slowly that the next one takes it for vanished."""
    first, second = world.nodes
    world.bid(first)
    world.pass_time(1)
    proof = first.core.token
    first.act(first.core.release(state, 1.7e9))
    first.send()
    world.broker.put(proof)  # it went by another channel, and comes late
    for _ in range(10):
        second.receive()
        second.send()
    assert second.core.phase is Phase.WAITING
    return second


def test_a_stop_that_is_slow_is_heeded_all_the_same():
    world = World(2)
    slow_goodbye(world, "stopped")
    world.pass_time(30)
    assert world.holder is None
    assert len(world.tokens) == 1


def test_a_slow_handing_over_needs_no_grace():
    world = World(2)
    second = slow_goodbye(world, "free")
    world.flow()
    assert world.holder is second


@pytest.mark.parametrize("error", ["", "it breaks"])
def test_what_is_given_away_within_the_grace_is_not_begun_before_its_end(error: str):
    world = World(3)
    world.bid(world.nodes[0])
    world.pass_time(1)
    first, second, third = world.nodes
    first.is_frozen = first.is_cut = True
    world.broker.cut(first)
    world.pass_time(2 * STEP)
    assert second.core.phase is Phase.WAITING
    second.act(second.core.release("free", 1.7e9, error))
    world.pass_time(2 * STEP)
    assert third.core.phase is Phase.WAITING
    world.pass_time(GRACE)
    assert world.holder is third


def test_what_fails_everywhere_stays_down():
    world = World(3)
    world.bid(world.nodes[0], attempts=4)
    failures = 0
    while world.holder is not None or failures == 0:
        world.flow()
        holder = world.holder
        failures += 1
        assert failures <= 4
        holder.act(holder.core.release("free", world.now + 1.7e9, "it breaks"))
        world.flow()
        if holder not in world.broker.line and holder.core.token.state == "free":
            world.broker.line.append(holder)
            world.broker.hand_out()
        world.flow()
    assert failures == 4
    world.pass_time(30)
    assert world.holder is None
    node = world.nodes[0]
    world.broker.line = [node]
    world.bid(node, attempts=4)
    world.flow()
    assert world.holder is node
    assert node.core.token.failed == 0


def test_holders_that_vanish_in_a_row_are_not_followed_for_ever():
    world = World(2)
    world.bid(world.nodes[0])
    world.pass_time(1)
    for _ in range(VANISHED + 1):
        holder = world.holder
        assert holder is not None
        world.broker.cut(holder)
        holder.is_cut = True
        holder.notice()
        world.pass_time(GRACE + 2 * STEP)
    assert world.holder is None
    assert any(node.core.token.state == "failed" for node in world.nodes)


def test_a_holder_without_proof_stops_before_the_grace_is_over():
    world = World(1)
    world.bid(world.nodes[0])
    world.flow()
    [node] = world.nodes
    actions: list[Any] = []
    for step in range(1, PROOFS):
        world.now += STEP
        actions += [a for a in node.core.tick(world.now) if isinstance(a, End)]
        assert bool(actions) == (step >= PROOFS * 0.75)


def test_an_alarm_of_the_broker_takes_the_lease_from_nobody():
    world = World(1)
    world.bid(world.nodes[0])
    world.flow()
    for _ in range(100):
        world.now += STEP
        world.nodes[0].core.tick(world.now, blocked=True)
    assert world.holder is world.nodes[0]
    world.now += GRACE  # but a sleeper is not trusted
    assert isinstance(world.nodes[0].core.tick(world.now, blocked=True)[0], End)


def test_a_deleted_queue_is_filled_again():
    world = World(2)
    world.bid(world.nodes[0])
    world.pass_time(1)
    node = world.nodes[0]
    node.unsettled.clear()
    world.broker.ready.clear()
    node.act(node.core.deleted(world.now))
    world.pass_time(5)
    assert len(world.tokens) == 1
    world.broker.cut(node)
    node.is_cut = node.is_frozen = True
    world.pass_time(5)
    assert world.holder is world.nodes[1]


def test_a_queue_that_was_restored_after_a_crash_keeps_the_token():
    world = World(1)
    world.bid(world.nodes[0])
    world.pass_time(1)
    node = world.nodes[0]
    [(place, token)] = node.unsettled.items()
    world.broker.ready.append((place + 1000, token))
    world.broker.hand_out()
    world.flow()
    assert list(node.unsettled.values()) == [token]
    assert place not in node.unsettled
    assert world.holder is node


def test_a_mark_that_could_not_be_sent_is_sent_when_it_can():
    core = Lease("a", iter(["mark", "token"]).__next__, GRACE)
    held = Token(7, "held", "b", "m7", grace=GRACE)
    [first] = core.arrived(1, held, 0.0, 0.0)
    assert core.connected() == [first]  # the same mark: whichever comes shows that all was seen
    [write] = core.arrived(2, first.token, 0.5, 0.5)
    assert write.token.number > 7
    assert core.connected() == []
    core.arrived(3, first.token, 0.6, 0.6)  # and the other one is settled with what was there
    core.arrived(4, write.token, 0.7, 0.7)
    [settle, *_] = core.confirmed(write.token.mark, taken=True, now=0.8)
    assert set(settle.tags) == {1, 2, 3}


def test_the_token_is_renewed():
    world = World(1)
    world.bid(world.nodes[0])
    world.flow()
    before = set(world.nodes[0].unsettled)
    world.pass_time(25)
    after = world.nodes[0].unsettled
    assert len(after) == 1
    assert not before & set(after)
    assert len(world.tokens) == 1


NODES = 3
WORDS = ["run", "run", "tick", "send", "receive", "cut", "notice", "freeze", "thaw", "bid"]
WORDS += ["free", "fail", "stop", "back"]
STEP_OF = st.tuples(st.sampled_from(WORDS), st.integers(0, NODES), st.integers(1, PROOFS))


def step(world: World, word: str, number: int, count: int) -> None:
    """Do one thing to one container, or to whoever holds the lease."""
    node = world.nodes[number] if number < NODES else world.holder or world.nodes[0]
    broker = world.broker
    if word == "run":
        world.pass_time(count * STEP)
    elif word == "tick":
        world.tick()
    elif word in ("send", "receive"):
        for _ in range(count):
            getattr(node, word)()
            world.check()
    elif word == "cut" and not node.is_cut:
        broker.cut(node)
        node.is_cut = True
    elif word == "notice":
        node.notice()
    elif word in ("freeze", "thaw"):
        node.is_frozen = word == "freeze"
    elif word == "bid" and not node.is_frozen:
        world.bid(node)
    elif word in ("free", "fail", "stop") and not node.is_frozen and node.core.phase in TAKEN:
        node.runs = 0
        state = "stopped" if word == "stop" else "free"
        wall = world.now + 1.7e9
        node.act(node.core.release(state, wall, "no" if word == "fail" else ""))
    elif word == "back" and node.is_out:
        broker.line.append(node)
        broker.hand_out()


TAKEN = (Phase.WAITING, Phase.HELD)


@settings(max_examples=400, deadline=None)
@given(st.lists(STEP_OF, max_size=60))
@example([("cut", NODES, 1), ("run", 1, 1), ("fail", 1, 7), ("run", NODES, 5)])
def test_never_two_and_tokens_grow(steps):
    world = World(NODES)
    world.bid(world.nodes[0])
    world.flow()
    for word, number, count in steps:
        step(world, word, number, count)
        world.check()
    broker = world.broker
    # in the end, with all well again, it comes to rest, and one holds it where it is wanted
    for node in world.nodes:
        node.is_frozen = False
        node.notice()
    world.flow()
    for node in world.nodes:
        if node not in broker.line:
            broker.line.append(node)
    broker.hand_out()
    world.bid(world.nodes[0])
    world.pass_time(20)
    for node in world.nodes:  # those that have left on their way come back
        if node not in broker.line:
            broker.line.append(node)
    world.bid(world.nodes[0])
    world.pass_time(20)
    assert world.holder is not None
