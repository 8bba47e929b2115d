"""Conditions of a query as they come in messages."""

from __future__ import annotations

import msgspec
import pytest

from ion.base.errors import InvalidRequest
from ion.stores.conditions import predicate_of
from ion.stores.query import A

TREE = ~(A("kind") == "ctd") & (A("depth") > 100) | A("name").begins_with("x") | A("z").is_absent()


@pytest.mark.parametrize("wire", [msgspec.msgpack, msgspec.json])
def test_a_tree_is_what_it_was_when_it_left(wire):
    assert predicate_of(wire.decode(wire.encode(TREE))) == TREE


def test_a_map_says_all_of_it_attribute_by_attribute():
    short = {
        "kind": "ctd",
        "depth": {"GE": 1, "LT": 4.5},
        "mode": ["a", "b"],
        "gone": None,
        "name": {"PREFIX": "x"},
    }
    assert predicate_of(short).terms == (
        A("kind") == "ctd",
        A("depth") >= 1,
        A("depth") < 4.5,
        A("mode").is_in(["a", "b"]),
        A("gone").is_absent(),
        A("name").begins_with("x"),
    )
    assert predicate_of({"kind": "ctd"}) == (A("kind") == "ctd")
    assert predicate_of(None) is None


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (5, "got `int`"),
        ("kind = 'ctd'", "got `str`"),
        (["kind", "=", "ctd"], "got `array`"),
        ({"depth": {">": 5}}, "'depth' is compared by EQ, .* or PREFIX, not by '>'"),
        ({"depth": {}}, "'depth' is compared by EQ, .* not by None"),
        ({1: 2}, r"got `int` - at `\$.where.name`"),
        ({"is": "compare", "name": "depth", "op": "=", "value": 1}, "'='"),
        ({"is": "compare", "name": "depth", "op": "GT"}, "`value`"),
        ({"is": "absent", "name": "depth", "value": 1}, "unknown field `value`"),
        ({"is": "and", "terms": [{"kind": "ctd"}]}, "required field `is`"),
    ],
)
def test_what_is_none_is_told_how_one_looks(wrong, what):
    with pytest.raises(InvalidRequest, match=what) as raised:
        predicate_of(wrong)
    assert '{"kind": "ctd", "depth": {"GT": 100}}' in raised.value.message
