"""Exit codes of ``ioncc``, and which error leads to which (a fixed point for scripts)."""

from __future__ import annotations

from ion.base.errors import ConfigurationError, IonError, OpNotFound, ServiceNotFound, Unavailable

OK = 0
FAILED = 1  # a remote error, or a start that failed
USAGE = 2
UNREACHABLE = 3
NOT_FOUND = 4


class NobodyAnswered(Unavailable):
    """The broker is there, but no container of the system answered."""


def code_of(error: IonError) -> int:
    """Return the exit code for an error of a command against a running system."""
    if isinstance(error, ServiceNotFound | OpNotFound):
        return NOT_FOUND
    if isinstance(error, Unavailable):
        return UNREACHABLE
    if isinstance(error, ConfigurationError):
        return USAGE
    return FAILED


def one_line(error: BaseException) -> str:
    """Return what ``error`` says as one line; its class's name where it says nothing."""
    words = " ".join(str(error).split())
    return words or type(error).__name__
