"""The registry's errors on their way; see :mod:`ion.process.storeerrors`."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ion.base.errors import ApplicationError, IonError, ReceivedError, Unavailable
from ion.process.storeerrors import Instead, answer_of, raised_by
from ion.services.resource_registry.lifecycle import IllegalStep


def _answer_of(error: BaseException) -> IonError | None:
    return _answer(error) if isinstance(error, IllegalStep) else answer_of(error)


def _at_end(error: BaseException) -> IonError | None:
    return _answer(error) if isinstance(error, Unavailable) else None


def _raised_by(error: BaseException) -> IonError | None:
    if isinstance(error, ReceivedError) and error.type == IllegalStep.__name__:
        return IllegalStep(error.message, details=error.details)
    return raised_by(error)


def _answer(error: IonError) -> ApplicationError:
    return ApplicationError(error.message, code=error.code, type=error.type, details=error.details)


_answering = Instead(_answer_of)
_ending = Instead(_at_end)
_heard = Instead(_raised_by)


def answering() -> AbstractContextManager[None]:
    """Let an op answer with what the caller got wrong, or came too late for.

    :raises ApplicationError: with code, type, message and details of the error.
    """
    return _answering


def ending() -> AbstractContextManager[None]:
    """Let an op answer with the store's being away at the end of a unit of work, too."""
    return _ending


def heard() -> AbstractContextManager[None]:
    """Let a client raise what the registry raised.

    :raises IllegalStep: the resource's state does not allow it.
    :raises StoreError: of the class that its type says.
    """
    return _heard
