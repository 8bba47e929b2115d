"""An exchange: which queues a message with a routing key goes to."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from ion.messaging.transport import ExchangeSpec

if TYPE_CHECKING:
    from ion.messaging.memory.queue import Queue

Words: TypeAlias = tuple[str, ...]
Bindings: TypeAlias = "dict[str, dict[Queue, None]]"


class Exchange:
    """One exchange and its bindings.

    :ivar spec: as it was declared.
    :ivar was_bound: whether it ever had a binding (an auto-delete one goes with its last).
    """

    __slots__ = ("_exact", "_patterns", "spec", "was_bound")

    def __init__(self, spec: ExchangeSpec) -> None:
        self.spec = spec
        self.was_bound = False
        self._exact: Bindings = {}
        self._patterns: Bindings = {}

    def bind(self, queue: Queue, key: str) -> None:
        """Bind; a binding that is there already is not made twice."""
        self.was_bound = True
        self._table(key).setdefault(key, {})[queue] = None

    def has(self, queue: Queue, key: str) -> bool:
        """Tell whether there is such a binding."""
        return queue in self._table(key).get(key, {})

    def unbind(self, queue: Queue, key: str) -> bool:
        """Take a binding away; tell whether it was there."""
        table = self._table(key)
        queues = table.get(key, {})
        if queue not in queues:
            return False
        del queues[queue]
        if not queues:
            del table[key]
        return True

    def forget(self, queue: Queue) -> bool:
        """Take all bindings of a queue away; tell whether there were any."""
        gone = [key for key in [*self._exact, *self._patterns] if self.unbind(queue, key)]
        return bool(gone)

    @property
    def bound(self) -> bool:
        """Whether it has bindings."""
        return bool(self._exact or self._patterns)

    def route(self, key: str) -> list[Queue]:
        """Return the queues for a message with this routing key, each once."""
        if self.spec.kind == "fanout":
            return list(dict.fromkeys(q for queues in self._exact.values() for q in queues))
        found = dict(self._exact.get(key, {}))
        if self._patterns:
            split = words(key)
            for pattern, queues in self._patterns.items():
                if matches(words(pattern), split):
                    found.update(queues)
        return list(found)

    def _table(self, key: str) -> Bindings:
        is_pattern = self.spec.kind == "topic" and not {"*", "#"}.isdisjoint(words(key))
        return self._patterns if is_pattern else self._exact


@lru_cache(maxsize=4096)
def words(key: str) -> Words:
    """Return the words of a routing key; an empty key has none."""
    return tuple(key.split(".")) if key else ()


def matches(pattern: Words, key: Words) -> bool:
    """Tell whether a topic pattern matches: ``*`` is one word, ``#`` any number of words."""
    at, kept, retry = 0, -1, 0
    index = 0
    while index < len(key):
        word = pattern[at] if at < len(pattern) else None
        if word == "#":
            kept, retry = at, index  # try with none first; come back here to take one word more
            at += 1
        elif word is not None and word in {"*", key[index]}:
            at += 1
            index += 1
        elif kept >= 0:
            retry += 1
            at, index = kept + 1, retry
        else:
            return False
    return all(word == "#" for word in pattern[at:])
