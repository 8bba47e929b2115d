"""Answers to messages that were done, but could not be taken off their queue.

When a connection is lost between an answer and its confirm, or before the ack, the broker delivers
the message again. What is kept here answers it then, so that its handler does not run twice for
nothing. It is also sent at once when the connection is back, for the case that the broker has lost
the request, or given it to somebody else.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ion.base.errors import IonError
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Transport, TransportState

log = logging.getLogger(__name__)
MAX_KEPT = 10_000
MAX_BYTES = 64 << 20
MAX_AGE = 300.0  # seconds: as long as the queue for answers outlives its container
DONE = Envelope()  # stands for the answer of a message that nobody awaits an answer to
Key = tuple[str, Any]


class UnackedAnswers:
    """The answers by (reply queue, conversation id), for five minutes; many: the oldest go.

    :param time: tells the time, in seconds.
    """

    def __init__(self, transport: Transport, time: Callable[[], float]) -> None:
        self._transport = transport
        self._time = time
        self._kept: OrderedDict[Key, tuple[Envelope, float]] = OrderedDict()
        self._bytes = 0
        transport.on_state(self._on_state)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Key, answer: Envelope) -> None:
        """Keep the answer to a message that will come again."""
        self.forget(key)
        self._kept[key] = (answer, self._time())
        self._bytes += len(answer.body)
        while len(self._kept) > MAX_KEPT or self._bytes > MAX_BYTES:
            self.forget(next(iter(self._kept)))
        self._drop_old()

    def take(self, key: Key) -> Envelope | None:
        """Return the answer to a message that has come again, and forget it; None: it has none."""
        self._drop_old()
        kept = self._kept.get(key)
        if kept is None:
            return None
        self.forget(key)
        return kept[0]

    def forget(self, key: Key) -> None:
        """Forget the answer to ``key``, where there is one."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept[0].body)

    def _drop_old(self) -> None:
        oldest = self._time() - MAX_AGE
        while self._kept:
            key, (_, since) = next(iter(self._kept.items()))
            if since >= oldest:
                return
            self.forget(key)

    def _on_state(self, state: TransportState) -> None:
        if state is TransportState.CONNECTED:
            self._drop_old()
            for (reply_to, _), (answer, _) in list(self._kept.items()):
                if answer is not DONE:
                    self._send(reply_to, answer)

    def _send(self, reply_to: str, answer: Envelope) -> None:
        try:
            self._transport.publish("", reply_to, answer, settled=_no_matter)
        except IonError as error:
            log.debug("answer not sent again: %s", error)


def _no_matter(error: IonError | None) -> None:
    """Take the outcome: the answer stays kept for the message, which may come again."""
