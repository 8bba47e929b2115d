"""The entries of one store in memory, in the order of their keys; every write can be undone."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping

import msgspec

from ion.stores.errors import conflict
from ion.stores.limits import after_prefix, key_text
from ion.stores.store import ABSENT, Indices, Scalar


class Row(msgspec.Struct, frozen=True):
    """What is kept of a key; never changed, only replaced."""

    value: bytes
    revision: int
    index: Mapping[str, Scalar]


class Table:
    """One store's rows.

    :ivar indices: declared attributes; None: it is no index store.
    """

    def __init__(self, name: str, indices: Indices | None) -> None:
        self.name = name
        self.indices = indices
        self.rows: dict[bytes, Row] = {}
        self._order: list[bytes] = []

    def revision(self, key: bytes) -> int:
        """Return the revision of a key, ``ABSENT`` where there is none."""
        row = self.rows.get(key)
        return row.revision if row is not None else ABSENT

    def check(self, key: bytes, expected: int | None) -> None:
        """Refuse a write that expects another revision.

        :raises Conflict: it does.
        """
        found = self.revision(key)
        if expected is not None and expected != found:
            raise conflict(self.name, key_text(key), expected, found)

    def set(self, key: bytes, row: Row | None) -> Row | None:
        """Put or (None) remove a row; return what was there."""
        before = self.rows.get(key)
        if row is not None:
            if before is None:
                bisect.insort(self._order, key)
            self.rows[key] = row
        elif before is not None:
            del self.rows[key]
            del self._order[bisect.bisect_left(self._order, key)]
        return before

    def clear(self) -> None:
        """Remove all rows."""
        self.rows = {}
        self._order = []

    def keys(self, prefix: bytes, after: bytes | None) -> Iterator[bytes]:
        """Iterate keys with a prefix, greater than ``after``, in order. No writes meanwhile."""
        start = bisect.bisect_left(self._order, prefix)
        if after is not None:
            start = max(start, bisect.bisect_right(self._order, after))
        end = after_prefix(prefix)
        stop = len(self._order) if end is None else bisect.bisect_left(self._order, end)
        for position in range(start, stop):
            yield self._order[position]
