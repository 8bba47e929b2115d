"""Where long maps, lists and bytes are cut into elements: by content, so that a change stays local.

A cut comes after an entry whose hash says so, 1 in 32 on average, where the piece is not too short
for it, or where the piece is long enough. So where the pieces are cut depends on the content alone,
not on how it came about; and behind a change the cuts are soon where they were.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ion.base.errors import Damaged
from ion.objects.element import Kind, Link, element, encoded, hash_of, joined

INLINE = 1024  # bytes: what is smaller is kept within what it is in
LEAF_BYTES = 32 * 1024
LEAF_LEAST = 256  # bytes: no cut before, or equal items would be a leaf each
NODE_LINKS = 128
NODE_LEAST = 8
PIECE = 128 * 1024  # bytes of a leaf of bytes
_ONE_IN = 32


class Entry:
    """An entry of a map, or (without a key) an item of a list.

    :ivar value: as it is kept.
    """

    __slots__ = ("_data", "_is_item", "key", "value")

    def __init__(
        self, key: str, value: Any, data: bytes | None = None, *, is_item: bool = False
    ) -> None:
        self.key = key
        self.value = value
        self._data = data
        self._is_item = is_item

    @property
    def data(self) -> bytes:
        """Both as they are written; done once."""
        if self._data is None:
            self._data = encoded(self.value if self._is_item else [self.key, self.value])
        return self._data

    @property
    def size(self) -> int:
        """Bytes of these."""
        return len(self.data)

    @property
    def ends(self) -> bool:
        """Whether a leaf ends with it."""
        mark = self.data if self._is_item else self.key.encode("utf-8", "surrogatepass")
        return zlib.crc32(mark) % _ONE_IN == 0


class Ref(msgspec.Struct, frozen=True):
    """A leaf or node, as the node above knows it.

    :ivar first: its first key; "" in lists.
    :ivar count: entries below it.
    :ivar size: bytes of these.
    """

    first: str
    count: int
    size: int
    hash: bytes

    @property
    def ends(self) -> bool:
        """Whether a node ends with it."""
        return self.hash[-1] % _ONE_IN == 0


def map_entry(key: str, value: Any) -> Entry:
    """Return an entry of a map."""
    return Entry(key, value, encoded([key, value]))


def list_item(value: Any) -> Entry:
    """Return an item of a list."""
    return Entry("", value, encoded(value), is_item=True)


def leaves(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Cut entries into leaves."""
    leaf: list[Entry] = []
    size = 0
    for entry in entries:
        leaf.append(entry)
        size += entry.size
        if is_cut(size, entry):
            yield leaf
            leaf, size = [], 0
    if leaf:
        yield leaf


def is_cut(size: int, last: Entry) -> bool:
    """Return whether a leaf of ``size`` bytes ends with an entry, whatever comes after it."""
    return size >= LEAF_BYTES or (size >= LEAF_LEAST and last.ends)


def leaf_of(entries: Sequence[Entry], *, is_map: bool) -> tuple[Ref, bytes]:
    """Return a leaf, and its element."""
    kind = Kind.MAP_LEAF if is_map else Kind.LIST_LEAF
    data = joined(kind, (entry.data for entry in entries))
    size = sum(entry.size for entry in entries)
    return Ref(entries[0].key, len(entries), size, hash_of(data)), data


def nodes(refs: Sequence[Ref]) -> Iterator[list[Ref]]:
    """Cut references into nodes; there is one, or fewer nodes than references."""
    if len(refs) <= NODE_LINKS // 4:
        yield list(refs)
        return
    node: list[Ref] = []
    for ref in refs:
        node.append(ref)
        if len(node) >= NODE_LINKS or (ref.ends and len(node) >= NODE_LEAST):
            yield node
            node = []
    if node:
        yield node


def node_of(refs: Sequence[Ref], *, is_map: bool) -> tuple[Ref, bytes]:
    """Return a node over references, and its element."""
    if is_map:
        rows = [[ref.first, ref.count, ref.size, Link(ref.hash)] for ref in refs]
        data = element(Kind.MAP_NODE, rows)
    else:
        data = element(Kind.LIST_NODE, [[r.count, r.size, Link(r.hash)] for r in refs])
    count, size = sum(ref.count for ref in refs), sum(ref.size for ref in refs)
    return Ref(refs[0].first, count, size, hash_of(data)), data


def refs_of(kind: Kind, body: Any) -> list[Ref]:
    """Return the references of a node.

    :raises Damaged: it has none, or what is none.
    """
    try:
        if kind is Kind.MAP_NODE:
            refs = [Ref(first, count, size, link.hash) for first, count, size, link in body]
        else:
            refs = [Ref("", count, size, link.hash) for count, size, link in body]
    except (TypeError, ValueError, AttributeError) as error:
        raise _malformed(kind) from error
    if not refs or not all(type(r.first) is str and type(r.count) is int for r in refs):
        raise _malformed(kind)
    return refs


def entries_of(kind: Kind, body: Any) -> list[Entry]:
    """Return the entries of a leaf.

    :raises Damaged: it is none, or has what is none.
    """
    if kind not in (Kind.MAP_LEAF, Kind.LIST_LEAF) or not isinstance(body, list):
        raise _malformed(kind)
    if kind is Kind.LIST_LEAF:
        return [Entry("", value, is_item=True) for value in body]
    try:
        entries = [Entry(key, value) for key, value in body]
    except (TypeError, ValueError) as error:
        raise _malformed(kind) from error
    if not all(type(entry.key) is str for entry in entries):
        raise _malformed(kind)
    return entries


def _malformed(kind: Kind) -> Damaged:
    return Damaged(f"an element is no {kind.name.lower()} although it says so, or of another kind")
