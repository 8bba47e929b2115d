"""Messages that were delivered before: what is done so that nothing is handled twice for nothing.

The broker delivers a message again when the connection or the container that had it is gone. It
cannot say whether the message was begun, done, or only waiting.
"""

from __future__ import annotations

import contextlib

from ion.base.errors import CodecError, IonError, Unavailable
from ion.messaging.envelope import Envelope
from ion.process import retrying
from ion.process.incoming import IncomingCall
from ion.process.source import AT_MOST_ONCE, EFFECTIVELY_ONCE

DONE = Envelope()  # what an inbox keeps for a message that nobody awaits an answer to


def is_to_be_handled(call: IncomingCall) -> bool:
    """Return whether a message that the broker marks as delivered before is to be handled now.

    Where not, it is taken care of: its handler still runs here and takes the new delivery over, or
    has ended and its answer is sent again; or it takes a step of the ladder.
    """
    endpoint = call.endpoint
    running = endpoint.calls.get(call.key)
    if isinstance(running, IncomingCall) and running.delivery.lost:
        running.delivery = call.delivery
        endpoint.counts["taken over"] += 1
        return False
    answer = endpoint.answers.find(call.key)
    if answer is not None:
        endpoint.answers.forget(call.key)
        endpoint.counts["answered again"] += 1
        call.answer_again(answer)
        return False
    policy = call.source.policy
    if policy is None:
        return True
    if policy.mode == AT_MOST_ONCE:
        call.fail(_perhaps_begun(call))
    elif call.attempt >= policy.attempts:
        _give_up(call)
    elif call.deadline and call.deadline - endpoint.time() <= policy.delay(call.attempt) / 1000:
        call.fail(_too_late(call))
    else:
        retrying.later(call, suspect=True)
    return False


async def is_to_be_run(call: IncomingCall) -> bool:
    """Return whether the handler of a message is to run, by the mode of its source.

    Where not, the message is settled: it was done before, or is being done now.

    :raises Unavailable: the inbox cannot tell.
    """
    source = call.source
    if source.policy is not None and source.policy.mode == AT_MOST_ONCE:
        call.delivery.ack()
        return True
    key = inbox_key(call)
    if source.inbox is None or not key:
        return True
    answer = await source.inbox.find(key)
    if answer is None:
        return True
    call.endpoint.counts["known"] += 1
    call.answer_again(answer)
    return False


def inbox_key(call: IncomingCall) -> str:
    """Return what a message is known by in the inbox of its service; "" where it has no id."""
    envelope = call.envelope
    if envelope.message_id:
        return envelope.message_id
    return f"{envelope.reply_to} {envelope.correlation_id}" if envelope.correlation_id else ""


async def remember(call: IncomingCall, answer: Envelope | None) -> None:
    """Keep the answer of a message, before it is sent.

    :param answer: None where nobody awaits one.
    :raises Unavailable: it cannot be kept.
    """
    source, key = call.source, inbox_key(call)
    if source.inbox is None or not key or source.policy is None:
        return
    if source.policy.mode == EFFECTIVELY_ONCE:
        await source.inbox.keep(key, DONE if answer is None else answer)


def _give_up(call: IncomingCall) -> None:
    message = (
        f"op {call.op!r} was tried {call.attempt} times, and never ended: each time its container "
        "died, or lost its broker"
    )
    error = IonError(message, type="TooManyAttempts", details={"attempts": call.attempt})
    if call.envelope.reply_to:
        with contextlib.suppress(CodecError, Unavailable):  # the caller has its own deadline
            call.tell_failure(error)
    retrying.bury(call, error)


def _perhaps_begun(call: IncomingCall) -> Unavailable:
    message = f"op {call.op!r} may have been begun before, and its service handles at most once"
    return Unavailable(message, details={"delivery": AT_MOST_ONCE})


def _too_late(call: IncomingCall) -> Unavailable:
    message = (
        f"op {call.op!r} was interrupted (its container died, or lost its broker), "
        "and there is no time left to try it again; it may have been done"
    )
    return Unavailable(message, details={"op": call.op, "attempt": call.attempt})
