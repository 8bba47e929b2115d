"""Pausing: a process begins nothing, while messages that came again are moved to the ladder.

What kills the OS process in the middle of that doubles what is being moved: the broker has the
copies already, and delivers the messages once more. Where many are moved, and one beside them kills
each process that begins it, they would become ever more.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Protocol

from ion.base import lifecycle
from ion.process.redelivery.republishing import Republisher


class Pausable(Protocol):
    """A process, as it is seen here."""

    concurrency: int
    _state: str
    _active: int
    _draining: bool
    _held: bool
    _idle: asyncio.Future[None] | None

    @property
    def waiting(self) -> int:
        """How many messages wait in the mailbox."""

    def _begin_next(self) -> None:
        """Begin what waits."""


def pause(process: Pausable, republisher: Republisher) -> None:
    """Let ``process`` begin nothing more until all is moved; nothing where nothing is.

    All its hands count as full meanwhile, so that the path of other messages needs no look at this.
    """
    if republisher.moving and not process._held:
        process._held = True
        process._active += process.concurrency
        republisher.when_still(functools.partial(_let_go, process))


def _let_go(process: Pausable) -> None:
    process._held = False
    process._active -= process.concurrency
    if process._state == lifecycle.ACTIVE and process.waiting and not process._draining:
        process._begin_next()
    elif not process._active and process._idle is not None and not process._idle.done():
        process._idle.set_result(None)
