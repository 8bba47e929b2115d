"""Notes about messages that are not here: short, bounded, the oldest forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

MAX_KEPT = 10_000
MAX_UNBEGUN = 65_535  # as many as a consumer may be handed


class Notes(OrderedDict[Any, None]):
    """The latest of them, by (reply queue, conversation id).

    Two kinds: a cancel that came before its request, which must not begin then; and a message that
    a lost connection took back before it was begun, so that its coming again counts for nothing.

    :param limit: how many are kept.
    """

    def __init__(self, limit: int = MAX_KEPT) -> None:
        super().__init__()
        self.limit = limit

    def keep(self, key: Any) -> None:
        """Note a message; where there are too many, the oldest note goes."""
        self[key] = None
        if len(self) > self.limit:
            self.popitem(last=False)

    def take(self, key: Any) -> bool:
        """Return whether there is a note about a message that has come now, and drop the note."""
        if key not in self:
            return False
        del self[key]
        return True
