"""Queries as data: they travel, and are checked."""

from __future__ import annotations

import msgspec
import pytest

from ion.base.errors import InvalidRequest
from ion.stores.query import (
    MAX_TERMS,
    A,
    And,
    Compare,
    In,
    Not,
    Or,
    Position,
    Query,
    checked,
    cursor_of,
    is_true,
    position_of,
)

INDICES = {"s": "str", "i": "int", "f": "float", "b": "bool"}
LARGE = Query(
    ~((A("s") == "a") & (A("i") != 2**63 - 1) | A("f").is_in([1.5, 2.0]))
    & (A("s").begins_with("\U0001f40b") | A("b").is_absent() | (A("b") == True)),  # noqa: E712
    order=("-i", "s"),
    limit=7,
    cursor="abc",
)


@pytest.mark.parametrize("wire", [msgspec.msgpack, msgspec.json])
def test_a_query_travels(wire):
    assert wire.decode(wire.encode(LARGE), type=Query) == LARGE


@pytest.mark.parametrize("wire", [msgspec.msgpack, msgspec.json])
def test_types_of_values_travel(wire):
    for value in ("1", 1, 1.0, True, -(2**63)):
        found = wire.decode(wire.encode(Query(A("x") == value)), type=Query).where
        assert found.value == value
        assert type(found.value) is type(value)


def test_what_is_checked_once_is_the_same_checked_again():
    query = checked(Query((A("f") == 1) & A("f").is_in([2, 3]), order=("f",)), INDICES)
    assert query.where.terms == (Compare("f", "EQ", 1.0), In("f", (2.0, 3.0)))
    assert [type(value) for value in query.where.terms[1].values] == [float, float]
    assert checked(query, INDICES) == query


def test_comparing_is_no_hashing():
    with pytest.raises(TypeError):
        hash(A("x"))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: (A("i") > 1) and (A("i") < 4),
        lambda: (A("s") == "a") or (A("s") == "b"),
        lambda: 1 < A("i") < 4,
        lambda: not (A("i") > 1),
        lambda: A("i") in [5, 6],
        lambda: A("b") and A("i") > 1,
    ],
)
def test_python_s_own_words_do_not_keep_one_side_of_a_predicate(wrong):
    with pytest.raises(TypeError, match="neither true nor false here"):
        wrong()


def test_a_cursor_holds_any_position():
    position = Position((None, "\U0001f40b", -(2**63), float("inf"), False), b"\0\xff")
    query = Query(order=("a", "b", "c", "d", "e"))
    cursor = cursor_of(query, position)
    assert cursor.isascii()
    assert position_of(msgspec.structs.replace(query, cursor=cursor)) == position
    assert position_of(query) is None
    again = msgspec.structs.replace(query, cursor=cursor, limit=3)
    assert position_of(again) == position


@pytest.mark.parametrize("cursor", ["", "x", "\u00e9", "A" * 11, "\0", "=" * 8, " ", 5, b"abc"])
def test_a_cursor_that_is_none(cursor):
    with pytest.raises(InvalidRequest, match="cursor"):
        position_of(Query(cursor=cursor))


def test_a_query_of_no_depth_is_refused_before_it_is_walked():
    where = A("i") == 1
    for _ in range(5000):
        where = Not(where)
    with pytest.raises(InvalidRequest, match="nested"):
        checked(Query(where), INDICES)


def test_an_order_that_is_a_text_is_not_taken_letter_by_letter():
    with pytest.raises(InvalidRequest, match=r"\('-i',\) for one"):
        checked(Query(order="-i"), INDICES)


def test_values_of_a_list_count_as_comparisons():
    half = A("i").is_in(range(MAX_TERMS // 2))
    checked(Query(half | half), INDICES)
    with pytest.raises(InvalidRequest, match=str(MAX_TERMS)):
        checked(Query(half | half | (A("i") == 1)), INDICES)


@pytest.mark.parametrize("count", [MAX_TERMS + 1, 50_000])
def test_empty_terms_are_bounded_too(count):
    for nothing in (And(()), Or(()), In("i", ())):
        with pytest.raises(InvalidRequest, match=str(MAX_TERMS)):
            checked(Query(Or((nothing,) * count)), INDICES)


def test_what_is_true_of_nothing_and_all():
    assert is_true(None, {})
    for query, expected in ((A("i") == 1, False), (~(A("i") == 1), True), (A("i") != 1, False)):
        assert is_true(query, {}) is expected
