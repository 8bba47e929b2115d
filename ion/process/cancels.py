"""Cancels that came before their request: it may wait in a queue yet, and must not begin then."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

MAX_KEPT = 10_000


class Cancels:
    """The latest cancels without a call, by (reply queue, conversation id)."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Any) -> None:
        """Remember the cancel of a request that has not come; the oldest one is forgotten."""
        self._kept[key] = None
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def take(self, key: Any) -> bool:
        """Return whether a request that has come now was cancelled, and forget the cancel."""
        if key not in self._kept:
            return False
        del self._kept[key]
        return True
