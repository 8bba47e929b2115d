"""What one side of a conversation has sent, until the broker has it: in order, none lost.

What the broker did not confirm, as its connection was lost, is sent again, in its order and before
anything else; the other side knows by its number what it gets twice.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from ion.base.errors import IonError, Unroutable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Settled

PAUSE = 0.05  # seconds before what the broker did not take is sent again


class SendBuffer:
    """Messages on their way.

    :param publish: sends one, and settles it; never raises.
    :param changed: called when there is nothing left, when it goes on after an interruption, and
        when ``lost`` is set.
    :param patient: the other side's queue goes with its connection, and comes back: what nobody
        took is sent again, too, and one is sent after the other, so that none overtakes it.
    :ivar lost: the queue of the other side is gone for good.
    """

    __slots__ = ("_changed", "_loop", "_patient", "_publish", "_timer", "_unsure", "lost")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        publish: Callable[[Envelope, Settled], None],
        changed: Callable[[], None],
        *,
        patient: bool,
    ) -> None:
        self._loop = loop
        self._publish = publish
        self._changed = changed
        self._patient = patient
        self._unsure: dict[int, Envelope] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.lost: IonError | None = None

    def __len__(self) -> int:
        return len(self._unsure)

    @property
    def interrupted(self) -> bool:
        """Whether something is to be sent again before anything else."""
        return self._timer is not None

    def send(self, number: int, envelope: Envelope) -> None:
        """Send a message, now or when those before it are sent."""
        self._unsure[number] = envelope
        if self._timer is None and (not self._patient or len(self._unsure) == 1):
            self._publish(envelope, functools.partial(self._settled, number))

    def close(self) -> None:
        """Send nothing any more."""
        self._unsure.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _settled(self, number: int, error: IonError | None) -> None:
        if number not in self._unsure:
            return
        if error is None:
            del self._unsure[number]
            if not self._unsure:
                self._changed()
            elif self._patient and self._timer is None:
                self._go_on()
        elif isinstance(error, Unroutable) and not self._patient:
            self.lost = error
            self._changed()
        elif self._timer is None:
            self._timer = self._loop.call_later(PAUSE, self._mend)

    def _mend(self) -> None:
        self._timer = None
        self._go_on()
        if self._timer is None:
            self._changed()

    def _go_on(self) -> None:
        for number, envelope in list(self._unsure.items()):
            self._publish(envelope, functools.partial(self._settled, number))
            if self._patient or self._timer is not None:
                return
