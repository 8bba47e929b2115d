"""The registry's errors on their way; see :mod:`ion.process.storeerrors`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from ion.base.errors import ApplicationError, ReceivedError, Unavailable
from ion.process import storeerrors
from ion.process.contention import Contended
from ion.services.resource_registry.lifecycle import IllegalStep


class _Answering:
    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: object
    ) -> None:
        if error is None or isinstance(error, Contended):  # then the op is to run again
            return
        if isinstance(error, IllegalStep):
            raise _answer(error) from error
        with storeerrors.answering():
            raise error


_answering = _Answering()


def answering() -> AbstractContextManager[None]:
    """Let an op answer with what the caller got wrong, or came too late for.

    :raises ApplicationError: with code, type, message and details of the error.
    """
    return _answering


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
