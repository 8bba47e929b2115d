"""The types of events that ION itself tells of; services and users add theirs, as subclasses.

=======================  ============================================  ===========================
type                     is told when                                  its origin
=======================  ============================================  ===========================
ContainerEvent           (all below) a container's life                container id
ContainerStarted         it is up
ContainerStopping        it begins to stop
ContainerStopped         its processes are gone
ContainerDegraded        the broker was away, or took nothing
ContainerRecovered       it is ACTIVE again
ContainerLost            another one hears of it no more
AppEvent                 (all below) an app in a container             name of the app
AppStarted               it is up
AppStopped               it was told to stop, or has ended well
AppFailed                it did not start, or has ended as failed
ProcessEvent             (all below) a process's life                  service name, else its name
ProcessSpawned           it is ACTIVE
ProcessTerminated        it was told to end, or has ended well
ProcessFailed            it has ended as failed, or did not start
ProcessRestarted         its supervisor has started it again
ResourceEvent            (all below) a resource of the registry        resource id
TimerFired               a task of the scheduler is due                as the task says
AgentEvent               (all below) an agent of an instrument         name of the agent
LogEvent                 (all below) a line of a container's log       container id
LogWarning               a warning; ``events.logs`` says whether
LogError                 an error, or worse; likewise
=======================  ============================================  ===========================
"""

from __future__ import annotations

import msgspec

from ion.process.events.event import Event


class ContainerEvent(Event):
    """The life of a container, which is its origin."""


class ContainerStarted(ContainerEvent):
    """A container is up."""

    broker: str = ""
    version: str = ""


class ContainerStopping(ContainerEvent):
    """A container begins to stop."""


class ContainerStopped(ContainerEvent):
    """A container has stopped: its processes are gone, it goes off the bus."""

    failure: str = ""


class ContainerDegraded(ContainerEvent):
    """The broker was away from a container, or took no messages; told once it takes them.

    :ivar since: seconds since 1970, UTC.
    """

    reason: str = ""
    since: float = 0.0


class ContainerRecovered(ContainerEvent):
    """A container is ACTIVE again.

    :ivar lasted: seconds that it was DEGRADED.
    """

    lasted: float = 0.0


class ContainerLost(ContainerEvent):
    """A container is heard of no more, says another one.

    :ivar by: the container that says so.
    """

    by: str = ""


class AppEvent(Event):
    """An app in a container; its name is the origin.

    :ivar container: id.
    """

    container: str = ""
    version: str = ""


class AppStarted(AppEvent):
    """An app is up."""


class AppStopped(AppEvent):
    """An app was told to stop, or has ended well."""


class AppFailed(AppEvent):
    """An app did not start, or has ended as failed."""

    error: str = ""


class ProcessEvent(Event):
    """The life of a process; its origin is the service's name, or else its own."""

    pid: str = ""
    container: str = ""
    target: str = ""


class ProcessSpawned(ProcessEvent):
    """A process is ACTIVE."""


class ProcessTerminated(ProcessEvent):
    """A process was told to end, or has ended well.

    :ivar reason: ``normal``, ``shutdown`` and so on.
    """

    reason: str = ""


class ProcessFailed(ProcessEvent):
    """A process has ended as failed, or did not start."""

    reason: str = ""
    error: str = ""


class ProcessRestarted(ProcessSpawned):
    """A process was started again by its supervisor, under a new pid.

    :ivar restarts: how often by now.
    """

    restarts: int = 0


class ResourceEvent(Event):
    """A resource of the registry; its id is the origin, its type the origin type.

    :ivar revision: that it has now.
    """

    name: str = ""
    revision: int = 0


class ResourceCreated(ResourceEvent):
    """A resource was made."""


class ResourceModified(ResourceEvent):
    """A resource was changed: its name, owner or attributes.

    :ivar changed: names of what was.
    """

    changed: list[str] = msgspec.field(default_factory=list)


class ResourceLifecycleChanged(ResourceEvent):
    """A resource has taken a step of its life cycle."""

    before: str = ""
    state: str = ""
    step: str = ""


class ResourceRetired(ResourceLifecycleChanged):
    """A resource is retired: the last step."""


class AssociationEvent(ResourceEvent):
    """An association of two resources; the subject is the origin, the predicate the sub type."""

    predicate: str = ""
    object: str = ""


class AssociationCreated(AssociationEvent):
    """An association was made."""


class AssociationRemoved(AssociationEvent):
    """An association was removed."""


class TimerFired(Event):
    """A task of the scheduler is due.

    :ivar task: its id.
    :ivar due: when it was to fire, seconds since 1970, UTC.
    :ivar number: how many firings there were with this one.
    :ivar missed: due times before it that nothing was done for.
    :ivar content: what the task was given.
    """

    task: str = ""
    due: float = 0.0
    number: int = 0
    missed: int = 0
    content: object = None


class AgentEvent(Event):
    """An agent of an instrument; its name is the origin."""


class AgentStateChanged(AgentEvent):
    """An agent has changed its state."""

    before: str = ""
    state: str = ""
    reason: str = ""


class AgentConnectionLost(AgentEvent):
    """An agent has lost its instrument."""

    reason: str = ""


class AgentConnected(AgentEvent):
    """An agent has reached its instrument."""


class AgentConfigured(AgentEvent):
    """Parameters of an agent, or its instrument, were set."""

    parameters: dict[str, object] = msgspec.field(default_factory=dict)


class LogEvent(Event):
    """A line of a container's log; the line is the description, its logger the origin type.

    :ivar process, op, conversation, trace: what it was said by, and in, as far as is known.
    :ivar error: type and text of the exception that it is about, or "".
    :ivar where: file and line.
    :ivar omitted: lines before it that were too many to be told.
    """

    process: str = ""
    op: str = ""
    conversation: str = ""
    trace: str = ""
    error: str = ""
    where: str = ""
    omitted: int = 0


class LogWarning(LogEvent):
    """A warning."""


class LogError(LogEvent):
    """An error, or worse: the sub type is ``error`` or ``critical``."""
