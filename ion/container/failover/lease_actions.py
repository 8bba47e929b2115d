"""The words of a lease: what is written into its queue, and what its core wants done."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

OVER = ("stopped", "failed")  # states in which nobody is to start it

State = Literal["held", "free", "stopped", "failed", "bid", "mark"]


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message of a lease's queue.

    :ivar number: the fencing token; 0: it is none.
    :ivar state: ``held``; ``free``, handed over; ``stopped``, to be started by nobody; ``failed``,
        likewise, as it did nowhere run; ``bid``, a wish to have it started; ``mark``, to see how
        far the queue was read.
    :ivar holder: who wrote it: a container and what tells it from another of its name.
    :ivar mark: unique for this message.
    :ivar since: when it was taken, seconds since 1970.
    :ivar record: what to start; for others.
    :ivar grace: seconds.
    :ivar attempts: how often in a row it may fail.
    :ivar failed: how often it did in a row.
    :ivar vanished: how many holders in a row have vanished in vain.
    :ivar error: why it failed last, for people.
    :ivar unripe: it was given away before the grace of the holder before was over.
    """

    number: int
    state: State
    holder: str
    mark: str
    since: float = 0.0
    record: dict[str, Any] = {}
    grace: float = 2.0
    attempts: int = 5
    failed: int = 0
    vanished: int = 0
    error: str = ""
    unripe: bool = False

    @property
    def container(self) -> str:
        """The container that wrote it."""
        return self.holder.partition("/")[0]


class Publish(msgspec.Struct, frozen=True):
    """Write a message into the queue.

    :ivar lasting: it is to outlive the broker; tell the core when the broker has it.
    """

    token: Token
    lasting: bool


class Settle(msgspec.Struct, frozen=True):
    """Take messages off the queue; or, with ``back``, give them back to it."""

    tags: tuple[Any, ...]
    back: bool = False


class Begin(msgspec.Struct, frozen=True):
    """This container holds the lease from now on: start what it is for.

    :ivar adopted: another container ran it before.
    """

    token: Token
    adopted: bool


class End(msgspec.Struct, frozen=True):
    """This container does not hold it any more: stop, before anything else."""

    why: str


class Answer(msgspec.Struct, frozen=True):
    """Tell the others that it is held here: one of them asks."""


class Leave(msgspec.Struct, frozen=True):
    """Stop consuming; then write ``last`` and take off what it stands for.

    :ivar last: what the next one finds.
    :ivar tags: messages that it stands for.
    :ivar rest: those that it does not: they go back.
    """

    last: Token
    tags: tuple[Any, ...]
    rest: tuple[Any, ...]


Action = Publish | Settle | Begin | End | Answer | Leave
