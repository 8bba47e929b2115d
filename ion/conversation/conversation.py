"""A conversation: one walk through a protocol's state machine. Pure: no clock, no I/O.

Both ends hold one. The side that asks is the initiator, the side that answers the participant;
both step the same machine, each with the performatives it sends and receives.
"""

from __future__ import annotations

import msgspec

from ion.base.errors import ConversationError
from ion.base.fsm import MachineSpec

# performatives, as they stand in the header of that name
REQUEST = "request"
AGREE = "agree"
REFUSE = "refuse"
PROGRESS = "progress"
INFORM_RESULT = "inform_result"
FAILURE = "failure"
CANCEL = "cancel"
TIMEOUT = "timeout"  # never sent: what the runtime tells a conversation at its deadline

INIT = "INIT"
REQUESTED = "REQUESTED"
AGREED = "AGREED"
REFUSED = "REFUSED"
DONE = "DONE"
FAILED = "FAILED"
CANCELLED = "CANCELLED"
TIMED_OUT = "TIMED_OUT"

FINAL = frozenset({REFUSED, DONE, FAILED, CANCELLED, TIMED_OUT})


class Protocol:
    """A protocol: its name on the wire, and its machine."""

    __slots__ = ("machine", "name", "table")

    def __init__(self, name: str, machine: MachineSpec) -> None:
        self.name = name
        self.machine = machine
        self.table = machine.table


class Conversation(msgspec.Struct, eq=False):
    """One conversation.

    :ivar id: unique for the initiator's reply queue while open.
    :ivar state: a state of the protocol's machine.
    """

    id: str
    protocol: Protocol
    state: str = INIT

    def step(self, event: str) -> str:
        """Take ``event`` (a performative, or ``timeout``) and return the new state.

        :raises ConversationError: the event is not allowed in this state, which stays.
        """
        state = self.protocol.table.get((self.state, event))
        if state is None:
            message = (
                f"{self.protocol.name} conversation {self.id}: "
                f"{event!r} is not allowed in {self.state}"
            )
            raise ConversationError(message)
        self.state = state
        return state

    @property
    def final(self) -> bool:
        """Whether it is over."""
        return self.state in FINAL
