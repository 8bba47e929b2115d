"""Who owns what, as far as it is known here: what ownership is decided from, without I/O.

Contract: bounded both ways. What is not known is noted as wanted, so that somebody can look it up
for the next time; until then it is not known, and the decision fails closed.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_OWNERS = 100_000
MAX_WANTED = 1_000
MAX_NAME = 1_024  # characters of a resource that is looked up


class Owners:
    """Resources and their owners; the least recently asked for are forgotten first."""

    def __init__(self, limit: int = MAX_OWNERS) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()
        self._wanted: dict[str, None] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._known)

    def of(self, resource: str) -> str | None:
        """Return who owns a resource, or None: then it is wanted."""
        owner = self._known.get(resource)
        if owner is not None:
            self._known.move_to_end(resource)
        elif len(self._wanted) < MAX_WANTED and len(resource) <= MAX_NAME:
            self._wanted[resource] = None
        return owner

    def learn(self, resource: str, owner: str) -> None:
        """Take note of who owns a resource."""
        self._known[resource] = owner
        self._known.move_to_end(resource)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, resource: str) -> None:
        """Know nothing of a resource any more: it has changed."""
        self._known.pop(resource, None)

    def clear(self) -> None:
        """Know nothing: changes may have been missed."""
        self._known.clear()

    def wanted(self) -> list[str]:
        """Return what was asked for and is not known; each is told once."""
        wanted = list(self._wanted)
        self._wanted.clear()
        return wanted
