"""Values into elements and back: the same, and by one way of writing only."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.base.errors import Damaged, InvalidRequest, NotFound
from ion.objects.chunking import map_entry
from ion.objects.editing import Anew
from ion.objects.element import (
    MAX_DEPTH,
    MAX_ELEMENT,
    Kind,
    Link,
    Reference,
    Typed,
    decoded,
    element,
    hash_of,
    links_of,
    same,
)
from ion.objects.freezing import Sink
from ion.objects.merging import merge
from ion.objects.thawing import NOTHING, lookup, thaw
from ion.objects.tree import Tree
from tests.objects.places import KEYS, OBJECTS, VALUES, Shelf, run


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_a_value_comes_back_as_it_was(value):
    async def there_and_back():
        shelf = Shelf()
        frozen = await shelf.freeze(value)
        assert await shelf.thaw(frozen) == value
        assert all(len(data) <= MAX_ELEMENT for data in shelf.kept.values())
        assert all(hash_of(data) == name for name, data in shelf.kept.items())

    run(there_and_back())


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_edits_make_what_freezing_the_whole_would(data):
    before = data.draw(OBJECTS)
    edits = data.draw(st.lists(st.tuples(st.lists(KEYS, min_size=1, max_size=3), VALUES)))
    removals = data.draw(st.lists(st.randoms(), max_size=3))

    async def edit():
        shelf = Shelf()
        tree = Tree(await shelf.freeze(before), shelf.get)
        model = dict(before)
        for path, value in edits:
            if _set(model, path, value):
                tree.set(tuple(path), value)
                if data.draw(st.booleans()):
                    await _commit(tree, shelf)
        for chance in removals:
            if model:
                key = chance.choice(sorted(model))
                del model[key]
                tree.remove((key,))
        assert await tree.value() == model
        assert await tree.keys() == sorted(model)
        await _commit(tree, shelf)
        assert tree.root == await shelf.freeze(model)
        assert await shelf.thaw(tree.root) == model

    run(edit())


def _set(model, path, value) -> bool:
    """Set a value in a map of maps, as a tree does; False where the path leads through no map."""
    copied = model
    for step in path[:-1]:
        if step in copied and not isinstance(copied[step], dict):
            return False
        copied[step] = dict(copied[step]) if step in copied else {}
        copied = copied[step]
    copied[path[-1]] = value
    return True


async def _commit(tree: Tree, shelf: Shelf) -> None:
    sink = Sink(shelf)
    tree.root = await tree.frozen(sink)
    await sink.flush()
    tree.forget()


@pytest.mark.parametrize("size", [0, 1, 60, 3000, 8000])
def test_big_maps_are_the_same_whichever_way_they_came_about(size):
    chance = random.Random(size)

    async def change():
        shelf = Shelf()
        model = {f"key-{n:05}": chance.randbytes(chance.choice([2, 30, 900])) for n in range(size)}
        tree = Tree({}, shelf.get)
        tree.set("m", dict(model))
        await _commit(tree, shelf)
        for _ in range(12):
            start = chance.randrange(size + 1)
            keys = sorted(model)
            for key in keys[start : start + chance.choice([1, 3, size // 3])]:
                del model[key]
                tree.remove(("m", key))
            for number in range(chance.choice([1, 5, 400])):
                key = f"key-{chance.randrange(size + 50):05}-{number % 3}"
                model[key] = chance.randrange(1000)
                tree.set(("m", key), model[key])
            await _commit(tree, shelf)
            assert tree.root == await shelf.freeze({"m": model})
        left = [key for key in sorted(model) if isinstance(model[key], int)][:5]
        for key in model.keys() - set(left):  # what is left is no element of its own
            del model[key]
            tree.remove(("m", key))
        await _commit(tree, shelf)
        assert tree.root == {"m": model}

    run(change())


def test_a_change_is_local():
    async def change():
        shelf = Shelf()
        frozen = await shelf.freeze({f"key-{n:06}": n for n in range(50_000)})
        before = set(shelf.kept)
        tree = Tree(frozen, shelf.get)
        tree.set("key-025000x", 1)
        await _commit(tree, shelf)
        assert len(shelf.kept.keys() - before) <= 8

    run(change())


@pytest.mark.parametrize(
    "value",
    [
        [math.inf, -math.inf, -0.0, 5e-324, 1.5],
        [2**64 - 1, -(2**63), 0, True, False],
        {"": {}, "/": [], "a/b": [[]], "\0": b"", "é\U0001f600": ""},
        "\0\U0001f600\u202e" * 100_000,
        bytes(range(256)) * 5000,
        [b""] * 10_000,
        [[{"a": n}] for n in range(5000)],
        Typed("big", 3, bytes(2_000_000)),
        Reference("r", "b", "00" * 32),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_all_forms(value):
    async def there_and_back():
        shelf = Shelf()
        found = await shelf.thaw(await shelf.freeze(value))
        assert found == value
        assert type(found) is type(value)

    run(there_and_back())


def test_one_is_not_true_and_no_number_is_itself():
    nan = math.nan
    assert same(float("nan"), float("nan"))
    assert same({"a": [nan]}, {"a": [float("nan")]})
    assert not same(1, True)
    assert not same(1, 1.0)
    assert not same(0.0, -0.0)
    assert not same({"a": 1}, {"a": True})
    assert not same(NOTHING, None)
    assert same(NOTHING, NOTHING)


def _deep(levels: int, end: object = 1) -> object:
    for _ in range(levels):
        end = {"a": end}
    return end


@pytest.mark.parametrize("end", [1, "x" * 5000])
def test_what_is_nested_has_a_bound_which_paths_do_not_get_around(end):
    async def nest():
        shelf = Shelf()
        assert await shelf.thaw(await shelf.freeze(_deep(MAX_DEPTH, end))) == _deep(MAX_DEPTH, end)
        with pytest.raises(InvalidRequest, match="100 deep"):
            await shelf.freeze(_deep(MAX_DEPTH + 1, end))
        tree = Tree({}, shelf.get)
        tree.set(("a",) * 60, _deep(40, end))
        await _commit(tree, shelf)
        assert await shelf.thaw(tree.root) == _deep(MAX_DEPTH, end)
        tree.set(("a",) * 61, _deep(40, end))
        with pytest.raises(InvalidRequest, match="100 deep"):
            await _commit(tree, shelf)

    run(nest())


@pytest.mark.parametrize(
    "value",
    [
        {1: 2}, {"k" * 2000: 1}, {"\ud800": 1}, "\ud800", object(), {1, 2}, 2**64, -(2**63) - 1,
        Link(b"x" * 32), [object()], {"a": {"b": {3: 4}}},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(InvalidRequest):
        run(Shelf().freeze(value))


def test_a_list_is_read_by_its_indices():
    async def read():
        shelf = Shelf()
        tree = Tree(await shelf.freeze({"l": list(range(5000)), "s": [1]}), shelf.get)
        assert await tree.get("l/4999") == 4999
        assert await tree.get("l/5000") is None
        assert await tree.get("s/0") == 1
        assert await tree.get("s/-1", "none") == "none"
        assert await tree.get("l/" + "9" * 5000) is None
        with pytest.raises(InvalidRequest, match="no map"):
            await tree.keys("l")
        with pytest.raises(NotFound):
            await tree.keys("x")

    run(read())


def test_changes_of_a_tree_that_take_one_another_back():
    async def change():
        shelf = Shelf()
        tree = Tree(await shelf.freeze({"a": {"b": 1}, "n": 5}), shelf.get)
        tree.set("x/y", 1)
        tree.remove("x/y")
        tree.remove("a")
        tree.set("a/c", 2)
        with pytest.raises(InvalidRequest, match="no map"):
            tree.set("x/z", 1), tree.set("x/z/w", 2)
        tree.remove("x/z")
        assert await tree.value() == {"a": {"c": 2}, "n": 5, "x": {}}
        await _commit(tree, shelf)
        assert await shelf.thaw(tree.root) == {"a": {"c": 2}, "n": 5, "x": {}}
        with pytest.raises(InvalidRequest):
            tree.set(("ok", "k" * 2000), 1)
        assert not tree.is_changed
        tree.remove("gone")
        with pytest.raises(NotFound, match="gone"):
            await _commit(tree, shelf)
        tree.forget()
        tree.set("n/deeper", 1)
        with pytest.raises(InvalidRequest, match="no map"):
            await _commit(tree, shelf)

    run(change())


def test_what_is_below_something_frozen_can_be_changed():
    async def change():
        shelf = Shelf()
        big = {f"k{n}": n for n in range(1000)}
        tree = Tree({}, shelf.get)
        tree._changes.changes["t"] = Anew({}, await shelf.freeze(big))
        tree.set("t/new", 1)
        tree.remove("t/k5")
        model = {**big, "new": 1}
        del model["k5"]
        assert await tree.get("t") == model
        assert await tree.get("t/k7") == 7
        await _commit(tree, shelf)
        assert tree.root == {"t": await shelf.freeze(model)}

    run(change())


# Elements that came from somewhere.

HASH = b"h" * 32


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x92\x00", b"\x93\x00\x01\x02", b"\x92\x63\x00", b"\xc1", b"\x91" * 5000 + b"\x00",
        b"\x92\x00\xc7\x01\x09x", b"\x92\x00\xc7\x03\x01abc", b"\x92\x00\xa1\xff",
    ],
    ids=lambda data: data[:8].hex(),
)  # fmt: skip
def test_what_is_no_element_is_damaged(data):
    with pytest.raises(Damaged, match="cannot be read"):
        decoded(data)


def test_links_in_deep_nests_are_found():
    data = b"\x92\x00" + b"\x91" * 400 + b"\xc7\x20\x01" + HASH
    assert links_of(data) == [HASH]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.MAP_LEAF, 5), (Kind.MAP_LEAF, [5]), (Kind.MAP_LEAF, [[1, 2]]),
        (Kind.MAP_LEAF, [["a", 1, 2]]), (Kind.LIST_LEAF, {"a": 1}), (Kind.MAP_NODE, []),
        (Kind.MAP_NODE, [["a", 1, 2, 3]]), (Kind.MAP_NODE, [[1, 1, 2, Link(HASH)]]),
        (Kind.LIST_NODE, [["x", 2, Link(HASH)]]), (Kind.LIST_NODE, None),
        (Kind.BYTES_NODE, [True]), (Kind.BYTES_NODE, [True, [[1, 2]]]), (Kind.COMMIT, {}),
        (Kind.TYPED_NODE, ["a", []]), (Kind.BYTES_NODE, [True, [[1, Link(HASH)]]]),
    ],
    ids=repr,
)  # fmt: skip
def test_elements_that_are_not_what_they_say_are_damaged(kind, body):
    async def read():
        shelf = Shelf()
        data = element(kind, body)
        shelf.kept = {hash_of(data): data, HASH: element(Kind.VALUE, b"\xff")}
        for work in (thaw(Link(hash_of(data)), shelf.get), _look(Link(hash_of(data)), shelf)):
            with pytest.raises(Damaged):
                await work

    run(read())


async def _look(link: Link, shelf: Shelf) -> None:
    await lookup(link, "0", shelf.get)
    await thaw(link, shelf.get)


def test_maps_nested_deeper_than_any_that_is_kept_here_are_damaged():
    async def read():
        shelf = Shelf()
        names = []
        for least in ({"a": 1}, {"a": 2}, {"a": 3}):
            value: object = least
            for _ in range(1000):
                data = element(Kind.MAP_LEAF, [["a", value]])
                value = Link(hash_of(data))
                shelf.kept[hash_of(data)] = data
            names.append(value)
        with pytest.raises(Damaged, match="nested"):
            await thaw(names[0], shelf.get)
        with pytest.raises(Damaged, match="nested"):
            await merge(*names, shelf.get)

    run(read())


def test_an_element_has_a_bound():
    with pytest.raises(InvalidRequest, match="at most"):
        element(Kind.VALUE, bytes(MAX_ELEMENT))


def test_entries_are_written_once():
    entry = map_entry("k", 1)
    assert entry.data is entry.data
    assert entry.size == 4
