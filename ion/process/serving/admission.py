"""Admission of what goes by no mailbox: pings that are answered at once, events that are awaited.

What a process handles is admitted where its handling begins; this is the same for the rest: the
authenticator finds out whose the message is, and the interceptors, policy among them, let it pass
or not.
"""

from __future__ import annotations

import logging
from typing import Any

from ion.base.errors import IonError
from ion.messaging.envelope import Envelope
from ion.observe.context import current_call
from ion.process.identity.authenticator import NotKnownYet, Receiver
from ion.process.identity.identity import TOKEN
from ion.process.serving.incoming import BINDING, IncomingCall
from ion.process.serving.source import AT_MOST_ONCE

log = logging.getLogger(__name__)


def admitted(call: IncomingCall, receiver: Receiver) -> Envelope:
    """Return the message of a call as it has passed the authenticator and the interceptors.

    :raises IonError: it may not pass; or whatever an interceptor raises.
    """
    endpoint = call.endpoint
    call.phase = BINDING
    before = current_call.set(call)
    try:
        if endpoint.auth.is_strict or TOKEN in call.envelope.headers:
            endpoint.auth.admit(call, receiver)
        if endpoint.inbound or len(call.envelope.body) > endpoint.max_content:
            call.envelope = endpoint.incoming(call.envelope)
    finally:
        current_call.reset(before)
    return call.envelope


def admit(call: IncomingCall, receiver: Receiver) -> bool:
    """Find out whose a call is; return whether that could be: else :func:`admit_later` does.

    :raises IonError: it may not pass.
    """
    try:
        call.endpoint.auth.admit(call, receiver)
    except NotKnownYet:
        return False
    return True


async def admit_later(call: IncomingCall, receiver: Receiver) -> None:
    """Have a message wait until it is known whose tokens are good, where else it would be lost.

    So it is with what nobody awaits an answer to, and that no ladder brings again: what comes to a
    process itself, and events of a live subscription. It keeps a hand of its process meanwhile.

    :raises IonError: it may not pass.
    """
    policy = call.source.policy
    if not call.envelope.reply_to and (policy is None or policy.mode == AT_MOST_ONCE):
        await call.endpoint.auth.known()
    call.endpoint.auth.admit(call, receiver)


def answer_ping(call: IncomingCall, receiver: Receiver, pong: dict[str, Any]) -> None:
    """Answer a ping without a hand of the process, or say why not. Never raises."""
    try:
        admitted(call, receiver)
    except IonError as error:
        call.fail(error)
    except Exception as error:  # an interceptor's: the ping is over, and not who brings it
        log.exception("a ping of %s was not let in", call.process)
        call.fail(IonError(f"{type(error).__name__} in an interceptor"))
    else:
        call.answer(pong)
