"""Bounds of stores: keys as bytes, prefixes, revisions."""

from __future__ import annotations

import random

import pytest

from ion.base.errors import ContentTooLarge, InvalidRequest
from ion.stores import limits
from ion.stores.limits import (
    after_prefix,
    check_changes,
    check_sum,
    key_bytes,
    key_text,
    merged_indices,
    new_revision,
    write_size,
)
from ion.stores.store import Change, Put, Read, Reindex, Remove


def test_any_bytes_are_a_key_and_come_back():
    chance = random.Random(1)
    for _ in range(500):
        data = chance.randbytes(chance.randint(1, 20))
        assert key_bytes(key_text(data)) == data


def test_after_a_prefix_comes_what_does_not_begin_with_it():
    chance = random.Random(2)
    words = [bytes(chance.choices([0, 97, 254, 255], k=chance.randint(1, 4))) for _ in range(300)]
    for prefix in (b"", b"a", b"a\xff", b"\xff", b"\xff\xff", b"\xfe\xff\xff", b"\0"):
        end = after_prefix(prefix)
        for word in words:
            is_between = prefix <= word and (end is None or word < end)
            assert is_between is word.startswith(prefix)


def test_revisions_are_positive_and_of_their_own():
    made = {new_revision() for _ in range(10_000)}
    assert len(made) == 10_000
    assert all(0 < revision < 1 << 63 for revision in made)


def test_the_size_of_a_write():
    writes = [Put("a", b"123"), Put("a", memoryview(bytearray(8)).cast("I")), Remove("a")]
    assert [write_size(write) for write in [*writes, Reindex("a", {})]] == [3, 8, 0, 0]


def test_changes_of_one_key_in_two_stores_are_two():
    check_changes([Change("a", Put("k", b"")), Change("b", Remove("k"))])
    with pytest.raises(InvalidRequest, match="once"):
        check_changes([Change("a", Put("k", b"")), Change("a", Remove("k"))])


def test_sums_have_bounds():
    check_sum(limits.MAX_BATCH, limits.MAX_BATCH_BYTES, limits.MAX_READS)
    sums = [(limits.MAX_BATCH + 1, 0, 0), (0, limits.MAX_BATCH_BYTES + 1, 0), (0, 0, 10_001)]
    for sum_ in sums:
        with pytest.raises(ContentTooLarge):
            check_sum(*sum_)
    with pytest.raises(ContentTooLarge):
        check_changes([], [Read("a", f"{n}", 0) for n in range(limits.MAX_READS + 1)])


def test_attributes_of_two_declarations():
    assert list(merged_indices("a", {"z": "int"}, {"b": "str"}).items()) == [
        ("b", "str"),
        ("z", "int"),
    ]
    with pytest.raises(InvalidRequest, match="too many"):
        merged_indices("a", {f"a{n}": "int" for n in range(64)}, {"b": "str"})
