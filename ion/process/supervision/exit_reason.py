"""How a process ends, as those hear it who watch it: data."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from ion.base.errors import IonError

Reason = Literal["normal", "shutdown", "error", "lost", "no such process"]
NORMAL: Reason = "normal"
SHUTDOWN: Reason = "shutdown"
ERROR: Reason = "error"
LOST: Reason = "lost"
NO_SUCH_PROCESS: Reason = "no such process"
MAX_TEXT = 1000  # characters of an error that travel


class End(msgspec.Struct, frozen=True):
    """Why a process has ended.

    :ivar reason: ``normal`` by itself, ``shutdown`` because it was told to, ``error`` it failed.
    :ivar error: for people: why it failed.
    """

    reason: Literal["normal", "shutdown", "error"]
    error: str = ""


ENDED = End("normal")
STOPPED = End("shutdown")


class DownNotice(msgspec.Struct, frozen=True):
    """What the hook ``on_down`` is given: a process that was monitored is no more.

    :ivar pid: of the process.
    :ivar name: of the process; "" where there was none.
    :ivar reason: ``normal`` it has ended by itself, ``shutdown`` it was told to, ``error`` it has
        failed, ``lost`` its container is gone, ``no such process`` it was not there.
    :ivar error: for people: why it failed.
    """

    pid: str
    name: str
    reason: Reason
    error: str = ""


class Guardian(Protocol):
    """Who had a process spawned, and is told what becomes of it."""

    def begins(self, process: Any) -> None:
        """Hear that its ``on_init`` has ended; ``on_activate`` comes next. May raise: its start
        fails.
        """

    def finishes(self, process: Any) -> None:
        """Hear that it handles nothing any more; ``on_terminate`` comes next. Must not raise."""

    def over(self, process: Any, end: End) -> None:
        """Hear, once, that a process that was READY has ended. Must not raise."""


def text_of(error: BaseException | str) -> str:
    """Return what people are told of an error, in a line or a few."""
    if isinstance(error, str):
        text = error
    elif isinstance(error, IonError):
        text = error.message
    else:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    return text[:MAX_TEXT].encode("utf-8", "backslashreplace").decode()


def failed(error: BaseException | str) -> End:
    """Return the end of a process that has failed."""
    return End("error", text_of(error))
