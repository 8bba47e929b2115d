"""The protocol ``none``: one message, no answer; over for the participant when it was handled."""

from __future__ import annotations

from ion.base.errors import ConversationError
from ion.base.fsm import MachineSpec
from ion.conversation import conversation as c

ONE_WAY = c.Protocol(
    "none",
    MachineSpec(
        "none",
        [c.INIT, c.REQUESTED, c.DONE, c.FAILED, c.CANCELLED, c.TIMED_OUT],
        [
            (c.REQUEST, c.INIT, c.REQUESTED),
            (c.INFORM_RESULT, c.REQUESTED, c.DONE),
            (c.FAILURE, c.REQUESTED, c.FAILED),
            (c.CANCEL, c.REQUESTED, c.CANCELLED),
            (c.TIMEOUT, c.REQUESTED, c.TIMED_OUT),
        ],
        error=ConversationError,
    ),
)
