"""A cache of elements, up to a size; what was used last stays."""

from __future__ import annotations

from collections import OrderedDict


class Cache:
    """Elements by their hashes.

    :param most: bytes of all of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    def get(self, name: bytes) -> bytes | None:
        """Return an element, or None."""
        data = self._kept.get(name)
        if data is not None:
            self._kept.move_to_end(name)
        return data

    def put(self, name: bytes, data: bytes) -> None:
        """Keep an element; those that were not used for longest go."""
        if name in self._kept:
            return
        self._kept[name] = data
        self._size += len(data)
        while self._size > self._most:
            self._size -= len(self._kept.popitem(last=False)[1])
