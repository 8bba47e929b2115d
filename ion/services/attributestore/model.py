"""What travels to and from the attribute store.

A key travels as text; one that is no UTF-8 (see :mod:`ion.stores.store`) as its bytes. A value is
bytes or text, and comes back as what it was put as.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ion.base.errors import ContentTooLarge, InvalidRequest
from ion.stores.limits import key_bytes, key_text
from ion.stores.ordering import position
from ion.stores.query import Query, cursor_of
from ion.stores.store import Entry, Page, Put, Reindex, Remove, Scalar, Write

IS_TEXT = "value_is_text"  # attribute of our own: the value was put as text
ROW = 128  # bytes that a row takes besides key, value and attributes, at most
_MAX_REVISION = (1 << 63) - 1
Value = bytes | str


class Row(msgspec.Struct, frozen=True):
    """A value as it is kept.

    :ivar key: text, or bytes.
    :ivar value: bytes, or text.
    :ivar index: its attributes; those that are absent are left out.
    """

    key: Any
    value: Any
    revision: int
    index: dict[str, Scalar] = {}


class Rows(msgspec.Struct, frozen=True):
    """Some of many.

    :ivar cursor: gives the next ones; None: these are the last.
    """

    items: list[Row]
    cursor: Any = None


class PutRow(msgspec.Struct, frozen=True, tag="put", tag_field="do"):
    """A put of a batch.

    :ivar revision: of what it replaces (0: nothing); None: of anything.
    :ivar becomes: the revision that it gets; None: one is made.
    """

    key: Any
    value: Any
    index: dict[str, Any] = {}
    revision: int | None = None
    becomes: int | None = None


class RemoveRow(msgspec.Struct, frozen=True, tag="remove", tag_field="do"):
    """A removal of a batch."""

    key: Any
    revision: int | None = None


class ReindexRow(msgspec.Struct, frozen=True, tag="update_index", tag_field="do"):
    """A change of attributes in a batch; None takes one away."""

    key: Any
    index: dict[str, Any]
    revision: int | None = None
    becomes: int | None = None


RowWrite = PutRow | RemoveRow | ReindexRow


def key_of(given: Any) -> str:
    """Return the key that came.

    :raises InvalidRequest: it is neither text nor bytes.
    """
    if isinstance(given, bytes):
        return key_text(given)
    key_bytes(given)
    return str(given)


def prefix_of(given: Any) -> str:
    """Return the prefix of keys that came; as :func:`key_of`, but it may be empty."""
    return key_of(given) if given else ""


def travelling(key: str) -> str | bytes:
    """Return a key as it travels.

    :raises InvalidRequest: it is none.
    """
    try:
        key.encode()
    except (AttributeError, UnicodeEncodeError):
        return key_bytes(key)
    return key


def value_of(entry: Entry) -> Value:
    """Return a value as it was put."""
    return entry.value.decode() if entry.index.get(IS_TEXT) else entry.value


def row_of(entry: Entry) -> Row:
    """Return an entry as it travels."""
    index = {name: value for name, value in entry.index.items() if name != IS_TEXT}
    return Row(travelling(entry.key), value_of(entry), entry.revision, index)


def write_of(row: RowWrite) -> Write:
    """Return the write that came.

    :raises InvalidRequest: its key, value, or revision is none, or an attribute is ours.
    """
    match row:
        case PutRow(key, value, index, revision, becomes):
            data = _data(value)
            attributes = {**_own(index), IS_TEXT: True if isinstance(value, str) else None}
            return Put(key_of(key), data, revision, attributes, _revision(becomes))
        case RemoveRow(key, revision):
            return Remove(key_of(key), revision)
        case ReindexRow(key, index, revision, becomes):
            return Reindex(key_of(key), _own(index), revision, _revision(becomes))


def _data(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    message = f"a value is bytes or text, not {type(value).__name__}: encode it first"
    raise InvalidRequest(message)


def _own(index: dict[str, Any]) -> dict[str, Any]:
    if IS_TEXT in index:
        message = f"the attribute {IS_TEXT!r} is the attribute store's own"
        raise InvalidRequest(message)
    return index


def _revision(becomes: int | None) -> int | None:
    if becomes is not None and not 0 < becomes <= _MAX_REVISION:
        message = f"a revision is a number from 1 to 2^63 - 1, not {becomes}"
        raise InvalidRequest(message)
    return becomes


def scanned(page: Page[Entry], most: int) -> Rows:
    """Return a page of a scan, cut to what one answer holds.

    :param most: bytes.
    """
    entries = _fitting(page.items, most)
    if len(entries) < len(page.items):
        return Rows([row_of(each) for each in entries], travelling(entries[-1].key))
    cursor = travelling(page.cursor) if page.cursor is not None else None
    return Rows([row_of(each) for each in entries], cursor)


def found(query: Query, page: Page[Entry], most: int) -> Rows:
    """Return a page of a checked query, cut as :func:`scanned`."""
    entries = _fitting(page.items, most)
    cursor = page.cursor
    if len(entries) < len(page.items):
        cursor = cursor_of(query, position(query, entries[-1]))
    return Rows([row_of(each) for each in entries], cursor)


class Asked:
    """Rows that were asked for together.

    :param most: bytes that one answer holds.
    """

    def __init__(self, most: int) -> None:
        self.rows: list[Row] = []
        self._most = most
        self._size = 0

    def take(self, entry: Entry | None) -> None:
        """Take one of them, where it is there.

        :raises ContentTooLarge: they are more than one answer holds.
        """
        if entry is None:
            return
        self._size += _size(entry)
        if self._size > self._most and self.rows:
            message = f"these values are over the {self._most} bytes of one answer: ask for fewer"
            raise ContentTooLarge(message, details={"limit": self._most})
        self.rows.append(row_of(entry))


def _fitting(entries: Sequence[Entry], most: int) -> Sequence[Entry]:
    size = 0
    for count, entry in enumerate(entries):
        size += _size(entry)
        if size > most and count:
            return entries[:count]
    return entries


def _size(entry: Entry) -> int:
    index = sum(
        len(name) + (4 * len(value) if isinstance(value, str) else 9)
        for name, value in entry.index.items()
    )
    return len(entry.value) + 4 * len(entry.key) + index + ROW
