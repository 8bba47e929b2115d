"""What agents tell of, beside what ``ion.process.events.types`` has: commands, and failures."""

from __future__ import annotations

import msgspec

from ion.process.events.types import AgentEvent


class AgentCommandDone(AgentEvent):
    """A command was done: of the agent, or of its device; its name is the sub type.

    :ivar owner: of the session that it was done with, or "".
    """

    owner: str = ""
    args: dict[str, object] = msgspec.field(default_factory=dict)


class AgentErrorRaised(AgentEvent):
    """A command was not done, or the agent could not do its work; what it was is the sub type.

    :ivar error: type word of the error.
    """

    error: str = ""
    reason: str = ""
