"""The whole error tree, with codes.

Every error has ``code`` (HTTP-like number), ``type`` (a stable word for programs),
``message`` (for people: what was wrong, where, what to do next) and ``details`` (a map)::

    IonError
    ├ ConfigurationError 500          a configuration, app or rel file is wrong
    ├ StartError 500                  a container, app or process did not come up
    ├ LifecycleError 409              not allowed in this state
    ├ ConversationError 400           a message that its conversation does not allow
    │  └ Cancelled 499                one of its sides has cancelled it, with a reason
    ├ CodecError 400                  bytes that are not what their content type says
    │  └ UnsupportedContentType 415   a content type that nobody here can read
    ├ ContentTooLarge 413             content over the configured limit
    ├ ApplicationError 4xx            raised by a handler: the caller's fault, the process lives on
    ├ ReceivedError                   raised at the caller: the other side answered with a failure
    │  ├ ReceivedApplicationError 4xx
    │  │  ├ BadRequest 400            unknown key, missing or mistyped value
    │  │  ├ OpNotFound 404            the service has no such op
    │  │  ├ Unauthorized 401          a token that is none, or none where one is asked for
    │  │  └ Forbidden 403             what no rule allows, or a command without the system's key
    │  └ ReceivedContainerError 5xx   the handler failed, or its process or container did
    ├ CallCycle 508                   a call that would wait on itself; the message names the ring
    ├ ServiceNotFound 404             no queue of that name exists
    │  └ ProcessNotFound 404          the container lives, that process of it does not
    ├ Refused 403                     the other side refused the request, with a reason
    ├ DeadlineExceeded 504            no answer in time (also a TimeoutError)
    ├ StoreError 500                  a store cannot do what was asked
    │  ├ Conflict 409                 somebody else has written since; the details say what
    │  ├ NotFound 404                 there is nothing of that key, hash or name
    │  ├ InvalidRequest 400           a key, query or attribute that the store cannot take
    │  ├ Damaged 500                  what is kept cannot be read: a corrupt file, a wrong hash
    │  └ NewerSchema 500              it was written by a newer release of ION
    └ Unavailable 503                 broker or store away, load shed, or a queue nobody consumes
       └ Unroutable 503               a mandatory message that no queue took

Errors of other libraries are mapped to these at the wall (transport, store), never above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class IonError(Exception):
    """Base of all errors of ION.

    :param message: for people.
    :param code: overrides the class's code.
    :param type: overrides the class's type word.
    :param details: anything a program may want to know; must be encodable.
    """

    default_code: ClassVar[int] = 500

    def __init__(
        self,
        message: str = "",
        *,
        code: int | None = None,
        type: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.type = type or self.__class__.__name__
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        return self.message

    def as_content(self) -> dict[str, Any]:
        """Return the content of a failure message: code, type, message, details."""
        return {
            "code": self.code,
            "type": self.type,
            "message": self.message,
            "details": self.details,
        }


class ConfigurationError(IonError):
    """A configuration, app or rel file is wrong; ``details`` holds file, line and key."""


class StartError(IonError):
    """Something that was being started did not come up; what it had started is stopped."""


class LifecycleError(IonError):
    """The operation is not allowed in the present state."""

    default_code = 409


class ConversationError(IonError):
    """A message that its conversation does not allow, such as a reply before the request."""

    default_code = 400


class Cancelled(ConversationError):
    """One side has cancelled the conversation; the message is its reason."""

    default_code = 499


class CodecError(IonError):
    """Bytes that are not what their content type says, or a value that cannot be encoded."""

    default_code = 400


class UnsupportedContentType(CodecError):
    """A content type that nobody here can read."""

    default_code = 415


class ContentTooLarge(IonError):
    """Content over the limit ``messaging.max_content``."""

    default_code = 413


class ApplicationError(IonError):
    """Raised by a handler to answer with a failure that is the caller's business.

    :param message: for people.
    :param code: 400 to 499 as a rule.
    :param type: a word for programs; the class's name by default.
    :param details: a map that travels with the answer.
    """

    default_code = 400

    def __init__(
        self,
        message: str = "",
        code: int | None = None,
        type: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code, type=type, details=details)


class ReceivedError(IonError):
    """The other side answered with a failure."""


class ReceivedApplicationError(ReceivedError):
    """A failure with a 4xx code: the request was at fault."""

    default_code = 400


class BadRequest(ReceivedApplicationError):
    """The content does not fit the op: unknown key, missing or mistyped value."""

    default_code = 400


class OpNotFound(ReceivedApplicationError):
    """The process or service has no op of that name."""

    default_code = 404


class Unauthorized(ReceivedApplicationError):
    """Who calls is not known: the token is expired, altered, revoked, of another system, or absent.

    The message says what is wrong with it; ``details["reason"]`` does so in a word.
    """

    default_code = 401


class Forbidden(ReceivedApplicationError):
    """Not allowed: no rule of the policy allows it, or it is a command that is not signed.

    The message says which rule, or what is wrong with the signature.
    """

    default_code = 403


class ReceivedContainerError(ReceivedError):
    """A failure with a 5xx code: the handler, its process or its container failed."""


class ServiceNotFound(IonError):
    """No queue of that name exists in this system."""

    default_code = 404


class ProcessNotFound(ServiceNotFound):
    """The container lives, but has no process of that id (any more)."""


class CallCycle(IonError):
    """A call that would wait on itself for ever; ``details["cycle"]`` names who waits on whom."""

    default_code = 508


class Refused(IonError):
    """The other side refused the request; the message is its reason."""

    default_code = 403


class DeadlineExceeded(IonError, TimeoutError):
    """No answer within the deadline."""

    default_code = 504


class StoreError(IonError):
    """A store cannot do what was asked. An engine that is away is :class:`Unavailable`."""


class Conflict(StoreError):
    """What was to be replaced is not what was expected: somebody else has written since.

    ``details`` holds what is there now, as far as it is known (``key``, ``revision``).
    """

    default_code = 409


class NotFound(StoreError):
    """There is nothing of that key, hash or name, where something must be."""

    default_code = 404


class InvalidRequest(StoreError):
    """A key, value, query or attribute that the store cannot take; nothing was done."""

    default_code = 400


class Damaged(StoreError):
    """What is kept cannot be read, or is not what its hash says; nothing was changed."""


class NewerSchema(StoreError):
    """The data was written by a newer release of ION, and is left as it is."""


class Unavailable(IonError):
    """Broker or store away, load shed, or a queue that nobody consumed until the deadline."""

    default_code = 503


class Unroutable(Unavailable):
    """A mandatory message that no queue took."""


# Failures that the runtime itself answers keep their class on the way back. A handler's own
# errors never do: a handler whose callee was not found is a failing handler (500) to its caller.
_RUNTIME_FAILURES: dict[tuple[int, str], type[IonError]] = {
    (cls.default_code, cls.__name__): cls
    for cls in (
        BadRequest,
        ConversationError,
        Cancelled,
        OpNotFound,
        CallCycle,
        ProcessNotFound,
        Refused,
        Unauthorized,
        Forbidden,
        DeadlineExceeded,
        Unavailable,
        ContentTooLarge,
        UnsupportedContentType,
    )
}


def received(content: Any, code: Any = None) -> IonError:
    """Return the error that a failure's ``content`` stands for.

    Tolerant of foreign senders: content that is no map becomes the message.

    :param code: for content that has none, such as that of a header; without one it is a 500.
    """
    if not isinstance(content, Mapping):
        content = {"message": str(content)}
    is_code = isinstance(code, int) and 400 <= code < 600  # noqa: PLR2004
    said = content.get("code")
    code = said if isinstance(said, int) else code if is_code else 500
    type_ = str(content.get("type") or "Failure")
    details = content.get("details")
    cls = _RUNTIME_FAILURES.get((code, type_))
    if cls is None:
        is_application = 400 <= code < 500  # noqa: PLR2004
        cls = ReceivedApplicationError if is_application else ReceivedContainerError
    return cls(
        str(content.get("message", "")),
        code=code,
        type=type_,
        details=details if isinstance(details, Mapping) else None,
    )
