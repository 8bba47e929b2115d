"""What a supervisor is to do; each is begun without waiting for the one before to be over."""

from __future__ import annotations

from typing import Literal

import msgspec


class Start(msgspec.Struct, frozen=True):
    """Start the child; tell :meth:`Supervision.started` or :meth:`Supervision.start_failed`."""

    id: str


class Terminate(msgspec.Struct, frozen=True):
    """End the child, or give its start up; kill it after ``budget`` seconds (None: the container's
    drain_timeout). Tell :meth:`Supervision.stopped`, whatever it took.
    """

    id: str
    budget: float | None


class Wait(msgspec.Struct, frozen=True):
    """Tell :meth:`Supervision.woken` at ``until``; it takes the place of any Wait before."""

    until: float


class Ready(msgspec.Struct, frozen=True):
    """All children have come up, for the first time: the start of the supervisor is complete."""


class Forget(msgspec.Struct, frozen=True):
    """The child is down for good, and not known any more."""

    id: str


class Finished(msgspec.Struct, frozen=True):
    """All children are down, as was meant: ``stopped`` on request or ``shutdown`` by themselves.

    Nothing follows.
    """

    reason: Literal["stopped", "shutdown"]


class Escalate(msgspec.Struct, frozen=True):
    """All children are down, because the supervisor has failed, for the ``reason`` (for people).

    Nothing follows. Before Ready its start has failed.
    """

    reason: str


Action = Start | Terminate | Wait | Ready | Forget | Finished | Escalate
