"""Data and random queries, and what the answers must be by ``is_true`` and ``sorted_after``."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from ion.stores.limits import MAX_PAGE
from ion.stores.ordering import sorted_after
from ion.stores.query import (
    A,
    Absent,
    And,
    Compare,
    In,
    Not,
    Or,
    Predicate,
    Prefix,
    Query,
    checked,
    is_true,
)
from ion.stores.store import Entry, IndexStore, Put
from ion.testing.contracts.stores.bench import INDICES, any_key, pages

POOL: dict[str, list[Any]] = {
    "s": ["", "a", "ab", "abc", "b", "B", "a%", "a_", "a*b", "a[b", "a\\", "\u00e9", "e\u0301",
          "\uffff", "\U0001f40b", "\U0001f40ba", "'", "~"],
    "i": [-(2**63), -(2**53) - 1, -1, 0, 1, 2, 2**53, 2**53 + 1, 2**63 - 1],
    "f": [-math.inf, -1e300, -1.5, -0.0, 0.0, 5e-324, 0.1, 2.0, 2.0**53, math.inf],
    "b": [False, True],
}  # fmt: skip
PREFIXES = ["", "a", "ab", "a%", "a_", "a*", "a[", "a\\", "\U0001f40b", "\u00e9", "e", "zz"]
OPS = ["EQ", "NE", "LT", "LE", "GT", "GE"]


async def filled(store: IndexStore, seed: int = 1, count: int = 160) -> list[Entry]:
    """Fill a store with entries whose attributes are of few values, some absent; return them."""
    chance = random.Random(seed)
    batch, indices = [], []
    for number in range(count):
        key = any_key(chance.randbytes(3)) + f"{number}"
        index = {name: chance.choice(pool) for name, pool in POOL.items() if chance.random() < 0.75}
        batch.append(Put(key, b"%d" % number, index=index))
        indices.append(index)
    revisions = await store.write(batch)
    return [
        Entry(put.key, put.value, revision, index)
        for put, revision, index in zip(batch, revisions, indices, strict=True)
    ]


def expected(query: Query, entries: Sequence[Entry]) -> list[str]:
    """Return the keys that a query must find, in order, whatever its limit."""
    whole = msgspec.structs.replace(checked(query, INDICES), limit=MAX_PAGE, cursor=None)
    found = [entry for entry in entries if is_true(whole.where, entry.index)]
    return [entry.key for entry in sorted_after(whole, found).items]


async def asked(store: IndexStore, query: Query) -> list[str]:
    """Return the keys that a query finds, by all pages; each but the last is full."""
    found = await pages(lambda cursor: store.query(msgspec.structs.replace(query, cursor=cursor)))
    assert all(len(page) == query.limit for page in found[:-1])
    return [entry.key for page in found for entry in page]


def comparisons() -> list[Predicate]:
    """Return each operator with each type and some values, and what is no comparison."""
    found: list[Predicate] = [
        Compare(name, op, value)  # type: ignore[arg-type]
        for name, pool in POOL.items()
        for op in OPS
        for value in pool
    ]
    found += [Prefix("s", prefix) for prefix in PREFIXES]
    found += [Absent(name) for name in POOL]
    found += [In(name, ()) for name in POOL]
    found += [In(name, tuple(pool[::2])) for name, pool in POOL.items()]
    found += [A("f") == 2, A("f") > 0, And(()), Or(())]
    return found


def random_predicate(chance: random.Random, depth: int = 4) -> Predicate:
    """Return a predicate that is nested so deep, at most."""
    kind = chance.randrange(9) if depth else chance.randrange(5)
    name = chance.choice(list(POOL))
    if kind < 3:
        return Compare(name, chance.choice(OPS), chance.choice(POOL[name]))  # type: ignore[arg-type]
    if kind == 3:
        is_absent = chance.random() < 0.5
        return Absent(name) if is_absent else Prefix("s", chance.choice(PREFIXES))
    if kind == 4:
        return In(name, tuple(chance.sample(POOL[name], chance.randint(0, 2))))
    if kind == 5:
        return Not(random_predicate(chance, depth - 1))
    terms = tuple(random_predicate(chance, depth - 1) for _ in range(chance.randint(0, 3)))
    return And(terms) if kind == 6 else Or(terms)


def random_order(chance: random.Random) -> tuple[str, ...]:
    """Return some attributes to order by, up or down."""
    names = chance.sample(list(POOL), chance.randint(0, len(POOL)))
    return tuple(chance.choice(["", "-"]) + name for name in names)
