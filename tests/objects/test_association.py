"""Associations: found by any part of them."""

from __future__ import annotations

import pytest

from ion.base.errors import Damaged, InvalidRequest
from ion.objects.association import Association, Associations
from ion.objects.element import Kind, Reference, element, hash_of

COMMIT = "0f" * 32


@pytest.fixture
async def associations(datastore):
    return await Associations.open(datastore)


async def all_of(associations, *parts):
    return {
        (each.subject.repository, each.predicate, each.object.repository)
        async for each in associations.each(*parts)
    }


async def test_they_are_found_by_any_part(associations):
    for parts in (("s1", "has_a", "c1"), ("s1", "is_a", "type"), ("s2", "has_a", "c1")):
        await associations.add(*parts)
    assert await all_of(associations) == {
        ("s1", "has_a", "c1"), ("s1", "is_a", "type"), ("s2", "has_a", "c1")
    }  # fmt: skip
    assert await all_of(associations, "s1") == {("s1", "has_a", "c1"), ("s1", "is_a", "type")}
    assert await all_of(associations, None, "has_a") == {
        ("s1", "has_a", "c1"),
        ("s2", "has_a", "c1"),
    }
    assert await all_of(associations, None, None, "type") == {("s1", "is_a", "type")}
    assert await all_of(associations, "s2", None, "c1") == {("s2", "has_a", "c1")}
    assert await all_of(associations, "s1", "is_a", "type") == {("s1", "is_a", "type")}
    assert await all_of(associations, "nobody") == set()


async def test_a_branch_a_commit_and_a_repository_are_told_apart(associations):
    main = Reference("s")
    side, pinned = Reference("s", "side"), Reference("s", "main", COMMIT)
    for reference in (main, side, pinned):
        await associations.add(reference, "has_a", "c")
    for reference in (main, side, pinned):
        page = await associations.find(reference)
        assert [each.subject for each in page.items] == [reference]
    assert len((await associations.find("s")).items) == 3


async def test_it_is_there_once_and_can_be_removed(associations):
    first = await associations.add("s", "has_a", "c")
    assert await associations.add("s", "has_a", "c") == first
    assert first.hash == Association(Reference("s"), "has_a", Reference("c")).hash
    assert len((await associations.find()).items) == 1
    assert await associations.has(first)
    assert await associations.remove(first)
    assert not await associations.remove(first)
    assert not await associations.has(first)
    assert await all_of(associations, "s") == set()


async def test_many_come_in_pages(associations):
    for number in range(250):
        await associations.add("s", "has_a", f"c{number}")
    first = await associations.find("s", limit=100)
    assert len(first.items) == 100
    assert first.cursor is not None
    assert len(await all_of(associations, "s")) == 250
    with pytest.raises(InvalidRequest, match="cursor"):
        await associations.find("other", cursor=first.cursor)


@pytest.mark.parametrize(
    "parts",
    [
        ("a/b", "has_a", "c"), ("s", "", "c"), ("s", "has a", "c"), ("s", "has_a", ""),
        (Reference("s", "b/c"), "has_a", "c"), ("s", "has_a", Reference("c", "main", "abc")),
        ("s", None, "c"), ("s", "has_a", Reference("c", "main", COMMIT.upper())),
    ],
)  # fmt: skip
async def test_parts_that_are_none_are_refused(associations, parts):
    with pytest.raises(InvalidRequest):
        await associations.add(*parts)


async def test_damage_is_found_out(associations, datastore):
    made = await associations.add("s", "has_a", "c")
    store = await datastore.index_store("objects_associations", {})
    await store.put(made.hash, b"\x92\x00\x01", index={"subject": "s"})
    with pytest.raises(Damaged, match="altered"):
        await associations.find("s")
    await store.remove(made.hash)
    for parts in (5, [1, 2, 3], [Reference("s"), "has a", Reference("c")]):
        data = element(Kind.VALUE, parts)
        await store.put(hash_of(data).hex(), data, index={"subject": "s"})
        with pytest.raises(Damaged, match="no association"):
            await associations.find("s")
        await store.remove(hash_of(data).hex())
    await store.put("zz", b"", index={"subject": "s"})
    with pytest.raises(Damaged, match="no association"):
        await associations.find("s")
