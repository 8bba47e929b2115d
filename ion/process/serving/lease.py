"""The lease that a process of a failover app runs under, as the process sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ion.messaging.transport import Delivery
from ion.process.serving import incoming
from ion.process.serving.source import Source


class HeldLease:
    """The lease that an app runs under: ``self.lease`` of its processes.

    :ivar token: the fencing token: greater than that of whoever held the lease before. Give it to
        what is written to (a store, an instrument), and let that refuse smaller ones.
    """

    __slots__ = ("_holds", "_lapse", "token")

    def __init__(self, token: int, holds: Callable[[], bool], lapse: Callable[[], None]) -> None:
        self.token = token
        self._holds = holds
        self._lapse = lapse

    @property
    def held(self) -> bool:
        """Whether nobody else can hold the lease at this moment, as far as can be known here.

        It looks at the clock, and costs next to nothing: ask before each step that must not be
        done twice. A process that was suspended finds false here when it goes on.
        """
        return self._holds()

    def guard(self, process: Any) -> None:
        """Let a process take no message while the lease is not held; to be called before it serves.

        Nothing is asked of processes without a lease.
        """
        take = process.take

        def guarded(source: Source, delivery: Delivery) -> None:
            if not self._holds():
                self._lapse()  # which ends the process: what it is given goes back
            take(source, delivery)

        vars(process)["take"] = guarded


# The lease under which processes are spawned that have no parent; set while an app starts.
current_lease: ContextVar[HeldLease | None] = ContextVar("current_lease", default=None)


def silence(process: Any) -> None:
    """Cancel all that a process does, now; its end is somebody else's to begin.

    What it was given by a connection that is lost, others get: nothing is answered. All other calls
    are answered that it was terminated.
    """
    process._draining = True
    if process._tasks is not None:
        process._tasks.cancel()
    for call in process._begun():
        if call.task is not None:
            call.cancel(incoming.ABANDONED if call.delivery.lost else incoming.TERMINATED)
