"""Publisher confirms: which publish the broker has answered. Pure; calls back, does no I/O."""

from __future__ import annotations

import logging

from ion.base.errors import IonError, Unavailable, Unroutable
from ion.messaging.transport import Settled

log = logging.getLogger(__name__)

MAX_PENDING = 100_000

_Pending = tuple[Settled, str, str, bytes, bool]


class Confirms:
    """The publishes of one channel that wait for their confirm.

    A return names no delivery tag. It comes before the confirm of its message, and gives back the
    message's exchange, key and properties: by these the publish is found.

    :ivar last: the tag of the latest publish.
    """

    __slots__ = ("_low", "_pending", "last")

    def __init__(self) -> None:
        self._pending: dict[int, _Pending] = {}
        self._low = 1
        self.last = 0

    def __len__(self) -> int:
        return len(self._pending)

    def add(
        self, settled: Settled, exchange: str, key: str, properties: bytes, *, mandatory: bool
    ) -> None:
        """Take the next publish on."""
        self.last += 1
        self._pending[self.last] = (settled, exchange, key, properties, mandatory)

    def confirmed(self, tag: int, *, multiple: bool, taken: bool) -> None:
        """The broker answered for ``tag``, or for all up to it."""
        pop = self._pending.pop
        tags = range(self._low, tag + 1) if multiple else (tag,)
        if multiple:
            self._low = tag + 1
        for each in tags:
            entry = pop(each, None)
            if entry is not None:
                call(entry[0], None if taken else _not_taken(entry))

    def returned(self, exchange: str, key: str, properties: bytes, text: str) -> None:
        """No queue took a message; the first pending publish that looks like it is told."""
        found = self._find(exchange, key, properties)
        if found is not None:
            entry = self._pending.pop(found)
            where = f"exchange {exchange!r}, " if exchange else ""
            call(entry[0], Unroutable(f"no queue took the message ({where}key {key!r}: {text})"))

    def _find(self, exchange: str, key: str, properties: bytes) -> int | None:
        similar: int | None = None
        for tag, (_, its_exchange, its_key, its_properties, mandatory) in self._pending.items():
            if mandatory and its_key == key and its_exchange == exchange:
                if its_properties == properties:
                    return tag
                similar = tag if similar is None else similar
        return similar

    def fail_all(self, reason: str) -> None:
        """Nothing more will come: everybody who waits is told."""
        pending, self._pending = self._pending, {}
        self._low, self.last = 1, 0
        for entry in pending.values():
            call(entry[0], Unavailable(f"{reason}; the message may or may not have arrived"))


def _not_taken(entry: _Pending) -> IonError:
    return Unavailable(f"the broker refused the message (exchange {entry[1]!r}, key {entry[2]!r})")


def call(settled: Settled, error: IonError | None) -> None:
    """Tell the outcome; what the callback raises is logged."""
    try:
        settled(error)
    except Exception:
        log.exception("a callback for the outcome of a publish failed")
