"""Errors of stores on their way: answered as what they are, and raised as that by the client.

What a handler raises is a 500 as a rule. A service whose business is a store says more: what the
caller got wrong, or came too late for, is the caller's (4xx), and a store that is away is a 503.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from ion.base.errors import (
    ApplicationError,
    Conflict,
    ContentTooLarge,
    Damaged,
    InvalidRequest,
    IonError,
    NewerSchema,
    NotFound,
    ReceivedError,
    StoreError,
    Unavailable,
)
from ion.process.exactly_once.conflict_retry import Contended
from ion.stores.errors import StaleRead

_CALLERS = (Conflict, NotFound, InvalidRequest, ContentTooLarge, Unavailable)
_AGAIN = (Contended, StaleRead)  # no answers yet
_KNOWN: dict[str, type[StoreError]] = {
    cls.__name__: cls for cls in (Conflict, NotFound, InvalidRequest, Damaged, NewerSchema)
}


class Instead:
    """A block that raises another error in place of those that are known to it.

    One is made, and entered again and again: it is on the way of each call.

    :param known: returns what to raise in place of an error; None: the error goes on.
    """

    __slots__ = ("_known",)

    def __init__(self, known: Callable[[BaseException], IonError | None]) -> None:
        self._known = known

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: object
    ) -> None:
        if error is not None and (other := self._known(error)) is not None:
            raise other from error


def answer_of(error: BaseException) -> IonError | None:
    """Return the answer that an error of a store is; None: it is none."""
    if not isinstance(error, _CALLERS) or isinstance(error, _AGAIN):
        return None
    return ApplicationError(error.message, code=error.code, type=error.type, details=error.details)


def raised_by(error: BaseException) -> IonError | None:
    """Return the error of a store that an answer stands for; None: it stands for none."""
    if not isinstance(error, ReceivedError) or error.type not in _KNOWN:
        return None
    return _KNOWN[error.type](error.message, details=error.details)


_answering = Instead(answer_of)
_heard = Instead(raised_by)


def answering() -> AbstractContextManager[None]:
    """Let a handler answer with the errors of the store that it asks.

    A unit of work that met another one is no answer yet: the runtime runs the op again.

    What is wrong with the store itself (``Damaged``, ``NewerSchema``) stays a failure of the
    handler, which is logged there.

    :raises ApplicationError: with code, type, message and details of the store's error.
    """
    return _answering


def heard() -> AbstractContextManager[None]:
    """Let a client raise what the far store raised, as if it were here.

    :raises StoreError: of the class that its type says.
    """
    return _heard
