"""Again, elsewhere, or never: what becomes of a message that was not done.

- *later*: a copy with a higher ``attempt`` takes a step of the ladder of delay queues, and comes
  back to its queue after the delay;
- *back*: a copy goes to its queue at once, for another instance; it was not tried;
- *buried*: a copy goes to the dead letters, with headers that say why.

In each case the message itself is taken off its queue only when the broker has the copy, so that a
death in between repeats it rather than losing it (see :mod:`ion.process.redelivery.republishing`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from ion.base.errors import Forbidden, IonError, ProcessNotFound, Unauthorized
from ion.messaging.address import BACK
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Delivery
from ion.process.endpoint.endpoint import Endpoint
from ion.process.serving.source import AT_MOST_ONCE, Source

log = logging.getLogger(__name__)
ATTEMPT = "attempt"
RECEIVER = "receiver"
CAUSES = ("cause", "cause-code", "cause-type", "dead-from", "dead-at", "dead-by")
BROKERS_OWN = ("x-death", "x-first-death", "x-last-death", "x-delivery-count")
ROUTING = ("CC", "BCC")  # further keys that a sender gave: each has got its own message already
LEFT_OUT = frozenset((*CAUSES, *ROUTING))
MAX_CAUSE = 1000  # characters
SERVER_ERROR = 500
GATEWAY_TIMEOUT = 504
MAX_ATTEMPT = 1_000_000


class Call(Protocol):
    """A message that was not done, as it is seen here.

    :ivar deadline: on the loop's clock, or 0.0.
    """

    process: str
    op: str
    deadline: float
    endpoint: Endpoint
    delivery: Delivery
    envelope: Envelope
    source: Source

    @property
    def attempt(self) -> int:
        """Which attempt at the message this is, from 1 on."""

    def fail(self, error: IonError) -> None:
        """Give the final failure."""


def attempt_of(headers: Mapping[str, Any]) -> int:
    """Return the number of the attempt that a message's headers tell; 1 where they do not."""
    attempt = headers.get(ATTEMPT, 1)
    return attempt if isinstance(attempt, int) and 1 <= attempt <= MAX_ATTEMPT else 1


def receiver_of(delivery: Delivery) -> str:
    """Return the routing key that a message was first sent with.

    Only what comes as the ladder's messages do, by the default exchange or by that of the
    replicated ladder, says it in a header.
    """
    came_back = not delivery.exchange or delivery.exchange.endswith(BACK)
    told = delivery.envelope.headers.get(RECEIVER) if came_back else ""
    return told if told and isinstance(told, str) else delivery.key


def unanswered(call: Call, error: IonError, *, limited: bool = True) -> None:
    """Settle a message that failed and that nobody awaits an answer to.

    What may go better another time takes a step of the ladder; the rest is buried.

    :param limited: whether it must not be tried more often than its policy says.
    """
    policy = call.source.policy
    once = policy is None or policy.mode == AT_MOST_ONCE
    if once or (limited and is_tried(call)) or not may_pass(error):
        bury(call, error)
    else:
        later(call)


def is_tried(call: Call) -> bool:
    """Return whether a message was tried as often as its policy says."""
    return call.source.policy is None or call.attempt >= call.source.policy.attempts


def may_pass(error: IonError) -> bool:
    """Return whether the same message may do better another time."""
    code = error.code
    return isinstance(code, int) and code >= SERVER_ERROR and code != GATEWAY_TIMEOUT


def later(call: Call, *, counted: bool = True, suspect: bool = False, wait: float = 0.0) -> None:
    """Let a message take a step of the ladder.

    :param counted: whether this was an attempt. One that the broker delivered twice counts in any
        case: whoever handles it must know that it may be a repeat.
    :param suspect: it may have killed its container: from the second time on, and for its last
        attempt, it comes back through the queue of suspects.
    :param wait: seconds that it is to wait, where its next step is shorter.
    """
    source, attempt = call.source, call.attempt
    assert source.policy is not None
    delay = max(source.policy.delay(attempt), source.policy.delay_for(wait) if wait else 0)
    alone = suspect and source.suspects and (attempt > 1 or attempt + 1 >= source.policy.attempts)
    to = source.suspects if alone else source.queue
    copy = _copy(call, delay, _attempt(attempt + (counted or call.delivery.redelivered)))
    call.endpoint.counts["retried" if counted else "deferred"] += 1
    exchange, _ = call.endpoint.namespace.retry_queue(delay, quorum=source.policy.replicated)
    call.endpoint.republisher.move(call.delivery, exchange.name, to, copy, again=suspect)


def back(call: Call) -> None:
    """Give back a message that was not tried; other instances of its service may have it."""
    if not call.source.queue:
        message = f"process {call.process} ended before it began with {call.op!r}"
        call.fail(ProcessNotFound(message, details={"to": call.process}))
        return
    call.endpoint.counts["given back"] += 1
    copy = _copy(call, 0, _attempt(call.attempt + call.delivery.redelivered))
    call.endpoint.republisher.move(call.delivery, "", call.source.queue, copy)


def bury(call: Call, error: IonError) -> None:
    """Send a message to the dead letters of its queue, with the cause."""
    source = call.source
    text = error.message[:MAX_CAUSE]
    words = (call.op, call.envelope.message_id, call.process, call.attempt, error.type, text)
    # who has refused it has said so, seldom: anybody can send what is refused
    level = logging.DEBUG if isinstance(error, Unauthorized | Forbidden) else logging.WARNING
    if not source.key:
        log.log(level, "op %r (message %s) failed at %s, attempt %d: %s: %s; dropped", *words)
        call.endpoint.counts["dropped"] += 1
        call.delivery.ack()
        return
    log.log(level, "op %r (message %s) of %s dead-lettered, attempt %d: %s: %s", *words)
    call.endpoint.counts["dead-lettered"] += 1
    causes = {
        ATTEMPT: call.attempt,
        "cause": text.encode("utf-8", "backslashreplace").decode(),
        "cause-code": error.code if isinstance(error.code, int) else SERVER_ERROR,
        "cause-type": str(error.type)[:100],
        "dead-from": source.home or f"{call.endpoint.namespace.sysname}.{call.endpoint.id}",
        "dead-at": int(time.time() * 1000),
        "dead-by": call.process,
    }
    copy = _copy(call, 0, causes).replace(persistent=True)
    call.endpoint.republisher.move(call.delivery, call.endpoint.namespace.dlx, source.key, copy)


def _attempt(number: int) -> dict[str, Any]:
    return {ATTEMPT: number} if number > 1 else {}


def _copy(call: Call, delay: int, headers: dict[str, Any]) -> Envelope:
    """Return the message, as it came in, with other headers.

    What was told before of its fate is left out, and the login of its sender: the broker takes that
    from the sender alone.
    """
    envelope = call.delivery.envelope
    kept = {
        name: value
        for name, value in envelope.headers.items()
        if name not in LEFT_OUT and not name.startswith(BROKERS_OWN)
    }
    kept[RECEIVER] = receiver_of(call.delivery)
    if call.deadline:
        left = int((call.deadline - call.endpoint.time()) * 1000) - delay
        kept["timeout"] = max(left, 1)
    return envelope.replace(headers={**kept, **headers}, expiration=None, user_id="")
