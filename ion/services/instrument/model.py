"""What agents and their clients say to each other: types, and errors by their type word.

Times are seconds: of clocks since 1970, of leases and waits from now on.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ion.base.errors import ApplicationError

BAD_REQUEST = 400
CONFLICT = 409
UNAVAILABLE = 503

Kind = Literal["command", "parameter", "agent_command", "agent_parameter", "stream"]


class Wrong(ApplicationError):
    """A parameter, command or value that cannot be; nothing was done."""

    default_code = BAD_REQUEST


class WrongState(ApplicationError):
    """The agent does not do that in the state that it is in."""

    default_code = CONFLICT


class SessionHeld(ApplicationError):
    """Somebody else has the session; ``details`` say who, and for how long still."""

    default_code = CONFLICT


class NoSession(ApplicationError):
    """The session is over, or there never was one of that id."""

    default_code = CONFLICT


class DeviceError(ApplicationError):
    """The device is not there, does not answer, or says no."""

    default_code = UNAVAILABLE


class Capability(msgspec.Struct, frozen=True):
    """Something that an agent can do, or that can be asked of it.

    :ivar kind: a command or parameter of the device, or of its agent; or a stream.
    :ivar type: of a parameter: ``float``, ``str``, ...
    :ivar writable: of a parameter: whether it may be set.
    """

    name: str
    kind: Kind
    doc: str = ""
    type: str = ""
    writable: bool = False


class Session(msgspec.Struct, frozen=True):
    """The right to command an agent, alone.

    :ivar id: goes with each command; it is what the right is.
    :ivar lease: seconds until it ends, as of the answer that told so.
    """

    id: str
    owner: str
    lease: float


class Status(msgspec.Struct, frozen=True):
    """What an agent is at.

    :ivar since: when it came into its state, seconds since 1970.
    :ivar desired: the state that it goes back to after a loss or a new start.
    :ivar reason: why the line was lost, where it is.
    :ivar session: owner of the session, or None.
    :ivar waiting: how many wait for a session.
    :ivar losses: how often the line was lost, since the agent started.
    :ivar samples: how many came in, since it started.
    :ivar last_sample: when the last one was taken, by the device's clock; None: there was none.
    :ivar device: counters and facts of the driver: ``sentences``, ``bad``, ``dropped``, ...
    """

    resource: str
    state: str
    since: float
    desired: str
    reason: str = ""
    session: str | None = None
    waiting: int = 0
    losses: int = 0
    samples: int = 0
    granules: int = 0
    stream: str | None = None
    last_sample: float | None = None
    device: dict[str, Any] = {}
