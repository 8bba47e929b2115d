"""The verdict on a container's health: pure, from facts to checks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ion.base import lifecycle
from ion.container.health import verdict
from ion.container.health.probes import Sight
from ion.container.health.verdict import Facts, Limits
from ion.messaging.transport import TransportState

LIMITS = Limits(lag=1.0, wait=60.0, confirm=5.0, heard=20.0, sight=25.0)
SEEN = Sight(at=100.0, confirm=0.002, queues={"S.hello": "", "S.c1": ""})
WELL = Facts(
    state=lifecycle.ACTIVE,
    apps={"hello": lifecycle.ACTIVE, "other": "STANDBY"},
    lag=0.01,
    heard=0.5,
    beat=0.7,
    sight=SEEN,
    age=3.0,
    waits={"hello (c1.1)": 1.5},
)


def wrong(facts: Facts, limits: Limits = LIMITS) -> dict[str, str]:
    """Return the checks that are not ok, and what they say."""
    found = {c.name: c.message for c in verdict.checks(facts, limits) if not c.ok}
    assert all(found.values()), "what is wrong must be said"
    assert not any(c.message for c in verdict.checks(facts, limits) if c.ok)
    return found


def test_all_is_well() -> None:
    assert wrong(WELL) == {}
    assert verdict.is_live(WELL)
    values = {c.name: (c.value, c.limit) for c in verdict.checks(WELL, LIMITS)}
    assert values == {
        "state": (None, None),
        "agent": (None, None),
        "apps": (2.0, None),
        "loop": (0.01, 1.0),
        "broker": (0.5, 20.0),
        "beat": (0.7, None),
        "confirm": (0.002, 5.0),
        "consumers": (2.0, 2.0),
        "mailboxes": (1.5, 60.0),
    }


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"is_stopping": True}, "state", "is being stopped"),
        ({"state": "READY"}, "state", "it is READY"),
        ({"state": "DEGRADED", "reason": "short of memory"}, "state", "DEGRADED: short of memory"),
        ({"agent": ""}, "agent", "there is none"),
        ({"agent": "ERROR"}, "agent", "it is ERROR"),
        ({"apps": {"a": "ACTIVE", "b": "INIT"}}, "apps", "b is starting"),
        ({"apps": {"a": "ERROR", "b": "READY"}}, "apps", "a has failed; b is starting"),
        ({"blocked": "op 'x' of hello (c1.1)"}, "loop", "held up by op 'x' of hello (c1.1)"),
        ({"blocked": ""}, "loop", "held up by what its stack shows"),
        ({"lag": 1.25}, "loop", "was 1.2 s late"),
        ({"heard": 20.5}, "broker", "not been heard of for 20.5 s"),
        ({"is_deaf": True}, "beat", "does not come back"),
        ({"sight": replace(SEEN, confirm=None, unconfirmed="refused")}, "confirm", "refused"),
        ({"sight": replace(SEEN, confirm=None)}, "confirm", "longer than 5 s"),
        ({"sight": replace(SEEN, confirm=5.1)}, "confirm", "longer than 5 s"),
        (
            {"sight": replace(SEEN, queues={"S.a": "", "S.b": "it is not there"})},
            "consumers",
            "S.b: it is not there",
        ),
        ({"waits": {"slow (c1.2)": 61.0}}, "mailboxes", "waits for slow (c1.2) since 61.0 s"),
    ],
)
def test_one_thing_is_wrong(change: dict[str, Any], check: str, words: str) -> None:
    (name, message), *others = wrong(replace(WELL, **change)).items()
    assert (name, others) == (check, [])
    assert words in message


@pytest.mark.parametrize(
    ("change", "live"),
    [
        ({"blocked": ""}, False),
        ({"agent": ""}, False),
        ({"agent": "", "is_stopping": True}, True),
        ({"state": "ERROR"}, False),
        ({"state": "TERMINATED", "is_stopping": True}, False),
        ({"is_stopping": True}, True),
        ({"state": "DEGRADED"}, True),
        ({"way": TransportState.LOST}, True),
        ({"is_deaf": True}, True),
    ],
)
def test_what_only_a_new_start_helps_with_is_not_alive(change: dict[str, Any], live: bool) -> None:
    assert verdict.is_live(replace(WELL, **change)) is live


@pytest.mark.parametrize(
    "way", [TransportState.LOST, TransportState.BLOCKED, TransportState.CLOSED]
)
def test_without_a_way_to_the_broker_nothing_is_known_of_it(way: TransportState) -> None:
    found = wrong(replace(WELL, way=way, beat=None))
    assert set(found) == {"broker", "confirm", "consumers"}
    assert found["consumers"] == "not known: there is no way to the broker"


def test_before_the_first_look_it_is_not_ready() -> None:
    found = wrong(replace(WELL, sight=Sight()))
    assert found == {"confirm": "not looked at yet", "consumers": "not looked at yet"}


def test_what_was_seen_long_ago_is_not_believed() -> None:
    assert wrong(replace(WELL, age=25.5))["consumers"] == "not looked at for 25.5 s"


def test_processes_that_tell_their_own_health() -> None:
    sight = replace(SEEN, processes={"c1.4": "no disk", "c1.5": "", "c1.6": "gone since"})
    facts = replace(WELL, sight=sight, names={"c1.4": "archive (c1.4)", "c1.5": "mail (c1.5)"})
    assert wrong(facts) == {"archive (c1.4)": "no disk"}
    assert [c.name for c in verdict.checks(facts, LIMITS)][-2:] == ["archive (c1.4)", "mail (c1.5)"]


def test_of_many_the_first_are_named() -> None:
    queues = {f"q{n}": "it is not there" for n in range(8)}
    message = wrong(replace(WELL, sight=replace(SEEN, queues=queues)))["consumers"]
    assert message.count("it is not there") == verdict.MAX_NAMED
    assert message.endswith("; 3 more")
    waits = {f"p{n}": 100.0 + n for n in range(7)}
    assert wrong(replace(WELL, waits=waits))["mailboxes"].startswith("a message waits for p6")


def test_a_limit_that_is_off_is_never_reached() -> None:
    assert wrong(replace(WELL, waits={"p": 1e6}), replace(LIMITS, wait=None)) == {}
