"""The registry's errors on their way; see :mod:`ion.process.storeerrors`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ion.base.errors import ApplicationError, ReceivedError, Unavailable
from ion.process import storeerrors
from ion.process.contention import Contended
from ion.services.resource_registry.lifecycle import IllegalStep


@contextmanager
def answering() -> Iterator[None]:
    """Let an op answer with what the caller got wrong, or came too late for.

    :raises ApplicationError: with code, type, message and details of the error.
    """
    try:
        with storeerrors.answering():
            yield
    except IllegalStep as error:
        raise _answer(error) from error
    except ApplicationError as error:
        if isinstance(error.__cause__, Contended):  # the op is to run again
            raise error.__cause__ from None
        raise


@contextmanager
def ending() -> Iterator[None]:
    """Let an op answer with the store's being away at the end of a unit of work, too."""
    try:
        yield
    except Unavailable as error:
        raise _answer(error) from error


@contextmanager
def heard() -> Iterator[None]:
    """Let a client raise what the registry raised.

    :raises IllegalStep: the resource's state does not allow it.
    :raises StoreError: of the class that its type says.
    """
    try:
        with storeerrors.heard():
            yield
    except ReceivedError as error:
        if error.type != IllegalStep.__name__:
            raise
        raise IllegalStep(error.message, details=error.details) from error


def _answer(error: IllegalStep | Unavailable) -> ApplicationError:
    return ApplicationError(error.message, code=error.code, type=error.type, details=error.details)
