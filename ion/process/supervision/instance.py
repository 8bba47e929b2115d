"""One start of a supervised child, until its end; and the state that is handed to the next one."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any

from ion.base.errors import IonError, StartError
from ion.messaging import codec
from ion.messaging.envelope import MSGPACK
from ion.process.supervision.exit_reason import End, text_of

log = logging.getLogger(__name__)


class Instance:
    """What a supervisor knows of one start of a child; it guards the process.

    :param id: of the child.
    :param restarts: how often it was started before.
    :param saved: child id -> state that was saved last.
    :param ended: called when it has ended, once it was up.
    :ivar pid: once it is up.
    :ivar has_begun: whether its start has; a task that is cancelled before never runs.
    :ivar is_given_up: whether its start is.
    :ivar is_asked: whether it goes down on request, so that its state is handed over.
    """

    __slots__ = (
        "_ended",
        "_saved",
        "has_begun",
        "id",
        "is_asked",
        "is_given_up",
        "is_up",
        "pid",
        "process",
        "restarts",
        "task",
    )

    def __init__(
        self,
        id: str,
        restarts: int,
        saved: dict[str, bytes],
        ended: Callable[[Instance, End], None],
    ) -> None:
        self.id = id
        self.restarts = restarts
        self._saved = saved
        self._ended = ended
        self.task: asyncio.Task[Any] | None = None
        self.process: Any = None
        self.pid = ""
        self.has_begun = False
        self.is_given_up = False
        self.is_up = False
        self.is_asked = False

    def give_up(self) -> None:
        """Cancel its start, which says so itself."""
        self.is_given_up = True
        if self.task is not None and self.has_begun:
            self.task.cancel()

    def begins(self, process: Any) -> None:
        """Give it the state that was saved last; where it does not take it, that is dropped.

        :raises StartError: it did not take it; the next one begins without.
        """
        self.process = process
        process._restarts = self.restarts
        process._keep_state = functools.partial(self._saved.__setitem__, self.id)
        state = self._saved.get(self.id)
        if state is None or not hasattr(process, "set_state"):
            return
        try:
            process.set_state(codec.decode(state, MSGPACK))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            del self._saved[self.id]
            message = f"its state was refused: {text_of(error)}"
            raise StartError(message) from error

    def finishes(self, process: Any) -> None:
        """Take its state where it goes down on request."""
        if not self.is_asked or not hasattr(process, "get_state"):
            return
        try:
            self._saved[self.id] = codec.encode(process.get_state(), MSGPACK)[0]
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the next one does with what was saved before
            what = error.message if isinstance(error, IonError) else error
            log.exception("the state of %r could not be taken: %s", process, what)

    def over(self, process: Any, end: End) -> None:
        """Tell the supervisor; where it was not up yet, its start says so itself."""
        if self.is_up:
            self._ended(self, end)
