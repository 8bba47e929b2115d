"""What is kept of a query serves others that differ in values only, and lets nothing pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ion.base.errors import InvalidRequest
from ion.stores.opening import open_datastore
from ion.stores.plan_cache import MOST, PlanCache
from ion.stores.query import A, And, Compare, Not, Or, Predicate, Query, checked
from ion.stores.store import Datastore, IndexStore, Put

KINDS = {"depth": "float", "kind": "str", "number": "int"}
GOOD = Query(A("depth") > 1.0, order=("kind",), limit=1)
LARGE = 300_000  # bytes: a page of these is read in another way


@pytest.fixture(params=["sqlite", "postgres"])
async def datastore(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Datastore]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/data.db"
    else:
        url = request.getfixturevalue("postgres_url")
    datastore = open_datastore(url)
    await datastore.open()
    yield datastore
    await datastore.close()


@pytest.fixture
async def store(datastore: Datastore) -> IndexStore:
    """Give ten entries of two kinds."""
    name = f"plans_{uuid4().hex[:8]}"
    store = await datastore.index_store(name, KINDS)  # type: ignore[arg-type]
    await store.write([put(n) for n in range(10)])
    return store


def put(n: int, value: bytes = b"x") -> Put:
    index = {"depth": float(n), "kind": "ab"[n % 2], "number": n}
    return Put(f"key-{n}", value, index=index)


async def found(store: IndexStore, query: Query) -> list[str]:
    return [entry.key for entry in (await store.query(query)).items]


async def test_other_values_find_other_entries(store: IndexStore) -> None:
    for least in range(10):
        query = Query(A("depth") >= float(least), order=("depth",), limit=2)
        assert await found(store, query) == [f"key-{n}" for n in range(10)][least : least + 2]
        both = (A("kind") == "a") & (A("number") >= least)
        expected = [f"key-{n}" for n in range(0, 10, 2) if n >= least]
        assert await found(store, Query(both)) == expected
        for limit in (1, 2, 3):
            assert len(await found(store, Query(order=("kind",), limit=limit))) == limit


async def test_what_is_excluded_is_no_other_query(store: IndexStore) -> None:
    """Comparisons that are to be false are not mixed up with the same ones that are to be true."""
    low, high, odd = A("number") < 3, A("number") > 5, A("kind") == "b"
    asked: list[tuple[Predicate, list[int]]] = [
        (And((odd, Not(Or((low, high))))), [3, 5]),
        (And((odd, low, high)), []),
        (And((odd, Not(Or((low,))), high)), [7, 9]),
        (And((odd, low, Not(Or((high,))))), [1]),
        (And((Not(Or((odd, low))), high)), [6, 8]),
        (And((Not(Or((odd, low, high))),)), [4]),
        (And((odd, Not(low))), [3, 5, 7, 9]),
        (And((odd, Not(Or(())))), [1, 3, 5, 7, 9]),
    ]
    for predicate, numbers in asked * 2:
        assert await found(store, Query(predicate)) == [f"key-{n}" for n in numbers]
    for least in (3, 4, 5):
        predicate = And((odd, Not(Or((A("number") < least, high)))))
        expected = [n for n in (3, 5) if n >= least]
        assert await found(store, Query(predicate)) == [f"key-{n}" for n in expected]
    await found(store, Query(And((odd, Not(Or((A("number") == 1, high)))))))
    for value in ("x", True):
        wrong = And((odd, Not(Or((A("number") == value, high)))))
        with pytest.raises(InvalidRequest):
            await store.query(Query(wrong))


async def test_a_page_of_a_known_query_leads_to_the_next(store: IndexStore) -> None:
    for least in (0, 1, 3):  # whole numbers are kept as floats
        query = Query(A("depth") >= least, order=("-depth",), limit=4)
        first = await store.query(query)
        second = await store.query(Query(query.where, query.order, 4, first.cursor))
        keys = [entry.key for entry in (*first.items, *second.items)]
        assert keys == [f"key-{n}" for n in range(9, least - 1, -1)][:8]


@pytest.mark.parametrize("value", ["deep", None, float("nan"), True, 10**400])
async def test_a_value_is_refused_the_second_time_too(store: IndexStore, value: Any) -> None:
    await store.query(GOOD)
    await store.query(GOOD)
    with pytest.raises(InvalidRequest):
        await store.query(Query(Compare("depth", "GT", value), GOOD.order, GOOD.limit))


async def test_a_limit_that_equals_one_is_none(store: IndexStore) -> None:
    await store.query(GOOD)
    with pytest.raises(InvalidRequest):
        await store.query(Query(GOOD.where, GOOD.order, limit=True))


async def test_large_values_of_a_known_query_are_whole(store: IndexStore) -> None:
    query = Query(A("kind") == "a", order=("number",), limit=50)
    await store.query(query)
    large = bytes(LARGE)
    await store.write([put(n, large) for n in range(10)])
    assert [entry.value for entry in (await store.query(query)).items] == [large] * 5


async def test_an_attribute_that_was_added(datastore: Datastore, store: IndexStore) -> None:
    query = Query(A("kind") == "a", limit=1)
    await store.query(query)
    await datastore.index_store(store.name, {**KINDS, "further": "bool"})  # type: ignore[dict-item]
    index = {"kind": "a", "further": True}
    await store.put("key", b"", index=index)
    (entry,) = (await store.query(query)).items
    assert entry.key == "key"
    assert entry.index == index


def nested(depth: int) -> Predicate:
    term: Predicate = A("depth") > 1.0
    for _ in range(depth):
        term = And((term,))
    return term


@pytest.mark.parametrize(
    "where",
    [~(A("depth") > 1.0), A("kind").is_in(["a"]), And(()), nested(2), And((GOOD.where, And(())))],  # type: ignore[arg-type]
)
def test_what_is_more_than_comparisons_is_not_kept(where: Predicate) -> None:
    plans: PlanCache[str] = PlanCache(KINDS)
    plans.keep(Query(where), "plan")
    assert plans.recall(Query(where)) is None


def test_what_is_kept_is_bounded() -> None:
    plans: PlanCache[int] = PlanCache(KINDS)
    for limit in range(1, MOST + 2):
        plans.keep(Query(limit=limit), limit)
    known = [plans.recall(Query(limit=limit)) for limit in range(1, MOST + 2)]
    assert [one[1] for one in known if one] == [MOST + 1]


def test_a_known_query_is_as_checked() -> None:
    plans: PlanCache[str] = PlanCache(KINDS)
    plans.keep(GOOD, "plan")
    whole = Query(A("depth") > 2, GOOD.order, GOOD.limit)  # type: ignore[arg-type]
    known = plans.recall(whole)
    assert known is not None
    query, plan, values = known
    assert (query, plan, values) == (checked(whole, KINDS), "plan", [2.0])
    assert type(values[0]) is float
    assert plans.recall(Query(GOOD.where, ["kind"], 1)) is None  # type: ignore[arg-type]
