"""What only the datastore in Redis does: its URLs, how values are kept, how much it looks at."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as some
from redis.asyncio import Redis

from ion.base.errors import ConfigurationError, Unavailable
from ion.stores.limits import PAGE_BYTES
from ion.stores.opening import open_datastore
from ion.stores.query import A, Predicate, Query
from ion.stores.redis import finding
from ion.stores.redis.datastore import RedisDatastore
from ion.stores.redis.layout import attribute_bytes, attribute_value, pack, unpack
from ion.stores.redis.store import RedisStore
from ion.stores.store import IndexStore, Put
from ion.testing.contracts.stores.bench import Bench, NewDatastore, pages
from ion.testing.contracts.stores.queries import QueriesContract

_INDICES = {"s": "str", "i": "int", "f": "float", "b": "bool"}
_texts = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_kinds = {
    "str": _texts,
    "int": some.integers(-(2**63), 2**63 - 1),
    "float": some.floats(allow_nan=False),
    "bool": some.booleans(),
}
_pairs = some.sampled_from(sorted(_kinds)).flatmap(
    lambda kind: some.tuples(some.just(kind), _kinds[kind], _kinds[kind])
)


@given(_pairs, some.binary(), some.binary())
def test_attributes_as_bytes_are_in_their_order(pair, key, other_key):
    kind, one, other = pair
    first, second = attribute_bytes(one, kind), attribute_bytes(other, kind)
    assert attribute_value(first, kind) == one
    assert (first == second) is (one == other)
    if one < other:
        assert first + key < second + other_key


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0.0, -0.0, 5e-324, -5e-324])
def test_floats_at_the_ends(value):
    data = attribute_bytes(value, "float")
    assert attribute_value(data, "float") == value
    assert attribute_bytes(-math.inf, "float") <= data <= attribute_bytes(math.inf, "float")


def test_attributes_are_packed():
    given = {"s": "x", "i": -1, "b": False}
    assert unpack(pack(given, _INDICES), _INDICES) == given
    assert unpack(pack(given, _INDICES), {"i": "int"}) == {"i": -1}  # others have declared more
    assert unpack(b"", _INDICES) == {}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost"),
        ("redis://:secret@h:1/3", "redis://:***@h:1/3"),
        ("rediss://me:secret@h:1?ssl_cert_reqs=none", "rediss://me:***@h:1"),
        ("redis://h?password=secret", "redis://h"),
    ],
)
def test_its_url_is_shown_without_a_password(url, shown):
    datastore = open_datastore(url)
    assert isinstance(datastore, RedisDatastore)
    assert datastore.url == shown
    assert datastore.scheme == url.partition(":")[0]


@pytest.mark.parametrize(
    "url",
    ["redis:/h", "redis://h?nope=secret", "redis://:secret@h:port", "redis://:secret@[h", "unix:"],
)
def test_a_url_that_is_none(url):
    with pytest.raises(ConfigurationError) as raised:
        RedisDatastore(url)
    assert "secret" not in str(raised.value)


def test_without_redis_py():
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from ion.stores.opening import open_datastore\n"
        "from ion.base.errors import ConfigurationError\n"
        "try: open_datastore('redis://h')\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'ioncore[redis]'" in done.stdout


@pytest.mark.redis
class TestInSmallChunks(QueriesContract):
    """What is found does not depend on how much is looked at in one step."""

    @pytest.fixture(autouse=True)
    def chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(finding, "_CHUNK", 7)
        monkeypatch.setattr(finding, "_FIRST_CHUNK", 3)

    @pytest.fixture
    def new_datastore(self, redis_url: str) -> NewDatastore:
        return lambda: open_datastore(redis_url)


@pytest.mark.redis
class TestHowMuchItLooksAt(Bench):
    """A query reads about what it returns, where an index can tell."""

    @pytest.fixture
    def new_datastore(self, redis_url: str) -> NewDatastore:
        return lambda: open_datastore(redis_url)

    @pytest.fixture
    async def client(self, redis_url: str) -> AsyncIterator[Redis]:
        client = Redis.from_url(redis_url)
        yield client
        await client.aclose()

    @pytest.fixture
    async def filled(self, indexed: IndexStore) -> IndexStore:
        await indexed.write(
            [
                Put(f"{n:05}", b"", index={"i": n, "f": n % 100 / 10, "b": n % 2 == 0, "s": f"{n}"})
                for n in range(3000)
            ]
        )
        return indexed

    @pytest.mark.parametrize(
        ("where", "order", "most"),
        [
            (None, (), 30),
            (None, ("i",), 30),
            (None, ("-i",), 60),
            (A("i") == 7, (), 10),
            (A("i") == 7, ("s",), 60),
            (A("i") >= 100, ("i",), 30),
            (A("i") < 100, ("-i",), 120),
            (A("f") == 3.0, (), 30),
            (A("b") == True, (), 30),  # noqa: E712
            ((A("b") == True) & (A("i") < 20), (), 60),  # noqa: E712
            ((A("b") == True) & (A("i") < 20), ("-s",), 60),  # noqa: E712
            (A("i").is_in([1, 2, 3]) | (A("i") == 4), ("s",), 60),
            (A("s").begins_with("12") & (A("b") == True), ("i",), 300),  # noqa: E712
            (A("b") == True, ("i",), 200),  # noqa: E712
            (A("b") == True, ("-i",), 200),  # noqa: E712
            (~(A("i") == 7), ("i",), 200),
        ],
        ids=str,
    )
    async def test_a_page(
        self,
        filled: IndexStore,
        client: Redis,
        where: Predicate | None,
        order: tuple[str, ...],
        most: int,
    ) -> None:
        """Not more entries than these; and the pages after it neither."""
        cursor = None
        for _ in range(3):
            await client.config_resetstat()
            page = await filled.query(Query(where, order=order, limit=10, cursor=cursor))
            stats = await client.info("commandstats")
            assert stats["cmdstat_hget"]["calls"] <= most
            cursor = page.cursor
            if cursor is None:
                return

    @pytest.mark.parametrize("where", [None, A("i") > 100, A("s").begins_with("1")], ids=str)
    async def test_a_count(
        self, filled: IndexStore, client: Redis, where: Predicate | None
    ) -> None:
        """Of what one index tells: nothing is looked at."""
        await client.config_resetstat()
        assert await filled.count(Query(where)) > 1000
        assert "cmdstat_hget" not in await client.info("commandstats")

    async def test_it_looks_at_too_much(self, filled: IndexStore) -> None:
        """A call of many steps ends at its time limit, however fast each step is."""
        assert isinstance(filled, RedisStore)
        filled._main.timeout = 0.0  # that of steps is the side pipelines'
        where = ~(A("i") == 1)
        calls = [
            lambda: filled.count(Query(where)),
            lambda: filled.query(Query(where)),
            lambda: filled.get_many(["00001"]),
            filled.clear,
        ]
        for call in calls:
            with pytest.raises(Unavailable, match="takes more than 0 s"):
                await call()

    async def test_nothing_is_left(self, filled: IndexStore, client: Redis) -> None:
        """Of what is removed."""
        kept = set(await client.keys("*"))
        assert len(kept) == 3000 + 9, kept  # schema, stores; m, k, a, and four indices
        await filled.clear()
        assert set(await client.keys("*")) == {b"{ion}:schema", b"{ion}:stores", b"{ion.found}:m"}

    async def test_many_large_values(self, filled: IndexStore) -> None:
        """They are read a page at a time."""
        await filled.clear()
        await filled.write([Put(f"{n}", bytes(PAGE_BYTES // 4), index={"i": n}) for n in range(9)])
        for query in (Query(order=("i",)), Query(order=("-i",)), Query(A("i") >= 0)):
            found = await pages(
                lambda cursor, query=query: filled.query(
                    Query(query.where, query.order, cursor=cursor)
                )
            )
            assert [len(page) for page in found] == [4, 4, 1]
        values = await filled.get_many([f"{n}" for n in range(9)])
        assert [len(value) for value in values.values()] == [PAGE_BYTES // 4] * 9
