"""Bounds of what stores take, and the checks that all engines make the same way."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, Literal

from ion.base.errors import ContentTooLarge, InvalidRequest

Kind = Literal["str", "int", "float", "bool"]

MAX_KEY = 1024  # bytes in UTF-8
MAX_VALUE = 64 * 1024 * 1024  # bytes
MAX_BATCH = 10_000  # writes
MAX_BATCH_BYTES = 256 * 1024 * 1024
MAX_PAGE = 10_000  # entries
PAGE_BYTES = 8 * 1024 * 1024  # a page ends with the value that reaches it
MAX_READS = 10_000  # keys that a unit of work reads
MAX_INDICES = 64

_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_TYPES: dict[str, type[Any]] = {"str": str, "int": int, "float": float, "bool": bool}
_VALUES = (bytes, bytearray, memoryview)
_INT64 = 1 << 63
NEVER = -1  # a revision that nothing has

_revision = random.Random()


def new_revision() -> int:
    """Return a number that no other write has: 62 random bits, never 0."""
    return _revision.getrandbits(62) | 1 << 62


def expected_revision(revision: int) -> int:
    """Return a revision that is expected, as a number that all engines know."""
    return revision if 0 <= revision < _INT64 else NEVER


def key_bytes(key: str) -> bytes:
    """Return a key as it is kept.

    :raises InvalidRequest: it is no text, has a lone surrogate that stands for no byte, or is
        empty or too long.
    """
    try:
        data = key.encode("utf-8", "surrogateescape")
    except AttributeError:
        message = f"a key is text, not {type(key).__name__}"
        raise InvalidRequest(message) from None
    except UnicodeEncodeError as error:
        message = f"key {key[:50]!r} cannot be kept: {error.reason} at {error.start}"
        raise InvalidRequest(message) from None
    if not 0 < len(data) <= MAX_KEY:
        message = f"a key has 1 to {MAX_KEY} bytes, this one has {len(data)}: {key[:50]!r}"
        raise InvalidRequest(message)
    return data


def prefix_bytes(prefix: str) -> bytes:
    """Return the prefix of keys; as :func:`key_bytes`, but it may be empty."""
    return key_bytes(prefix) if prefix else b""


def key_text(data: bytes) -> str:
    """Return the key that :func:`key_bytes` made ``data`` of."""
    return data.decode("utf-8", "surrogateescape")


def after_prefix(prefix: bytes) -> bytes | None:
    """Return the least key that is greater than all that begin with ``prefix``; None: none is."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def check_value(value: object, key: str) -> None:
    """Refuse what is no value.

    :raises InvalidRequest: it is no bytes.
    :raises ContentTooLarge: it is over :data:`MAX_VALUE`.
    """
    if not isinstance(value, _VALUES):
        message = f"a value is bytes, not {type(value).__name__} (key {key[:50]!r})"
        raise InvalidRequest(message)
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    if size > MAX_VALUE:
        message = (
            f"the value of {key[:50]!r} has {size} bytes, over the {MAX_VALUE} that a store takes: "
            "keep it as a blob"
        )
        raise ContentTooLarge(message, details={"size": size, "limit": MAX_VALUE})


def check_name(name: str) -> str:
    """Return the name of a store or attribute.

    :raises InvalidRequest: it is none: a lower-case letter, then at most 47 of these, of digits
        and ``_``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        message = (
            f"{name!r} is no name of a store or attribute: "
            "give a lower-case letter, then letters, digits or _, at most 48"
        )
        raise InvalidRequest(message)
    return name


def check_indices(indices: Mapping[str, Kind]) -> dict[str, Kind]:
    """Return declared attributes in the order of their names.

    :raises InvalidRequest: a name is none, a type is unknown, or they are too many.
    """
    if len(indices) > MAX_INDICES:
        message = f"{len(indices)} index attributes are too many: {MAX_INDICES} at most"
        raise InvalidRequest(message)
    for name, kind in indices.items():
        check_name(name)
        if kind not in _TYPES:
            message = f"index attribute {name!r} is of no type {kind!r}: {', '.join(_TYPES)}"
            raise InvalidRequest(message)
    return dict(sorted(indices.items()))


def check_attributes(given: Mapping[str, Any], indices: Mapping[str, str]) -> dict[str, Any]:
    """Return attributes as they are kept: those that are None are left out.

    :raises InvalidRequest: one is not declared, or of another type.
    """
    return {
        name: v
        for name, value in given.items()
        if (v := attribute_value(name, value, indices)) is not None
    }


def attribute_value(name: str, value: Any, indices: Mapping[str, str]) -> Any:
    """Return one attribute's value; an int is a float where a float is declared.

    :raises InvalidRequest: it is not declared, or ``value`` is of another type.
    """
    kind = indices.get(name)
    if kind is None:
        known = ", ".join(indices) or "none"
        message = f"{name!r} is no declared index attribute (declared: {known})"
        raise InvalidRequest(message)
    if value is None:
        return None
    if kind == "float" and type(value) is int:
        value = _float(name, value)
    if type(value) is not _TYPES[kind]:
        message = f"index attribute {name!r} is of type {kind}, not {type(value).__name__}"
        raise InvalidRequest(message)
    if kind == "int" and not -_INT64 <= value < _INT64:
        message = f"index attribute {name!r} is beyond 64 bits: {value}"
        raise InvalidRequest(message)
    if kind == "float" and math.isnan(value):
        message = f"index attribute {name!r} is no number, which has no order"
        raise InvalidRequest(message)
    if kind == "str":
        _check_text(name, value)
    return value


def _float(name: str, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        message = f"index attribute {name!r} is beyond all floats"
        raise InvalidRequest(message) from None


def _check_text(name: str, value: str) -> None:
    """Refuse what not all engines can index."""
    try:
        is_kept = "\0" not in value and len(value.encode()) <= MAX_KEY
    except UnicodeEncodeError:  # a lone surrogate
        is_kept = False
    if not is_kept:
        message = (
            f"index attribute {name!r} cannot be kept: give text of at most {MAX_KEY} bytes in "
            "UTF-8, without the character 0"
        )
        raise InvalidRequest(message)


def check_limit(limit: int) -> int:
    """Return the number of entries of a page.

    :raises InvalidRequest: it is not 1 to :data:`MAX_PAGE`.
    """
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        message = f"a page has 1 to {MAX_PAGE} entries, not {limit!r}"
        raise InvalidRequest(message)
    return limit


def check_many(keys: Sequence[str]) -> None:
    """Refuse to read more keys at a time than a batch may write.

    :raises ContentTooLarge: they are more.
    """
    if len(keys) > MAX_BATCH:
        message = f"{len(keys)} keys are too many to read at a time: {MAX_BATCH} at most"
        raise ContentTooLarge(message)


def check_batch(batch: Sequence[Any]) -> None:
    """Refuse a batch that is too large, or has a key twice.

    :raises InvalidRequest: it has, or one that is none, or a revision that is none.
    :raises ContentTooLarge: it is.
    """
    _check_once({key_bytes(write.key) for write in batch}, len(batch))
    for write in batch:
        _check_becomes(write)
    check_sum(len(batch), sum(write_size(write) for write in batch))


def check_changes(changes: Sequence[Any], reads: Sequence[Any] = ()) -> None:
    """Refuse changes to stores as :func:`check_batch` does a batch, and too many reads.

    :raises InvalidRequest: a key of one store is changed twice, or is none.
    :raises ContentTooLarge: they are too large, or too many.
    """
    keys = {(change.store, key_bytes(change.write.key)) for change in changes}
    _check_once(keys, len(changes))
    for change in changes:
        _check_becomes(change.write)
    check_sum(len(changes), sum(write_size(change.write) for change in changes), len(reads))


def check_sum(writes: int, size: int, reads: int = 0) -> None:
    """Refuse what is too large to be done at once.

    :param size: bytes of values.
    :raises ContentTooLarge: it is.
    """
    if writes > MAX_BATCH or size > MAX_BATCH_BYTES:
        message = (
            f"{writes} writes of {size} bytes are too large to be done at once: "
            f"at most {MAX_BATCH}, and {MAX_BATCH_BYTES} bytes"
        )
        raise ContentTooLarge(message)
    if reads > MAX_READS:
        message = f"a unit of work reads at most {MAX_READS} keys"
        raise ContentTooLarge(message)


def write_size(write: Any) -> int:
    """Return the bytes of the value that a write brings."""
    value = getattr(write, "value", b"")
    try:
        return value.nbytes if isinstance(value, memoryview) else len(value)
    except TypeError:
        return 0  # no value: check_value says so


def _check_becomes(write: Any) -> None:
    becomes = getattr(write, "becomes", None)
    if becomes is not None and not 0 < becomes < _INT64:
        message = f"a revision is a number from 1 to 2^63 - 1, not {becomes}"
        raise InvalidRequest(message)


def _check_once(keys: Set[Any], count: int) -> None:
    if len(keys) < count:
        message = "a batch has each key once"
        raise InvalidRequest(message)


def merged_indices(
    name: str, known: Mapping[str, Kind] | None, declared: Mapping[str, Kind]
) -> dict[str, Kind]:
    """Return the attributes of an index store that is there, with those declared now.

    :param known: None: it is a plain store.
    :raises InvalidRequest: it is a plain store, one is there and of another type, or they are
        too many together.
    """
    if known is None:
        message = f"{name!r} is a plain store: it has no index attributes"
        raise InvalidRequest(message)
    for attribute, kind in declared.items():
        if known.get(attribute, kind) != kind:
            message = (
                f"index attribute {attribute!r} of store {name!r} is of type {known[attribute]} "
                f"already, not {kind}"
            )
            raise InvalidRequest(message)
    return check_indices({**known, **declared})
