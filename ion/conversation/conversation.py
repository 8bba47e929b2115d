"""A conversation: one walk through a protocol's state machine. Pure: no clock, no I/O.

Both ends hold one. The side that asks is the initiator, the side that answers the participant;
both step the same machine, each with the performatives it sends and receives. What a side may say
is a set of the protocol: a performative that stands in the machine, but is not the other side's to
say, is not allowed either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import msgspec

from ion.base.errors import ConversationError
from ion.base.fsm import MachineSpec

# performatives, as they stand in the header of that name
REQUEST = "request"
AGREE = "agree"
REFUSE = "refuse"
PROGRESS = "progress"
INFORM = "inform"
CREDIT = "credit"
INFORM_RESULT = "inform_result"
FAILURE = "failure"
CANCEL = "cancel"
TIMEOUT = "timeout"  # never sent: what the runtime tells a conversation at its deadline

INIT = "INIT"
REQUESTED = "REQUESTED"
AGREED = "AGREED"
STREAMING = "STREAMING"
OPEN = "OPEN"
REFUSED = "REFUSED"
DONE = "DONE"
FAILED = "FAILED"
CANCELLED = "CANCELLED"
TIMED_OUT = "TIMED_OUT"

FINAL = frozenset({REFUSED, DONE, FAILED, CANCELLED, TIMED_OUT})


Row = tuple[str, str | list[str], str]
Table = Mapping[tuple[str, str], str]
RESULTS = frozenset({INFORM_RESULT, FAILURE})


class Protocol:
    """A protocol: its name on the wire, its machine, and who may say what.

    :param rows: between the request and the end, as (performative, source, target).
    :param open: the states that a result, a failure, a cancel or the deadline may end.
    :param answers: what the participant may say.
    :param says: what the initiator may say after its request, beside ``cancel``.
    :ivar table: every step, as (state, event) -> state.
    :ivar answered: the steps that an answer of the participant may cause.
    :ivar said: the steps that a later message of the initiator may cause.
    """

    __slots__ = ("answered", "machine", "name", "said", "table")

    def __init__(
        self,
        name: str,
        rows: Sequence[Row] = (),
        *,
        open: Sequence[str] = (REQUESTED,),
        answers: Set[str] = RESULTS,
        says: Set[str] = frozenset(),
    ) -> None:
        every: list[Row] = [(REQUEST, INIT, REQUESTED), *rows]
        every += [(event, list(open), state) for event, state in _ENDS]
        states = dict.fromkeys([INIT, *(target for _, _, target in every)])
        self.name = name
        self.machine = MachineSpec(name, list(states), every, error=ConversationError)
        self.table: Table = self.machine.table
        self.answered = self._part(answers)
        self.said = self._part(says)

    def negative(self, state: str, performative: str) -> str:
        """Return what the participant says no with: ``failure`` where it may not say that now."""
        return performative if (state, performative) in self.answered else FAILURE

    def _part(self, events: Set[str]) -> Table:
        return {(state, e): target for (state, e), target in self.table.items() if e in events}


_ENDS = (
    (INFORM_RESULT, DONE),
    (FAILURE, FAILED),
    (CANCEL, CANCELLED),
    (TIMEOUT, TIMED_OUT),
)


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
            raise self.disallowed(event)
        self.state = state
        return state

    def disallowed(self, event: object) -> ConversationError:
        """Return the error for what may not be said now."""
        message = (
            f"{self.protocol.name} conversation {self.id}: {event!r} is not allowed in {self.state}"
        )
        return ConversationError(message)

    @property
    def final(self) -> bool:
        """Whether it is over."""
        return self.state in FINAL
