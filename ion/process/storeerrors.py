"""Errors of stores on their way: answered as what they are, and raised as that by the client.

What a handler raises is a 500 as a rule. A service whose business is a store says more: what the
caller got wrong, or came too late for, is the caller's (4xx), and a store that is away is a 503.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ion.base.errors import (
    ApplicationError,
    Conflict,
    ContentTooLarge,
    Damaged,
    InvalidRequest,
    NewerSchema,
    NotFound,
    ReceivedError,
    StoreError,
    Unavailable,
)
from ion.process.contention import Contended

_CALLERS = (Conflict, NotFound, InvalidRequest, ContentTooLarge, Unavailable)
_KNOWN: dict[str, type[StoreError]] = {
    cls.__name__: cls for cls in (Conflict, NotFound, InvalidRequest, Damaged, NewerSchema)
}


@contextmanager
def answering() -> Iterator[None]:
    """Let a handler answer with the errors of the store that it asks.

    A unit of work that met another one is no answer yet: the runtime runs the op again.

    What is wrong with the store itself (``Damaged``, ``NewerSchema``) stays a failure of the
    handler, which is logged there.

    :raises ApplicationError: with code, type, message and details of the store's error.
    """
    try:
        yield
    except Contended:
        raise
    except _CALLERS as error:
        raise ApplicationError(
            error.message, code=error.code, type=error.type, details=error.details
        ) from error


@contextmanager
def heard() -> Iterator[None]:
    """Let a client raise what the far store raised, as if it were here.

    :raises StoreError: of the class that its type says.
    """
    try:
        yield
    except ReceivedError as error:
        cls = _KNOWN.get(error.type)
        if cls is None:
            raise
        raise cls(error.message, details=error.details) from error
