"""A source: a queue that a process takes messages from, and what is to become of them.

Made once, when the queue is consumed; each message carries a reference to its source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ion.messaging.address import PROCESSES, suspect_queue
from ion.messaging.transport import QueueSpec
from ion.process.exactly_once.inbox import Inbox, MemoryInbox

AT_MOST_ONCE = "at-most-once"
AT_LEAST_ONCE = "at-least-once"
EFFECTIVELY_ONCE = "effectively-once"
MODES = (AT_MOST_ONCE, AT_LEAST_ONCE, EFFECTIVELY_ONCE)


class Policy(msgspec.Struct, frozen=True):
    """How hard a message is tried.

    :ivar mode: at-most-once, at-least-once or effectively-once.
    :ivar attempts: how often at most.
    :ivar delays: ms before the second attempt, the third, ...; the last one repeats.
    :ivar replicated: whether it waits on the ladder for quorum queues.
    """

    mode: str = AT_LEAST_ONCE
    attempts: int = 5
    delays: tuple[int, ...] = (200, 1000, 5000, 30_000)
    replicated: bool = False

    def delay(self, attempt: int) -> int:
        """Return the ms between attempt number ``attempt`` and the next."""
        return self.delays[min(attempt, len(self.delays)) - 1]

    def delay_for(self, seconds: float) -> int:
        """Return the ms of the step that is long enough to wait ``seconds``, or the longest."""
        fitting = [delay for delay in self.delays if delay >= seconds * 1000]
        return min(fitting) if fitting else max(self.delays)


class Source(msgspec.Struct, frozen=True, eq=False):
    """A queue that a process consumes.

    :ivar queue: its name; "" for messages addressed to the process itself, whose queue goes with
        its container: they cannot come again, and so are tried once.
    :ivar key: its dead-letter key; "": what fails is logged and dropped.
    :ivar policy: None: what fails is not tried again.
    :ivar suspects: the queue for messages that were delivered in vain more than once, or "".
    :ivar inbox: of message ids that were handled, where it is effectively-once; else None.
    :ivar handler: the op that is called, whatever the message asks for; None: the one it asks for.
    :ivar point: the exchange point whose events it brings, or "".
    :ivar topics: the patterns of those events; others that share the queue may have added some.
    :ivar careful: whether something is to be done before a message is handled (anything but
        at-least-once).
    """

    queue: str = ""
    key: str = PROCESSES
    policy: Policy | None = None
    suspects: str = ""
    inbox: Inbox | None = None
    handler: Any = None  # an Op; that module needs nothing of this one, nor this one of it
    point: str = ""
    topics: tuple[str, ...] = ()
    careful: bool = False

    @property
    def is_for_suspects(self) -> bool:
        """Whether it is the queue for messages that were delivered in vain more than once."""
        return self.queue == self.suspects != ""

    @property
    def home(self) -> str:
        """The queue that its messages were sent to first."""
        return self.queue.removesuffix(".suspect") if self.is_for_suspects else self.queue


MAIL = Source()  # what is addressed to the process by its id
TO_ALL = Source(key="")  # what is said to all instances of a service: nobody is to tell them again


def source_of(
    spec: QueueSpec,
    key: str,
    policy: Policy,
    inboxes: dict[str, Inbox],
    inbox: str,
    new_inbox: Callable[[str], Inbox | None],
) -> Source:
    """Return the source that a queue is whose messages are tried as a policy says.

    :param key: its dead-letter key.
    :param inboxes: of the container, by name; that named ``inbox`` is made where it is needed.
    :param new_inbox: makes one of that name in the store; None: it is to be in memory.
    """
    is_once = policy.mode == EFFECTIVELY_ONCE
    if is_once and inbox not in inboxes:
        inboxes[inbox] = new_inbox(inbox) or MemoryInbox()
    return Source(
        spec.name,
        key,
        policy,
        suspect_queue(spec).name,
        inboxes[inbox] if is_once else None,
        careful=policy.mode != AT_LEAST_ONCE,
    )
