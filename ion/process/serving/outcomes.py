"""What becomes of a message whose handler did not return: the failure to answer with."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from types import TracebackType

from ion.base.errors import (
    ApplicationError,
    ConversationError,
    DeadlineExceeded,
    IonError,
    OpNotFound,
    Refused,
)
from ion.base.tasks import is_running
from ion.conversation import conversation as c
from ion.process.conversations import streaming
from ion.process.exactly_once import conflict_retry
from ion.process.redelivery import retrying
from ion.process.serving import incoming
from ion.process.serving.answering import plain_text
from ion.process.serving.incoming import IncomingCall

log = logging.getLogger(__name__)
MAX_MESSAGE = 4000  # characters of an exception's text that travel
_RUNTIME = (streaming.__file__, conflict_retry.__file__)


def failure_of(call: IncomingCall, error: BaseException, name: str) -> IonError:
    """Return the error to answer with; a handler's own failure is logged.

    Before the handler ran, an error is about the request and goes as it is. What a handler raises
    is a 500, whatever its class, unless it is an ApplicationError or a refusal: an error of a
    service that the handler called must not look like one of this service.

    :param name: of the process.
    """
    if isinstance(error, (ApplicationError, Refused)):
        return error
    if isinstance(error, IonError) and call.phase == incoming.BINDING:
        return error
    if isinstance(error, IonError) and call.phase == incoming.ANSWERING:
        return IonError(f"the result of {call.op!r}: {error}", type=error.type)
    if isinstance(error, ConversationError) and call.replied:
        log.debug("op %r of %s ended: %s", call.op, name, error)  # it spoke after the end
        return error
    failure = internal(error)
    call.endpoint.error_log.note(call.op, name, error, failure.message, _below_runtime(error))
    return failure


def settle_cancelled(call: IncomingCall, name: str) -> None:
    """Settle a message whose handler was cancelled, as its cause asks.

    :param name: of the process.
    """
    if call.replied or call.cause == incoming.ABANDONED:
        return  # abandoned: the container goes, and the broker delivers it again
    if call.cause == incoming.DEADLINE:
        call.fail(expired(call))
    elif call.cause == incoming.CALLER:
        call.step(c.CANCEL)
        if call.delivery.lost:
            call.endpoint.cancelled.keep(call.key)  # it comes again, and must not begin then
        call.delivery.ack()
    elif call.cause == incoming.TERMINATED:
        message = f"process {call.process} ({name}) was terminated while it handled {call.op!r}"
        _interrupted(call, IonError(message, type="ProcessTerminated"))
    elif call.cause == incoming.FAILED:
        message = f"process {call.process} ({name}) failed while it handled {call.op!r}"
        call.fail(IonError(message, type="ProcessFailed"))  # perhaps because of it: this counts
    else:
        message = f"op {call.op!r} of {name} was cancelled from within"
        call.fail(IonError(message, type="Cancelled"))


def settle_exit(call: IncomingCall, error: BaseException, name: str) -> None:
    """Settle a message whose handler has raised what no handler should: GeneratorExit.

    :raises BaseException: ``error``, where it is not the handler's: an interrupt, the end of all.
    """
    if isinstance(error, KeyboardInterrupt) or not is_running(call.task):
        raise error
    call.fail(failure_of(call, error, name))


def _interrupted(call: IncomingCall, error: IonError) -> None:
    """Settle a message whose process was terminated, which is not the message's fault."""
    if call.envelope.reply_to:
        call.fail(error)
    else:
        call.step(c.FAILURE)
        retrying.unanswered(call, error, limited=False)


def internal(error: BaseException) -> IonError:
    """Return the 500 for any exception."""
    text = plain_text(error, MAX_MESSAGE)
    return IonError(text, code=500, type=type(error).__name__)


def expired(call: IncomingCall) -> DeadlineExceeded:
    """Return the 504 for a request that was not done in time."""
    message = f"op {call.op!r} was not done within the caller's deadline"
    return DeadlineExceeded(message, details={"op": call.op})


def no_such_op(name: str, op: str, known: Iterable[str]) -> OpNotFound:
    """Return the 404 for an op that the process does not have."""
    message = f"{name} has no op {op!r}; it has: {', '.join(sorted(known))}"
    return OpNotFound(message, details={"op": op})


def _below_runtime(error: BaseException) -> TracebackType | None:
    """Return the traceback without the runtime's own frames."""
    traceback = error.__traceback__
    below = traceback.tb_next if traceback is not None else None
    while below is not None and below.tb_frame.f_code.co_filename in _RUNTIME:
        below = below.tb_next
    return below or traceback
