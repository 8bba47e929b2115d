"""Who is there: the pure core behind the beats."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.container.membership.membership import MANY, Beat, Gone, Joined, Look, Membership, beat_of

OWN = "me"


def membership() -> Membership:
    return Membership(OWN, every=1.0, suspect_after=2.5, lost_after=10.0, now=0.0)


def beating(members: Membership, now: float, *others: str) -> None:
    """All beat once: this container, and others."""
    for name in (OWN, *others):
        members.heard(Beat(name, round(now * 10), started=1.0), now)


def run(members: Membership, begin: float, end: float, *others: str) -> list[object]:
    """Let a time pass in which this container and some others beat; return what is to be done."""
    changes: list[object] = []
    now = begin
    while now <= end:
        beating(members, now, *others)
        changes += members.tick(now)
        now += 0.25
    return changes


def test_who_beats_is_there():
    members = membership()
    assert members.heard(Beat("a", 1, started=1.0), 0.5) == [Joined("a")]
    assert members.heard(Beat("a", 2, started=1.0), 1.5) == []
    assert [member.id for member in members] == ["a"]


def test_who_is_silent_is_looked_for_and_gone_without_its_queue():
    members = membership()
    beating(members, 0.0, "a", "b")
    changes = run(members, 0.25, 3.0, "b")
    assert changes == [Look("a")]
    assert members.silent(3.0) == ["a"]
    [gone] = members.looked("a", is_there=False, now=3.0)
    assert gone == Gone("a", "its connection to the broker is gone")
    assert members.find("a") is None
    assert members.looked("a", is_there=False, now=3.1) == []  # told once


def test_who_is_silent_but_connected_is_lost_later():
    members = membership()
    beating(members, 0.0, "a")
    changes = run(members, 0.25, 9.75)
    assert set(changes) == {Look("a")}
    assert 2 <= len(changes) <= 4  # looked for again, and not at every tick
    assert members.looked("a", is_there=True, now=9.75) == []
    [gone] = run(members, 10.0, 12.0)
    assert isinstance(gone, Gone)
    assert "silent for 10" in gone.why


def test_who_spoke_while_it_was_looked_for_is_there():
    members = membership()
    beating(members, 0.0, "a")
    assert run(members, 0.25, 3.0) == [Look("a")]
    beating(members, 3.1, "a")
    assert members.looked("a", is_there=False, now=3.2) == []


def test_who_says_goodbye_is_not_looked_for():
    members = membership()
    beating(members, 0.0, "a")
    assert members.heard(Beat("a", 2, started=1.0, leaving=True), 0.5) == []
    assert run(members, 0.75, 4.0) == [Gone("a", "")]
    assert members.heard(Beat("a", 3, started=1.0, leaving=True), 4.5) == []


def test_who_comes_back_is_said_to_be_back():
    members = membership()
    beating(members, 0.0, "a")
    run(members, 0.25, 12.0)
    assert members.heard(Beat("a", 20, started=1.0), 12.5) == [Joined("a", again=True)]


def test_a_new_container_with_the_name_of_another_is_another_one():
    members = membership()
    beating(members, 0.0, "a")
    gone, joined = members.heard(Beat("a", 1, started=2.0), 0.5)
    assert isinstance(gone, Gone)
    assert gone.why
    assert joined == Joined("a")
    assert members.heard(Beat("a", 50, started=1.0), 0.6) == []  # a late word of the first one


def test_who_does_not_hear_itself_judges_nobody():
    members = membership()
    beating(members, 0.0, "a")
    changes = [change for step in range(1, 200) for change in members.tick(step * 0.25)]
    assert changes == []
    assert members.is_deaf(50.0)


def test_after_a_cut_the_others_have_time_to_come_back_too():
    members = membership()
    beating(members, 0.0, "a", "b")
    for step in range(1, 80):
        members.tick(step * 0.25)
    changes = run(members, 20.0, 29.5, "b")
    assert changes == []  # "a" is longer about it
    [gone] = run(members, 29.75, 31.0, "b")
    assert isinstance(gone, Gone)
    assert gone.container == "a"


def test_after_a_sleep_what_was_said_meanwhile_is_read_first():
    members = membership()
    beating(members, 0.0, "a")
    members.tick(0.25)
    assert members.tick(60.0) == []
    beating(members, 60.1, "a")
    assert run(members, 60.25, 65.0, "a") == []


def test_in_a_crowd_beats_are_seldom_and_patience_is_long():
    members = membership()
    assert members.every == 1.0
    for number in range(200):
        members.heard(Beat(f"c{number}", 1, started=1.0, every=4.0), 0.0)
    assert members.every == 1.0  # who beats once may be anything
    for number in range(200):
        members.heard(Beat(f"c{number}", 2, started=1.0, every=4.0), 0.0)
    assert members.every == 4.0
    assert run(members, 0.25, 9.75) == []
    assert len(run(members, 10.25, 10.5)) == 200


def test_in_a_great_crowd_who_is_gone_is_noticed_too():
    members = membership()
    crowd = [f"c{number}" for number in range(1000)]
    beating(members, 0.0, "gone", *crowd)
    changes, now = [], 0.0
    while now < 60.0:  # the heartbeat ticks four times a beat, which is seldom then
        now += members.every / 4
        beating(members, now, *crowd)
        changes += members.tick(now)
    assert Look("gone") in changes
    assert {change.container for change in changes} == {"gone"}


def test_what_anybody_can_say_makes_nobody_go():
    members = membership()
    members.heard(Beat("a", 5, started=1.0), 0.0)
    for forged in (Beat("a", 1, started=9.0), Beat("a", 9, started=1.0, leaving=True)):
        assert members.heard(forged, 0.1, sealed=False) == []
    known = members.find("a")
    assert known is not None
    assert (known.beat.number, known.beat.started, known.beat.leaving) == (5, 1.0, False)
    assert members.heard(Beat("a", 1, started=9.0), 0.2) == [
        Gone("a", "another one has its name"),
        Joined("a"),
    ]


def test_without_the_key_another_one_is_believed_once_the_one_before_is_silent():
    members = membership()
    beating(members, 0.0)
    members.heard(Beat("a", 5, started=1.0), 0.0, sealed=False)
    assert members.heard(Beat("a", 1, started=9.0), 0.1, sealed=False) == []
    assert Gone("a", "it has been silent for 10.2 s") in run(members, 0.25, 10.25)
    assert members.heard(Beat("a", 2, started=9.0), 10.5, sealed=False) == [Joined("a")]


def test_who_was_only_claimed_to_be_there_does_not_stand_in_anybodys_way():
    members = membership()
    members.heard(Beat("a", 1, started=99.0), 0.0, sealed=False)
    assert members.heard(Beat("a", 1, started=1.0), 0.1) == []
    known = members.find("a")
    assert known is not None
    assert known.beat.started == 1.0


def test_there_is_room_for_many_and_for_those_with_the_key_among_them():
    members = membership()
    for number in range(MANY):
        members.heard(Beat(f"c{number}", 1, started=1.0), 0.0, sealed=False)
    assert not members.is_full
    assert members.heard(Beat("more", 1, started=1.0), 0.0, sealed=False) == []
    assert members.is_full
    assert len(members) == MANY
    assert members.heard(Beat("more", 1, started=1.0), 0.0) == [Joined("more")]
    assert members.every == 1.0


def test_nobody_is_believed_to_beat_next_year():
    members = membership()
    for every in (1e308, float("inf")):
        members.heard(Beat("a", 1, started=1.0, every=every), 0.0)
        member = members.find("a")
        assert member is not None
        assert member.lost == 10 * 600.0
    members.heard(Beat("a", 2, started=1.0, every=float("nan")), 0.0)
    assert members.find("a").limit == 2.5


@pytest.mark.parametrize("name", ["", "a.b", "x" * 201, "é" * 101])
def test_a_beat_of_what_can_be_no_container_is_none(name):
    with pytest.raises(msgspec.ValidationError, match="no container has such an id"):
        beat_of({"container": name, "number": 1, "started": 1.0})


def test_what_a_newer_container_says_besides_is_ignored():
    beat = beat_of({"container": "a", "number": 1, "started": 1.0, "mood": "fine"})
    assert beat == Beat("a", 1, 1.0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["beat a", "beat b", "own", "leave a", "gone a", "gone b", "there a"]),
            st.floats(0.0, 4.0),
        ),
        max_size=60,
    )
)
def test_nobody_is_gone_twice_without_having_come_back(steps):
    members = membership()
    now = 0.0
    there: set[str] = set()
    for number, (word, passed) in enumerate(steps):
        now += passed
        kind, _, name = word.partition(" ")
        changes = members.tick(now)
        if kind in ("own", "beat", "leave"):
            beat = Beat(name or OWN, number, 1.0, leaving=kind == "leave")
            changes += members.heard(beat, now)
        else:
            changes += members.looked(name, is_there=kind == "there", now=now)
        for change in changes:
            if isinstance(change, Joined):
                assert change.container not in there
                there.add(change.container)
            if isinstance(change, Gone):
                assert change.container in there
                assert change.container != OWN
                there.remove(change.container)
