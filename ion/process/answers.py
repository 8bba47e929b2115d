"""Answers that the broker may not have got: kept, so that nothing is handled twice for them.

When a connection is lost between an answer and its confirm, the broker delivers the request again.
What is kept here answers it then, and is sent at once when the connection is back, for the case
that the broker has lost the request.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

from ion.base.errors import IonError
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Transport, TransportState

log = logging.getLogger(__name__)
MAX_KEPT = 10_000
MAX_BYTES = 64 << 20
Key = tuple[str, Any]


class Answers:
    """Unconfirmed answers by (reply queue, conversation id); the oldest go where there are many."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._kept: OrderedDict[Key, Envelope] = OrderedDict()
        self._bytes = 0
        transport.on_state(self._on_state)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Key, answer: Envelope) -> None:
        """Keep an answer that was not confirmed."""
        self.forget(key)
        self._kept[key] = answer
        self._bytes += len(answer.body)
        while self._kept and (len(self._kept) > MAX_KEPT or self._bytes > MAX_BYTES):
            self.forget(next(iter(self._kept)))

    def find(self, key: Key) -> Envelope | None:
        """Return the answer to a request that comes again, or None."""
        return self._kept.get(key)

    def forget(self, key: Key) -> None:
        """Forget the answer to ``key``, where there is one."""
        answer = self._kept.pop(key, None)
        if answer is not None:
            self._bytes -= len(answer.body)

    def _on_state(self, state: TransportState) -> None:
        if state is TransportState.CONNECTED:
            for (reply_to, _), answer in list(self._kept.items()):
                self._send(reply_to, answer)

    def _send(self, reply_to: str, answer: Envelope) -> None:
        try:
            self._transport.publish("", reply_to, answer, settled=_no_matter)
        except IonError as error:
            log.debug("answer not sent again: %s", error)


def _no_matter(error: IonError | None) -> None:
    """Take the outcome: the answer stays kept for the request, which may come again."""
