"""Whether a container is alive, and ready: decided from what is known of it, without looking.

A pure core: facts in, checks out. A container is *live* where its event loop turns and its agent is
there; where it is not, only starting it anew helps. It is *ready* where it is live and every check
is ok; where it is not, work is better given to another one. A broker that is away makes it not
ready, and leaves it alive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ion.base import lifecycle
from ion.container.agent.reports import Check
from ion.container.health.probes import Sight
from ion.messaging.transport import TransportState

MAX_NAMED = 5  # queues, apps or mailboxes that a message names
_WAYS = {
    TransportState.LOST: "the connection is lost; reconnecting",
    TransportState.BLOCKED: "it takes no messages: it is short of memory or disk",
    TransportState.CLOSED: "there is no connection",
}
_STARTING = (lifecycle.INIT, lifecycle.READY)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is too much: seconds; None: nothing is.

    :ivar lag: of the event loop.
    :ivar wait: of the oldest message in a mailbox.
    :ivar confirm: of the broker, for one message.
    :ivar heard: without a word of the broker.
    :ivar sight: how old a look may be.
    """

    lag: float
    wait: float | None
    confirm: float
    heard: float
    sight: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a container at one time.

    :ivar state: of the container; reason: why it is DEGRADED.
    :ivar is_stopping: whether it is being stopped.
    :ivar agent: state of its agent; "" where there is none.
    :ivar apps: name -> state.
    :ivar lag: by how much the event loop is late, seconds.
    :ivar blocked: what holds the event loop up, for people; None: it turns.
    :ivar way: state of the transport; heard: seconds since the broker was heard of.
    :ivar beat: seconds since its own beat came back; None: none is awaited.
    :ivar is_deaf: whether that is too long.
    :ivar sight: what the last look has shown; age: seconds since then.
    :ivar waits: name and pid -> seconds that the oldest message of its mailbox has waited.
    :ivar names: name and pid of each process that ``sight`` tells of, by pid.
    """

    state: str
    reason: str = ""
    is_stopping: bool = False
    agent: str = lifecycle.ACTIVE
    apps: Mapping[str, str] = field(default_factory=dict)
    lag: float = 0.0
    blocked: str | None = None
    way: TransportState = TransportState.CONNECTED
    heard: float = 0.0
    beat: float | None = None
    is_deaf: bool = False
    sight: Sight = field(default_factory=Sight)
    age: float = 0.0
    waits: Mapping[str, float] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


def is_live(facts: Facts) -> bool:
    """Return whether the container is alive: its loop turns, and its agent is there."""
    over = facts.state in (lifecycle.TERMINATED, lifecycle.ERROR)
    has_agent = facts.agent == lifecycle.ACTIVE or facts.is_stopping
    return facts.blocked is None and has_agent and not over


def checks(facts: Facts, limits: Limits) -> list[Check]:
    """Return all checks, each with what is wrong, if anything is."""
    return [
        _state(facts),
        Check(name="agent", ok=facts.agent == lifecycle.ACTIVE, message=_agent(facts)),
        _apps(facts),
        _loop(facts, limits),
        _broker(facts, limits),
        *_beat(facts),
        _confirm(facts, limits),
        _consumers(facts, limits),
        _mailboxes(facts, limits),
        *_processes(facts),
    ]


def _state(facts: Facts) -> Check:
    message = ""
    if facts.is_stopping:
        message = "it is being stopped: it takes no new work"
    elif facts.state != lifecycle.ACTIVE:
        message = f"{facts.state}: {facts.reason}" if facts.reason else f"it is {facts.state}"
    return Check(name="state", ok=not message, message=message)


def _agent(facts: Facts) -> str:
    if facts.agent == lifecycle.ACTIVE:
        return ""
    return f"it is {facts.agent}" if facts.agent else "there is none"


def _apps(facts: Facts) -> Check:
    starting = [f"{name} is starting" for name, state in facts.apps.items() if state in _STARTING]
    failed = [f"{name} has failed" for name, s in facts.apps.items() if s == lifecycle.ERROR]
    wrong = [*failed, *starting]
    up = float(len(facts.apps) - len(wrong))
    return Check(name="apps", ok=not wrong, message=_named(wrong), value=up)


def _loop(facts: Facts, limits: Limits) -> Check:
    message = ""
    if facts.blocked is not None:
        message = f"the event loop is held up by {facts.blocked or 'what its stack shows'}"
    elif facts.lag >= limits.lag:
        message = f"the event loop was {facts.lag:.1f} s late"
    return Check(
        name="loop", ok=not message, message=message, value=_rounded(facts.lag), limit=limits.lag
    )


def _broker(facts: Facts, limits: Limits) -> Check:
    message = _WAYS.get(facts.way, "")
    if not message and facts.heard > limits.heard:
        message = f"it has not been heard of for {facts.heard:.1f} s"
    return Check(
        name="broker",
        ok=not message,
        message=message,
        value=_rounded(facts.heard),
        limit=limits.heard,
    )


def _beat(facts: Facts) -> Iterator[Check]:
    if facts.beat is not None:
        message = "what this container sends to itself does not come back" if facts.is_deaf else ""
        yield Check(name="beat", ok=not message, message=message, value=_rounded(facts.beat))


def _confirm(facts: Facts, limits: Limits) -> Check:
    unknown, sight = _unknown(facts, limits), facts.sight
    message = unknown or sight.unconfirmed
    taken = None if unknown or sight.confirm is None else _rounded(sight.confirm)
    if not message and (taken is None or taken > limits.confirm):
        message = f"the broker took longer than {limits.confirm:g} s to confirm a message"
    return Check(name="confirm", ok=not message, message=message, value=taken, limit=limits.confirm)


def _consumers(facts: Facts, limits: Limits) -> Check:
    queues = facts.sight.queues
    wrong = [f"{queue}: {fault}" for queue, fault in queues.items() if fault]
    message = _unknown(facts, limits) or _named(wrong)
    return Check(
        name="consumers",
        ok=not message,
        message=message,
        value=float(len(queues) - len(wrong)),
        limit=float(len(queues)),
    )


def _mailboxes(facts: Facts, limits: Limits) -> Check:
    oldest = max(facts.waits.values(), default=0.0)
    wrong = []
    if limits.wait is not None:
        by_age = sorted(facts.waits.items(), key=lambda each: -each[1])
        wrong = [
            f"a message waits for {who} since {age:.1f} s"
            for who, age in by_age
            if age > limits.wait
        ]
    return Check(
        name="mailboxes",
        ok=not wrong,
        message=_named(wrong),
        value=_rounded(oldest),
        limit=limits.wait,
    )


def _processes(facts: Facts) -> Iterator[Check]:
    for pid, fault in facts.sight.processes.items():
        if pid in facts.names:  # those that have ended meanwhile have nothing to say
            yield Check(name=facts.names[pid], ok=not fault, message=fault)


def _unknown(facts: Facts, limits: Limits) -> str:
    """Return why the last look tells nothing of now, or ""."""
    if facts.way is not TransportState.CONNECTED:
        return "not known: there is no way to the broker"
    if not facts.sight.at:
        return "not looked at yet"
    if facts.age > limits.sight:
        return f"not looked at for {facts.age:.1f} s"
    return ""


def _named(wrong: Sequence[str]) -> str:
    more = [f"{len(wrong) - MAX_NAMED} more"] if len(wrong) > MAX_NAMED else []
    return "; ".join([*wrong[:MAX_NAMED], *more])


def _rounded(seconds: float) -> float:
    return round(seconds, 4)
