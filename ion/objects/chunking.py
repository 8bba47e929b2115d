"""Where long maps, lists and bytes are cut into elements: by content, so that a change stays local.

A cut comes after an entry whose hash says so, 1 in 32 on average, or where a piece is long enough.
So where the pieces are cut depends on the content alone, not on how it came about; and behind a
change the cuts are soon where they were.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ion.objects.element import Kind, Link, element, encoded, hash_of

INLINE = 1024  # bytes: what is smaller is kept within what it is in
LEAF_BYTES = 32 * 1024
NODE_LINKS = 128
PIECE = 128 * 1024  # bytes of a leaf of bytes
_ONE_IN = 32


class Entry(msgspec.Struct, frozen=True):
    """An entry of a map, or (without a key) an item of a list.

    :ivar value: as it is kept.
    :ivar size: bytes of both as they are written.
    """

    key: str
    value: Any
    size: int

    @property
    def ends(self) -> bool:
        """Whether a leaf ends with it."""
        mark = self.key.encode("utf-8", "surrogatepass") if self.key else encoded(self.value)
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
    return Entry(key, value, len(encoded([key, value])))


def list_item(value: Any) -> Entry:
    """Return an item of a list."""
    return Entry("", value, len(encoded(value)))


def leaves(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Cut entries into leaves."""
    leaf: list[Entry] = []
    size = 0
    for entry in entries:
        leaf.append(entry)
        size += entry.size
        if size >= LEAF_BYTES or entry.ends:
            yield leaf
            leaf, size = [], 0
    if leaf:
        yield leaf


def leaf_of(entries: Sequence[Entry], *, is_map: bool) -> tuple[Ref, bytes]:
    """Return a leaf, and its element."""
    if is_map:
        data = element(Kind.MAP_LEAF, [[entry.key, entry.value] for entry in entries])
    else:
        data = element(Kind.LIST_LEAF, [entry.value for entry in entries])
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
        if len(node) >= NODE_LINKS or (ref.ends and len(node) > 1):
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
    """Return the references of a node."""
    if kind is Kind.MAP_NODE:
        return [Ref(first, count, size, link.hash) for first, count, size, link in body]
    return [Ref("", count, size, link.hash) for count, size, link in body]


def entries_of(kind: Kind, body: Any) -> list[Entry]:
    """Return the entries of a leaf."""
    if kind is Kind.MAP_LEAF:
        return [map_entry(key, value) for key, value in body]
    return [list_item(value) for value in body]
