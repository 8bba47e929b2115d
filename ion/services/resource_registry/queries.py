"""How resources are found: what is asked for as a query of the store, and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ion.base.errors import InvalidRequest, IonError
from ion.services.resource_registry import stores
from ion.services.resource_registry.lifecycle import AVAILABILITIES, DELETED, MATURITIES, RETIRED
from ion.services.resource_registry.model import Found, Packed
from ion.services.resource_registry.stores import RegistryStores, resource_in
from ion.stores.ordering import position
from ion.stores.prepared import Prepares
from ion.stores.query import And, Compare, Not, Or, Predicate, Query, checked, cursor_of

MOST = 1000  # resources of one answer
_DELETED = Compare("maturity", "NE", DELETED)
_PRESENT = (Compare("maturity", "NE", RETIRED), _DELETED)
_AFTER_PATHS = "0"  # the character after the one that they end with
_PATHS = 1000
_FINDERS = 256
_FEW = 16  # an array of less has a head of one byte
_HEADS = [bytes([0x90 | count]) for count in range(_FEW)]


def within(path: str) -> tuple[Compare, Compare]:
    """Return what is true of a type and all below it, for the store to find them by."""
    return Compare("path", "GE", path), Compare("path", "LT", path[:-1] + _AFTER_PATHS)


@lru_cache(_PATHS)
def _filtered(path: str) -> Not:
    """Return the same, for the store to look at where it finds by something else.

    Engines take a range of two ends for narrow, as long as they do not know which: SQLite would
    rather go through all of a type and sort them, PostgreSQL put it beside the other index.
    """
    return Not(Or((Compare("path", "LT", path), Compare("path", "GE", path[:-1] + _AFTER_PATHS))))


def wanted(
    path: str | None,
    where: Predicate | None,
    name: str | None,
    owner: str | None,
    state: str | Sequence[str] | None,
    retired: bool,
    below: bool,
    *,
    is_ordered: bool = False,
) -> And:
    """Return the predicate of what is asked for; see ``op_find``.

    :param path: of the type that is asked for.
    :param is_ordered: by an attribute.
    :raises InvalidRequest: there is no such state.
    """
    terms: list[Predicate] = []
    if isinstance(where, And):
        terms += where.terms
    elif where is not None:
        terms.append(where)
    if name is not None:
        terms.append(Compare("name", "EQ", name))
    if owner is not None:
        terms.append(Compare("owner", "EQ", owner))
    if path is not None:
        if not below:
            terms.append(Compare("path", "EQ", path))
        elif terms or is_ordered:
            terms.append(_filtered(path))
        else:
            terms += within(path)
    if state:
        either = tuple([_state(one) for one in ([state] if isinstance(state, str) else state)])
        terms.append(either[0] if len(either) == 1 else Or(either))
    else:
        terms += (_DELETED,) if retired else _PRESENT
    return And(tuple(terms))


def _state(word: str) -> Predicate:
    maturity, _, availability = word.partition("_")
    if word in AVAILABILITIES:
        return Compare("availability", "EQ", word)
    if maturity not in MATURITIES or (availability and availability not in AVAILABILITIES):
        message = (
            f"there is no state {word!r}: {', '.join(MATURITIES)}, with _PRIVATE and so on, or "
            f"{', '.join(AVAILABILITIES)}"
        )
        raise InvalidRequest(message)
    one = Compare("maturity", "EQ", maturity)
    return And((one, Compare("availability", "EQ", availability))) if availability else one


async def find(
    home: RegistryStores, query: Query, most: int, *, packed: bool = False
) -> Found | Packed:
    """Return what a query finds: one query of the store.

    :param most: bytes that one answer holds.
    :param packed: as the store has them.
    :raises InvalidRequest: an attribute is no index, or of another type.
    """
    check_limit(query.limit)
    try:
        page = await home.resources.query(query)
    except InvalidRequest:
        if not await home.learn():  # types that were registered elsewhere, meanwhile
            raise
        page = await home.resources.query(query)
    entries, cursor = page.items, page.cursor
    values = [entry.value for entry in entries]
    if sum(map(len, values)) > most:
        some = stores.fitting(entries, most)
        values = values[: len(some)]
        if len(some) < len(entries):
            query = checked(query, home.resources.indices)
            cursor = cursor_of(query, position(query, some[-1]))
    if packed:
        return Packed(packed_of(values), cursor)
    return Found([resource_in(value) for value in values], cursor)


def key_of(
    type: str | None,
    where: Compare,
    order: Sequence[str] | None,
    limit: int,
    retired: bool,
    below: bool,
) -> Any:
    """Return what finds have in common that differ in the value that an attribute is compared with.

    Such are most, of programs that find the like again and again.
    """
    return type, where.name, where.op, tuple(order) if order else (), limit, retired, below


def find_again(home: RegistryStores, key: Any, value: Any, most: int) -> Packed | None:
    """Return, at once, what is found with one more value; None: see :func:`find`.

    :param key: of :func:`key_of`; ``value``: to compare with.
    :param most: bytes that one answer holds.
    """
    finder = home.finders.get(key)
    if finder is None:
        return None
    try:
        found = finder.find(value)
    except IonError:  # it is met, and told, there
        return None
    if found is None or sum(map(len, found[0])) > most:
        return None
    return Packed(packed_of(found[0]), found[1])


def keep(home: RegistryStores, key: Any, query: Query) -> None:
    """Take note of what was found, for :func:`find_again`."""
    if key in home.finders and home.finders[key] is None:
        return
    if len(home.finders) >= _FINDERS:
        home.finders.clear()
    store = home.resources
    home.finders[key] = store.finder(query) if isinstance(store, Prepares) else None


def packed_of(values: list[bytes]) -> bytes:
    """Return encoded things as one encoded array of them; changes the list."""
    count = len(values)
    values.insert(0, _HEADS[count] if count < _FEW else b"\xdc" + count.to_bytes(2, "big"))
    return b"".join(values)


def check_limit(limit: int) -> None:
    """Refuse to tell none, or too many at a time.

    :raises InvalidRequest: they are not 1 to 1,000.
    """
    if not 1 <= limit <= MOST:
        message = f"1 to {MOST} are told at a time, not {limit}"
        raise InvalidRequest(message)
