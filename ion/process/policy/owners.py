"""Who owns what, as far as it is known here: what ownership is decided from, without I/O.

Contract: bounded both ways. What is not known is noted as wanted, so that somebody can look it up
for the next time; until then it is not known, and the decision fails closed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

MAX_OWNERS = 100_000
MAX_WANTED = 1_000
MAX_NAME = 1_024  # characters of a resource that is looked up


class Owners:
    """Resources and their owners; the least recently asked for are forgotten first.

    :ivar on_wanted: called where something is wanted that is not known; must not raise.
    """

    on_wanted: Callable[[], None] | None = None

    def __init__(self, limit: int = MAX_OWNERS) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()
        self._wanted: dict[str, None] = {}
        self._limit = limit
        self._changes = 0
        self._floor = 0
        self._doubts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, resource: str) -> str | None:
        """Return who owns a resource, or None: then it is wanted."""
        owner = self._known.get(resource)
        if owner is not None:
            self._known.move_to_end(resource)
        else:
            self.want(resource)
        return owner

    @property
    def is_full(self) -> bool:
        """Whether no more can be known without forgetting something."""
        return len(self._known) >= self._limit

    def want(self, resource: str) -> None:
        """Have somebody look up who owns a resource."""
        if len(self._wanted) < MAX_WANTED and len(resource) <= MAX_NAME:
            self._wanted[resource] = None
            if self.on_wanted is not None:
                self.on_wanted()

    @property
    def mark(self) -> int:
        """What tells now from later; see :meth:`learn`."""
        return self._changes

    def learn(self, resource: str, owner: str, since: int) -> None:
        """Take note of who owns a resource.

        :param since: the mark when that was asked for; what was doubted later is not believed.
        """
        if len(resource) > MAX_NAME:
            return
        if self._doubts.get(resource, self._floor) > since:
            self.want(resource)
            return
        self._known[resource] = owner
        self._known.move_to_end(resource)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def doubt(self, resource: str) -> None:
        """Know nothing of a resource any more, as it has changed; where it was known, want it."""
        if len(resource) > MAX_NAME:
            return  # never known
        self._changes += 1
        if len(self._doubts) >= MAX_WANTED:
            self._doubts.clear()
            self._floor = self._changes  # whatever was asked for until now is not believed
        self._doubts[resource] = self._changes
        if self._known.pop(resource, None) is not None:
            self.want(resource)

    def clear(self) -> None:
        """Know nothing: changes may have been missed."""
        self._changes += 1
        self._floor = self._changes
        self._doubts.clear()
        self._known.clear()

    def wanted(self, limit: int) -> list[str]:
        """Return some of what was asked for and is not known; each is told once."""
        wanted = list(islice(self._wanted, limit))
        for resource in wanted:
            del self._wanted[resource]
        return wanted
