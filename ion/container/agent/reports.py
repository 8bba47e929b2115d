"""What an agent answers, as data: each answer is a map with these keys.

Readers pass over keys that they do not know, and take the default of those that are not there: the
containers of a system may be of different releases. Times are seconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers: every key has a default."""


class Pong(Report, frozen=True):
    """The answer to ``ping``; one that went to ``ctl.<service>`` says who answers.

    :param pong: always ``pong``.
    :param pid: of the process that answers.
    :param container: id of its container.
    :param version: of a service.
    :param keys: the routing keys that a service takes from, beside its pid.
    :param taking: whether it begins what it is given; not where it is being stopped.
    """

    pong: str = "pong"
    pid: str | None = None
    container: str | None = None
    version: str | None = None
    keys: list[str] = []
    taking: bool = True


class AppInfo(Report, frozen=True):
    """A running app.

    :param name: a second start by ``mult`` is ``<name>#2``.
    :param version: as its file says.
    :param state: INIT, READY, ACTIVE, TERMINATED or ERROR.
    :param start_type: permanent, transient or temporary.
    :param processes: pids of those that are up, in the order of starting.
    :param supervisor: pid of theirs; null: it has none.
    :param restarts: how often its processes were restarted.
    :param description: as its file says.
    """

    name: str = ""
    version: str = ""
    state: str = ""
    start_type: str = ""
    processes: list[str] = []
    supervisor: str | None = None
    restarts: int = 0
    description: str = ""


class ProcessInfo(Report, frozen=True, rename={"class_": "class"}):
    """A process, as ``ioncc ps`` shows it.

    :param pid: of the process.
    :param name: of the process.
    :param class_: dotted name.
    :param state: INIT, READY, ACTIVE, TERMINATED or ERROR.
    :param parent: pid of the process that it is terminated with, or null.
    :param service: the service that it is an instance of, or null.
    :param version: of that service, or null.
    :param mailbox: messages that wait in it.
    :param active: messages that it handles.
    :param handled: messages that it has handled, those that failed included.
    :param failed: messages whose handling failed.
    :param restarts: how often its supervisor has started it again.
    :param strategy: of a supervisor, or null.
    :param children: of a supervisor: how many it has, up or not; or null.
    """

    pid: str = ""
    name: str = ""
    class_: str = ""
    state: str = ""
    parent: str | None = None
    service: str | None = None
    version: str | None = None
    mailbox: int = 0
    active: int = 0
    handled: int = 0
    failed: int = 0
    restarts: int = 0
    strategy: str | None = None
    children: int | None = None


class ServiceInfo(Report, frozen=True):
    """One version of a service in this container.

    :param name: of the service.
    :param version: of the class.
    :param doc: first line of the class's docstring.
    :param instances: how many of it run here.
    :param pids: theirs.
    :param ops: op -> its parameters, the first line of its docstring, and whether it ``streams`` or
        is a ``command``.
    """

    name: str = ""
    version: str = ""
    doc: str = ""
    instances: int = 0
    pids: list[str] = []
    ops: dict[str, dict[str, Any]] = {}


class NameInfo(Report, frozen=True):
    """A messaging name of a container.

    :param queue: its name.
    :param key: the routing key that leads to it, or "".
    :param kind: answers, processes, control, service or subscription.
    """

    queue: str = ""
    key: str = ""
    kind: str = ""


class Info(Report, frozen=True):
    """The answer to ``info``: what a container is and hosts.

    :param container: its id.
    :param sysname: the system that it belongs to.
    :param host: name of its machine.
    :param pid: of its OS process.
    :param version: of ION.
    :param python: version.
    :param started: when.
    :param now: what its clock says.
    :param state: INIT, READY, ACTIVE, DEGRADED, TERMINATED or ERROR.
    :param since: when it entered that state.
    :param reason: why it is DEGRADED, or "".
    :param broker: URL, the password masked.
    :param key: what its key is known by; null: it has none, or needs none.
    :param apps: in the order of starting.
    :param processes: in the order of starting; the first one is its agent. Of very many the first
        ones: op ``processes`` tells the others.
    :param total: how many processes there are.
    :param services: one entry a version.
    :param names: its messaging names.
    """

    container: str = ""
    sysname: str = ""
    host: str = ""
    pid: int = 0
    version: str = ""
    python: str = ""
    started: float = 0.0
    now: float = 0.0
    state: str = ""
    since: float = 0.0
    reason: str = ""
    broker: str = ""
    key: str | None = None
    apps: list[AppInfo] = []
    processes: list[ProcessInfo] = []
    total: int = 0
    services: list[ServiceInfo] = []
    names: list[NameInfo] = []


class ProcessStats(Report, frozen=True):
    """The numbers of one process.

    :param pid: of the process.
    :param name: of the process.
    :param service: the service that it is an instance of, or null.
    :param state: INIT, READY, ACTIVE, TERMINATED or ERROR.
    :param waiting: messages in its mailbox.
    :param active: messages that it handles.
    :param handled: messages that it has handled, those that failed included.
    :param failed: messages whose handling failed.
    """

    pid: str = ""
    name: str = ""
    service: str | None = None
    state: str = ""
    waiting: int = 0
    active: int = 0
    handled: int = 0
    failed: int = 0


class ServiceStats(Report, frozen=True):
    """The numbers of one version of a service in this container.

    :param name: of the service.
    :param version: of the class.
    :param instances: how many of it run here.
    :param handled: messages that these have handled, those that failed included.
    :param failed: messages whose handling failed.
    :param in_flight: messages that they handle, or that wait for them.
    """

    name: str = ""
    version: str = ""
    instances: int = 0
    handled: int = 0
    failed: int = 0
    in_flight: int = 0


class Stats(Report, frozen=True):
    """The answer to ``stats``: numbers; those that only grow give rates from two answers.

    What the OS tells (``cpu``, ``rss``, ``threads``) is of the OS process, with all containers in
    it.

    :param container: its id.
    :param now: what its clock says.
    :param uptime: seconds since it was started.
    :param cpu: seconds of the processor that were used; grows.
    :param rss: bytes of memory that are in use.
    :param threads: how many.
    :param lag: by how much the event loop is late, seconds.
    :param messages_in: messages that its processes have handled; grows.
    :param messages_out: messages that it has sent; grows.
    :param calls_open: calls that its processes wait for.
    :param calls_at_hand: calls of others that are handled, or wait.
    :param counts: how often what is rare has happened, by its name; grows.
    :param processes: one entry each; of very many those that have most to do, or had.
    :param services: one entry a version.
    """

    container: str = ""
    now: float = 0.0
    uptime: float = 0.0
    cpu: float = 0.0
    rss: int = 0
    threads: int = 0
    lag: float = 0.0
    messages_in: int = 0
    messages_out: int = 0
    calls_open: int = 0
    calls_at_hand: int = 0
    counts: dict[str, int] = {}
    processes: list[ProcessStats] = []
    services: list[ServiceStats] = []


class Check(Report, frozen=True):
    """One thing that was looked at.

    :param name: ``state``, ``agent``, ``apps``, ``loop``, ``broker``, ``beat``, ``confirm``,
        ``consumers``, ``mailboxes``; or name and pid of a process that tells its own health.
    :param ok: whether it is as it should be.
    :param message: what is wrong, or "".
    :param value: what was measured: seconds, or how many; null: there is nothing to measure, or it
        is not known.
    :param limit: that ``value`` has; null: none.
    """

    name: str = ""
    ok: bool = True
    message: str = ""
    value: float | None = None
    limit: float | None = None


class SlowOp(Report, frozen=True):
    """An op that has run for too long.

    :param pid: of the process.
    :param name: of the process.
    :param service: the service that it is an instance of, or null.
    :param op: the operation.
    :param conversation: its id, which the caller knows it by.
    :param sender: pid of the caller, or "".
    :param seconds: how long it has run, or been silent, at the least.
    :param stack: where it waits, the innermost last: ``file:line, in function: code``.
    """

    pid: str = ""
    name: str = ""
    service: str | None = None
    op: str = ""
    conversation: str = ""
    sender: str = ""
    seconds: float = 0.0
    stack: list[str] = []


class Blocked(Report, frozen=True):
    """An event loop that does not turn.

    :param since: when it last turned.
    :param seconds: how long ago that is.
    :param what: what holds it up, or "".
    :param stack: where it stands, the innermost last.
    """

    since: float = 0.0
    seconds: float = 0.0
    what: str = ""
    stack: list[str] = []


class Health(Report, frozen=True):
    """The answer to ``health``: whether a container is alive, and ready for work.

    :param container: its id.
    :param sysname: the system that it belongs to.
    :param now: what its clock says.
    :param state: INIT, READY, ACTIVE, DEGRADED, TERMINATED or ERROR.
    :param live: its event loop turns, and its agent is there. Where not, it is to be started anew.
    :param ready: it is live, and all checks are ok: work may be given to it.
    :param since: when ``ready`` became what it is.
    :param checks: what was looked at.
    :param stuck: ops that have run for too long, the longest first; the first 20.
    :param blocked: what holds up its event loop now; null: it turns.
    :param members: the containers that it knows of by their beats, itself included; some may be
        silent.
    """

    container: str = ""
    sysname: str = ""
    now: float = 0.0
    state: str = ""
    live: bool = False
    ready: bool = False
    since: float = 0.0
    checks: list[Check] = []
    stuck: list[SlowOp] = []
    blocked: Blocked | None = None
    members: list[str] = []


R = TypeVar("R", bound=Report)


def report_of(kind: type[R], told: Mapping[str, Any]) -> R:
    """Return a report with those of its keys that ``told`` has."""
    # Not from msgspec.structs.fields, which reads the annotations anew: a millisecond each time.
    names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    return kind(**{name: told[key] for name, key in names if key in told})


REPORTS: dict[str, type[Report]] = {"ping": Pong, "info": Info, "stats": Stats, "health": Health}


def schemas() -> dict[str, Any]:
    """Return the JSON schema of each op's answer, by op."""
    return {op: msgspec.json.schema(report) for op, report in REPORTS.items()}
