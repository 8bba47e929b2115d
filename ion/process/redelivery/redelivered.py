"""Redelivered messages: what is done so that nothing is handled twice for nothing.

The broker delivers a message again when the connection or the container that had it is gone. It
cannot say whether the message was begun, done, or only waiting.
"""

from __future__ import annotations

import contextlib

from ion.base.errors import Cancelled, CodecError, IonError, Unavailable
from ion.messaging.envelope import Envelope
from ion.process.endpoint.unacked_answers import DONE
from ion.process.identity.identity import SYSTEM
from ion.process.redelivery import retrying
from ion.process.serving import outcomes
from ion.process.serving.incoming import IncomingCall
from ion.process.serving.source import AT_MOST_ONCE

# Header of what the system publishes again: the actor who published it at first. No signature
# covers an `x-` one, so it is believed of the system only.
PUBLISHED_BY = "x-published-by"


def is_to_be_handled(call: IncomingCall) -> bool:
    """Return whether a message that the broker marks as delivered before is to be handled now.

    Where not, it is taken care of: its handler still runs here and takes the new delivery over, or
    has ended and its answer is sent again; or it takes a step of the ladder.
    """
    endpoint = call.endpoint
    answer = endpoint.answers.take(call.key)
    if answer is not None:
        endpoint.counts["answered again"] += 1
        call.answer_again(answer)
        return False
    if is_taken_over(endpoint.calls.get(call.key), call):
        return False
    policy = call.source.policy
    if policy is None or endpoint.unbegun.take(call.key):
        return True
    if endpoint.unbegun.is_expected(call.source.queue, endpoint.time()):
        return True
    if policy.mode == AT_MOST_ONCE:
        call.fail(_perhaps_begun(call))
    elif retrying.is_tried(call):
        _give_up(call)
    elif _is_too_late(call):
        call.fail(_too_late(call))
    else:
        retrying.later(call, suspect=True)
    return False


def is_void(call: IncomingCall, name: str) -> bool:
    """Return whether a message that has waited is not to be begun; then it is taken care of.

    It was cancelled, or its time is over, or it came by a connection that is lost: then it will
    come again.

    :param name: of the process.
    """
    endpoint = call.endpoint
    is_lost = call.delivery.lost and call.source.policy is not None
    is_late = 0 < call.deadline <= endpoint.time()
    if not (is_lost or is_late or call.cause):
        return False
    endpoint.calls.pop(call.key, None)
    if is_lost:
        endpoint.unbegun.keep(call.key)
        endpoint.counts["left to come again"] += 1
    elif call.cause:
        outcomes.settle_cancelled(call, name)
    else:
        call.fail(outcomes.expired(call))
    return True


def is_taken_over(running: object, call: IncomingCall) -> bool:
    """Return whether a call that is at work, or waits, goes on with a message that has come again.

    So it is where the message is the same and its first delivery is lost.
    """
    if not isinstance(running, IncomingCall) or running.replied or not running.delivery.lost:
        return False
    if running.envelope.message_id != call.envelope.message_id:
        return False
    running.delivery = call.delivery
    call.endpoint.counts["taken over"] += 1
    return True


def drop_cancelled(call: IncomingCall) -> None:
    """Settle a message whose cancel came before it.

    It is answered: a client that uses its ids anew, and had cancelled a call that was over, must
    not wait for nothing. Any other drops the answer.
    """
    call.endpoint.counts["cancelled before"] += 1
    if call.envelope.reply_to:
        call.fail(Cancelled(f"op {call.op!r} was cancelled before it began"))
    else:
        call.delivery.ack()


async def is_to_be_run(call: IncomingCall) -> bool:
    """Return whether the handler of a message is to run, by the mode of its source.

    Where not, the message is taken care of: it was done before and is answered so, or is at work
    now and waits on the ladder for what comes of that.

    :raises Unavailable: the inbox cannot tell, and there is no time to ask it again.
    """
    source = call.source
    if source.policy is not None and source.policy.mode == AT_MOST_ONCE:
        call.delivery.ack()
        return True
    key = inbox_key(call)
    if source.inbox is None or not key:
        return True
    if not _claim(call, key):
        call.endpoint.counts["at work already"] += 1
        retrying.later(call, counted=False)
        return False
    try:
        answer = await source.inbox.find(key)
    except Unavailable:
        if retrying.is_tried(call) or _is_too_late(call):
            raise
        retrying.later(call)
        return False
    if answer is None:
        return True
    answer_known(call, answer)
    return False


def answer_known(call: IncomingCall, answer: Envelope) -> None:
    """Answer a message that was handled before, as it was then."""
    call.endpoint.counts["known"] += 1
    if not call.replied:
        call.answer_again(answer)


def inbox_key(call: IncomingCall) -> str:
    """Return what a message is known by in the inbox of its service; "" where it has no id.

    Ids can be guessed. So who is known shares theirs with nobody: neither do they get the answer
    that somebody else was given, nor is theirs kept back as one that was handled before.
    """
    envelope, identity = call.envelope, call.identity
    key = envelope.message_id
    if not key and envelope.correlation_id:
        key = f"{envelope.reply_to} {envelope.correlation_id}"
    actor = identity.actor if identity is not None else ""
    first = envelope.headers.get(PUBLISHED_BY)
    if first.__class__ is str and (actor == SYSTEM or hasattr(call.delivery, "is_told_again")):
        actor = first  # or it would not be known by what it was handled as
    return f"@{len(actor)}:{actor} {key}" if key and (actor or key[0] == "@") else key


async def remember(call: IncomingCall, answer: Envelope | None) -> None:
    """Keep the answer of a message, before it is sent.

    :param answer: None where nobody awaits one.
    :raises Unavailable: it cannot be kept.
    """
    inbox, key = call.source.inbox, inbox_key(call)
    if inbox is not None and key:
        await inbox.keep(key, DONE if answer is None else answer)


def _claim(call: IncomingCall, key: str) -> bool:
    """Return whether no other handler of this container is at work on the same message.

    The claim ends with the handler.
    """
    at_work, claim = call.endpoint.at_work, (call.source.key, key)
    if claim in at_work:
        return False
    at_work.add(claim)
    call.at_end(lambda: at_work.discard(claim))
    return True


def _is_too_late(call: IncomingCall) -> bool:
    """Return whether the caller will have given up before another attempt."""
    policy = call.source.policy
    if policy is None or not call.deadline:
        return False
    return call.deadline - call.endpoint.time() <= policy.delay(call.attempt) / 1000


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
