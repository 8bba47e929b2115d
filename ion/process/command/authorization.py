"""Commands as they arrive: whether the message that is being handled may command."""

from __future__ import annotations

from ion.base.errors import Forbidden
from ion.observe.context import current_call
from ion.process.serving.incoming import IncomingCall


def demand() -> None:
    """Check that the message that is being handled may command.

    :raises Forbidden: it may not.
    """
    call = current_call.get()
    assert isinstance(call, IncomingCall)
    envelope, endpoint = call.envelope, call.endpoint
    permission = endpoint.permission
    if permission is None:
        message = "nobody can command this party: it was made without a key"
        raise Forbidden(message, details={"reason": "no key"})
    try:
        permission.check(call.delivery.key, envelope.op, envelope.body, envelope.headers)
    except Forbidden as error:
        permission.note(f"{envelope.op!r} of {call.sender or 'nobody known'}", error)
        endpoint.counts["forbidden"] += 1
        raise


def is_signed() -> bool:
    """Tell whether what is being handled was signed as a command, or is no message."""
    call = current_call.get()
    if not isinstance(call, IncomingCall):
        return True
    envelope, permission = call.envelope, call.endpoint.permission
    return permission is not None and permission.is_signed(
        call.delivery.key, envelope.op, envelope.body, envelope.headers
    )
