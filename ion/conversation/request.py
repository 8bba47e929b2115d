"""The request protocol, after FIPA: request; refuse, or agree, progress and a result or failure.

The participant may skip ``agree`` where it has its answer at once. Either side may cancel.
"""

from __future__ import annotations

from ion.base.errors import ConversationError
from ion.base.fsm import MachineSpec
from ion.conversation import conversation as c

_OPEN = [c.REQUESTED, c.AGREED]

REQUEST_PROTOCOL = c.Protocol(
    "request",
    MachineSpec(
        "request",
        [c.INIT, c.REQUESTED, c.AGREED, c.REFUSED, c.DONE, c.FAILED, c.CANCELLED, c.TIMED_OUT],
        [
            (c.REQUEST, c.INIT, c.REQUESTED),
            (c.REFUSE, c.REQUESTED, c.REFUSED),
            (c.AGREE, c.REQUESTED, c.AGREED),
            (c.PROGRESS, c.AGREED, c.AGREED),
            (c.INFORM_RESULT, _OPEN, c.DONE),
            (c.FAILURE, _OPEN, c.FAILED),
            (c.CANCEL, _OPEN, c.CANCELLED),
            (c.TIMEOUT, _OPEN, c.TIMED_OUT),
        ],
        error=ConversationError,
    ),
)
