"""Conditions of a query as they come in messages: maps, which any language can write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ion.base.errors import InvalidRequest
from ion.stores.query import Predicate

Where = Predicate | Mapping[str, Any]
_OPS = ("EQ", "NE", "LT", "LE", "GT", "GE")
_EXAMPLES = (
    '{"kind": "ctd", "depth": {"GT": 100}}, or a tree as '
    '{"is": "compare", "name": "depth", "op": "GT", "value": 100}'
)


class _Asked(msgspec.Struct):
    """Holds a predicate: msgspec keeps how a struct is read, and makes it anew for a bare union."""

    where: Predicate


def predicate_of(where: Any) -> Predicate | None:
    """Return the predicate that comes from elsewhere; None: everything.

    It is one, as it travels: a map with ``is``. Any other map is short for all of it being true,
    attribute by attribute: a value is equal; a list holds it; None says that it is absent; a map
    has comparisons (``EQ``, ``NE``, ``LT``, ``LE``, ``GT``, ``GE``, ``PREFIX``) and their values.

    :raises InvalidRequest: it is neither; the message has an example.
    """
    if where is None:
        return None
    if where.__class__ is not dict and isinstance(where, Predicate):
        return where
    try:
        if isinstance(where, Mapping) and "is" not in where:
            terms = [term for name in where for term in _terms(name, where[name])]
            where = terms[0] if len(terms) == 1 else {"is": "and", "terms": terms}
        return msgspec.convert({"where": where}, _Asked).where
    except msgspec.ValidationError as error:
        message = f"{error}; where is a map as {_EXAMPLES}"
        raise InvalidRequest(message) from None


def _terms(name: Any, value: Any) -> Iterator[dict[str, Any]]:
    """Iterate what is said of one attribute, as it travels."""
    if value is None:
        yield {"is": "absent", "name": name}
    elif isinstance(value, list | tuple):
        yield {"is": "in", "name": name, "values": value}
    elif isinstance(value, Mapping):
        yield from [_comparison(name, *each) for each in (value or {None: None}).items()]
    else:
        yield {"is": "compare", "name": name, "op": "EQ", "value": value}


def _comparison(name: Any, op: Any, value: Any) -> dict[str, Any]:
    if op == "PREFIX":
        return {"is": "prefix", "name": name, "text": value}
    if op in _OPS:
        return {"is": "compare", "name": name, "op": op, "value": value}
    message = (
        f"{name!r:.80} is compared by {', '.join(_OPS)} or PREFIX, not by {op!r:.80}; where is a "
        f"map as {_EXAMPLES}"
    )
    raise InvalidRequest(message)
