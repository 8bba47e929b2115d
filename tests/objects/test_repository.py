"""Versions of an object: branches, history, as-of reads, and merges that lose nothing."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.base.errors import Conflict, Damaged, InvalidRequest, NotFound
from ion.objects.commit import Commit, as_element, commit_of
from ion.objects.element import Kind, element, hash_of
from ion.objects.history import is_before, merge_bases
from ion.objects.repository import Repository
from ion.objects.thawing import NOTHING
from tests.objects.places import OBJECTS, memory_home, run


async def commit(repository, changes, *, branch="main", at=None, comment=""):
    """Put some values, and commit them to a branch."""
    is_new = await repository.head(branch) is None
    tree = repository.begin(branch) if is_new else await repository.checkout(branch)
    for path, value in changes.items():
        if value is NOTHING:
            tree.remove(path)
        else:
            tree.set(path, value)
    return await repository.commit(tree, author="me", at=at, comment=comment)


async def value(repository, branch="main", **which):
    return await (await repository.checkout(branch, **which)).value()


async def test_a_version_stays_as_it_was_committed(home):
    repository = Repository("station", home)
    first = await commit(repository, {"a/b": 1, "c": [1, 2]}, comment="first")
    second = await commit(repository, {"a/b": 2, "big": "x" * 100_000})
    assert await value(repository) == {"a": {"b": 2}, "c": [1, 2], "big": "x" * 100_000}
    assert await value(repository, commit=first.hash) == {"a": {"b": 1}, "c": [1, 2]}
    found = [version async for version in repository.history()]
    assert found == [second, first]
    assert found[1].comment == "first"
    assert found[0].parents == (first.hash,)
    assert [version async for version in repository.history(limit=1)] == [second]
    assert [version async for version in repository.history(commit=first.hash)] == [first]


async def test_reading_as_of_a_time(home):
    repository = Repository("r", home)
    for at in (10.0, 20.0, 20.0, 30.0):
        count = len([each async for each in repository.history()]) if at > 10 else 0
        await commit(repository, {"n": count}, at=at)
    assert await value(repository, at=10) == {"n": 0}
    assert await value(repository, at=19.9) == {"n": 0}
    assert await value(repository, at=20.0) == {"n": 2}
    assert await value(repository, at=1e12) == {"n": 3}
    with pytest.raises(NotFound, match="that early"):
        await repository.checkout(at=9.9)


async def test_branches_part_and_are_found_by_name(home):
    repository = Repository("r", home)
    first = await commit(repository, {"n": 1})
    await repository.branch("side")
    await commit(repository, {"n": 2}, branch="side")
    await repository.branch("old", commit=first.hash)
    assert await value(repository) == await value(repository, "old") == {"n": 1}
    assert await value(repository, "side") == {"n": 2}
    assert sorted(await repository.branches()) == ["main", "old", "side"]
    with pytest.raises(Conflict):
        await repository.branch("side")
    with pytest.raises(NotFound, match="it has: main, old, side"):
        await repository.checkout("nowhere")
    with pytest.raises(NotFound):
        await repository.checkout(commit="00" * 32)
    with pytest.raises(NotFound, match="neither a branch"):
        await repository.merge("zz")
    copied = await repository.copy("r2")
    assert await copied.branches() == await repository.branches()
    await commit(copied, {"n": 9})
    assert await value(repository) == {"n": 1}


@pytest.mark.parametrize("name", ["", "a/b", "é", "x" * 200, None, "../x", " "])
async def test_names_that_are_none(home, name):
    with pytest.raises(InvalidRequest):
        Repository(name, home)
    with pytest.raises(InvalidRequest):
        await Repository("r", home).head(name)


async def test_a_stale_commit_is_a_conflict_that_has_both_heads(home):
    repository = Repository("r", home)
    await commit(repository, {"n": 1})
    mine, theirs = await repository.checkout(), await repository.checkout()
    theirs.set("n", 2)
    won = await repository.commit(theirs)
    mine.set("m", 3)
    with pytest.raises(Conflict, match="merge") as caught:
        await repository.commit(mine)
    assert caught.value.details["theirs"] == won.hash
    assert len(caught.value.details["ours"]) == 64
    merging = await repository.merge(caught.value.details["ours"])
    assert merging.conflicts == []
    await repository.commit(merging.tree)
    assert await value(repository) == {"n": 2, "m": 3}


async def test_conflicts_are_reported_and_have_to_be_decided(home):
    repository = Repository("r", home)
    await commit(repository, {"same": 1, "both": 1, "gone": 1, "deep/x": 1, "l": [1], "left": 0})
    await repository.branch("side")
    await commit(repository, {"both": 2, "gone": NOTHING, "deep/y": 1, "l": [1, 2], "same": 5})
    theirs = {"both": 3, "gone": 7, "deep/z": 1, "l": [1, 3], "same": 5, "left": NOTHING}
    await commit(repository, theirs, branch="side")
    merging = await repository.merge("side")
    found = {"/".join(c.path): (c.base, c.ours, c.theirs) for c in merging.conflicts}
    assert found == {
        "both": (1, 2, 3),
        "gone": (1, NOTHING, 7),
        "l": ([1], [1, 2], [1, 3]),
    }
    with pytest.raises(Conflict, match="3 conflicts") as caught:
        await repository.commit(merging.tree)
    assert caught.value.details["paths"] == ["both", "gone", "l"]
    merging.resolve("both", 3)
    merging.resolve("gone", NOTHING)
    with pytest.raises(InvalidRequest, match="no conflict"):
        merging.resolve("gone", 1)
    merging.resolve(("l",), [1, 2, 3])
    done = await repository.commit(merging.tree)
    assert len(done.parents) == 2
    assert await value(repository) == {
        "same": 5, "both": 3, "deep": {"x": 1, "y": 1, "z": 1}, "l": [1, 2, 3]
    }  # fmt: skip
    again = await repository.merge("side")
    assert not again.is_needed
    assert await again.tree.value() == await value(repository)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "is_conflict", "expected"),
    [
        (1, 1, True, False, True),
        (1, 1.0, 1, False, 1.0),
        (0.0, 0.0, -0.0, False, -0.0),
        (math.nan, math.nan, 5, False, 5),
        (1, True, 1.0, True, None),
        ({}, {}, [], False, []),
    ],
)
async def test_kinds_of_numbers_are_not_mixed_up(home, base, ours, theirs, is_conflict, expected):
    repository = Repository("r", home)
    await commit(repository, {"x": base})
    await repository.branch("side")
    await commit(repository, {"x": ours, "o": 1})
    await commit(repository, {"x": theirs, "t": 1}, branch="side")
    merging = await repository.merge("side")
    assert bool(merging.conflicts) is is_conflict
    if not is_conflict:
        found = await merging.tree.get("x")
        assert (type(found), str(found)) == (type(expected), str(expected))


async def test_what_has_nothing_in_common_can_be_merged(home):
    repository = Repository("r", home)
    await commit(repository, {"a": 1, "same": 1})
    other = Repository("s", home)
    theirs = await commit(other, {"b": 1, "same": 2})
    merging = await repository.merge(theirs.hash)
    assert [c.path for c in merging.conflicts] == [("same",)]
    assert await merging.tree.value() == {"a": 1, "b": 1, "same": 1}


async def test_ahead_is_no_merge(home):
    repository = Repository("r", home)
    await commit(repository, {"n": 1})
    await repository.branch("side")
    ahead = await commit(repository, {"n": 2}, branch="side")
    merging = await repository.merge("side")
    assert not merging.is_needed
    await repository.commit(merging.tree)
    assert await value(repository) == {"n": 2}
    newest = await anext(repository.history())
    assert newest.parents[1] == ahead.hash


async def crosswise(repository, resolved_by_a, resolved_by_b):
    """Two branches that have merged each other, and decided a conflict each in its own way."""
    await commit(repository, {"k": 0, "x": 0})
    await repository.branch("a")
    await repository.branch("b")
    first = await commit(repository, {"k": 1, "a": 1}, branch="a")
    second = await commit(repository, {"k": 2, "b": 1}, branch="b")
    for branch, theirs, ours, decided in (
        ("a", second.hash, first.hash, resolved_by_a),
        ("b", first.hash, second.hash, resolved_by_b),
    ):
        merging = await repository.merge(theirs, into=branch, ours=ours)
        merging.resolve("k", decided)
        await repository.commit(merging.tree)


@pytest.mark.parametrize(
    ("by_a", "by_b", "is_conflict"),
    [(1, 2, True), (1, 1, False), (3, 4, True), (NOTHING, 2, True), (1, NOTHING, True)],
)
async def test_merges_crosswise_lose_nothing(home, by_a, by_b, is_conflict):
    repository = Repository("r", home)
    await crosswise(repository, by_a, by_b)
    heads = await repository.branches()
    bases = await merge_bases(bytes.fromhex(heads["a"]), bytes.fromhex(heads["b"]), home.get)
    assert len(bases) == 2
    for ours, theirs, mine, other in (("a", "b", by_a, by_b), ("b", "a", by_b, by_a)):
        merging = await repository.merge(theirs, into=ours)
        assert bool(merging.conflicts) is is_conflict
        for conflict in merging.conflicts:
            assert (conflict.path, conflict.base) == (("k",), NOTHING)
            assert (conflict.ours, conflict.theirs) == (mine, other)
        assert await merging.tree.get("a") == await merging.tree.get("b") == 1


EDITS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c/x", "c/y", "d/e/f"]), st.integers(0, 3) | st.none()),
    max_size=5,
)


@given(OBJECTS, EDITS, EDITS)
@settings(max_examples=60, deadline=None)
def test_a_merge_is_the_same_from_both_sides_up_to_its_conflicts(base, ours, theirs):
    async def both_ways():
        repository = Repository("r", await memory_home())
        tree = repository.begin()
        for key, each in base.items():
            tree.set((key,), each)
        await repository.commit(tree)
        for branch, edits in (("a", ours), ("b", theirs)):
            await repository.branch(branch)
            tree = await repository.checkout(branch)
            for path, number in edits:
                await _edit(tree, path, number)
            await repository.commit(tree, comment=branch)
        one = await repository.merge("b", into="a")
        other = await repository.merge("a", into="b")
        assert [(c.path, str(c.ours), str(c.theirs)) for c in one.conflicts] == [
            (c.path, str(c.theirs), str(c.ours)) for c in other.conflicts
        ]
        for conflict in one.conflicts[:]:
            one.resolve(conflict.path, conflict.ours)
            other.resolve(conflict.path, conflict.ours)
        await repository.commit(one.tree)
        await repository.commit(other.tree)
        a, b = await repository.checkout("a"), await repository.checkout("b")
        assert a.root == b.root
        again = await repository.merge("b", into="a")
        assert again.conflicts == []
        assert await again.tree.value() == await a.value()

    run(both_ways())


async def _edit(tree, path, number):
    try:
        if number is not None:
            tree.set(path, number)
            await tree.value()
        elif await tree.has(path):
            tree.remove(path)
    except InvalidRequest:  # the path leads through what is no map
        tree.forget()


async def test_a_hundred_writers_race_and_nothing_is_lost(home):
    repository = Repository("r", home)
    await commit(repository, {"start": 1})
    lost = {}

    async def write(number):
        tree = await repository.checkout()
        tree.set(f"w/{number}", number)
        tree.set("last", number)
        try:
            await repository.commit(tree)
        except Conflict as conflict:
            lost[number] = conflict.details

    async def again(number):
        while number in lost:
            merging = await repository.merge(lost[number]["ours"])
            for each in merging.conflicts[:]:
                merging.resolve(each.path, max(each.ours, each.theirs))
            try:
                await repository.commit(merging.tree)
                del lost[number]
            except Conflict:
                continue

    await asyncio.gather(*(write(number) for number in range(100)))
    assert len(lost) == 99
    assert len({each["theirs"] for each in lost.values()}) == 1
    numbers = sorted(lost)
    for start in range(0, 99, 9):
        await asyncio.gather(*(again(number) for number in numbers[start : start + 9]))
    found = await value(repository)
    assert found["w"] == {str(number): number for number in range(100)}
    assert found["last"] == 99


async def test_of_a_hundred_that_commit_at_once_one_wins(home):
    repository = Repository("r", home)
    await commit(repository, {"start": 1})
    for turn in range(3):
        trees = [await repository.checkout() for _ in range(100)]
        for number, tree in enumerate(trees):
            tree.set("n", [turn, number])
        done = await asyncio.gather(
            *(repository.commit(tree) for tree in trees), return_exceptions=True
        )
        winners = [each for each in done if not isinstance(each, BaseException)]
        assert len(winners) == 1
        head = (await repository.branches())["main"]
        assert head == winners[0].hash
        for each in done:
            if isinstance(each, BaseException):
                assert isinstance(each, Conflict)
                assert each.details["theirs"] == head


async def test_a_history_of_a_thousand_commits():
    repository = Repository("r", await memory_home())
    for number in range(1000):
        await commit(repository, {f"k{number % 50}": number}, at=float(number))
    found = [version.time async for version in repository.history()]
    assert found == [float(number) for number in reversed(range(1000))]
    assert (await value(repository, at=499.5))["k49"] == 499
    await repository.branch("side", commit=(await _nth(repository, 900)).hash)
    await commit(repository, {"side": 1}, branch="side")
    merging = await repository.merge("side")
    assert merging.conflicts == []
    assert await merging.tree.get("side") == 1
    await commit(repository, {"late": 1}, at=1001.0)
    ours = await repository.head()
    theirs = bytes.fromhex((await _nth(repository, 20)).hash)
    asked = []

    async def get(name):
        asked.append(name)
        return await repository._home.get(name)

    assert await is_before(theirs, ours, get)
    assert await merge_bases(ours, theirs, get) == [theirs]
    assert len(asked) < 60


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_common_ancestors_of_any_history_by_any_clocks(seed):
    chance = random.Random(seed)
    commits, parents, kept = [], {}, {}
    for _ in range(chance.randrange(2, 25)):
        above = tuple(chance.sample(commits, min(len(commits), chance.choice([0, 1, 1, 1, 2, 3]))))
        data = as_element(
            Commit({"n": len(commits), "x": math.nan}, above, time=float(chance.randrange(10)))
        )
        kept[hash_of(data)] = data
        parents[hash_of(data)] = set(above)
        commits.append(hash_of(data))

    def before(name):
        return {name}.union(*(before(parent) for parent in parents[name]))

    async def get(name):
        return kept[name]

    async def check():
        ours, theirs = chance.choice(commits), chance.choice(commits)
        common = before(ours) & before(theirs)
        best = {n for n in common if not any(n in before(o) for o in common - {n})}
        assert set(await merge_bases(ours, theirs, get)) == best
        assert await is_before(theirs, ours, get) == (theirs in before(ours))

    run(check())


async def _nth(repository, number):
    versions = [version async for version in repository.history()]
    return versions[number]


async def test_what_no_commit_can_be(home):
    repository = Repository("r", home)
    tree = repository.begin()
    with pytest.raises(InvalidRequest, match="comment"):
        await repository.commit(tree, comment="x" * 5000)
    for when in (math.nan, math.inf, True):
        with pytest.raises(InvalidRequest, match="seconds"):
            await repository.commit(tree, at=when)
    tree.set("x", object())
    with pytest.raises(InvalidRequest, match="plain data"):
        await repository.commit(tree)
    assert await repository.branches() == {}
    tree.set("x", 1)
    await repository.commit(tree)
    assert await value(repository) == {"x": 1}


@pytest.mark.parametrize("wrong", ["root", "time", "author", "parents"])
def test_what_is_no_commit_is_damaged(wrong):
    body = {"root": {}, "parents": [], "author": "", "time": 0.0, "comment": "", "branch": ""}
    assert commit_of(element(Kind.COMMIT, body)) == Commit({})
    for value in (object, 5, "x", None, math.nan):
        if (wrong, value) in {("time", 5), ("author", "x")} or value is object:
            continue
        with pytest.raises(Damaged):
            commit_of(element(Kind.COMMIT, {**body, wrong: value}))
    with pytest.raises(Damaged):
        commit_of(element(Kind.VALUE, body))


async def test_a_branch_ends_with_a_commit_only(home):
    repository = Repository("r", home)
    with pytest.raises(NotFound):
        await home.set_head("r", "main", None, b"x" * 32)
    data = element(Kind.VALUE, 5)
    await home.offer([data])
    with pytest.raises(Damaged):
        await home.set_head("r", "main", None, hash_of(data))
    orphan = as_element(Commit({}, (b"p" * 32,)))
    await home.keep({hash_of(orphan): orphan})
    with pytest.raises(Conflict, match="not there"):
        await home.set_head("r", "main", None, hash_of(orphan))
    assert await repository.branches() == {}


async def test_heads_beyond_one_page(home):
    repository = Repository("r", home)
    first = await commit(repository, {"n": 1})
    for number in range(1100):
        await home.heads_store.put(f"r/b{number}", bytes.fromhex(first.hash))
    assert len(await repository.branches()) == 1101
    assert await home.remove_head("r", "b7")
    assert not await home.remove_head("r", "b7")


async def test_damage_of_what_is_kept_is_found_out(home, datastore):
    repository = Repository("r", home)
    version = await commit(repository, {"text": "x" * 5000})
    fresh = type(home)(home.elements, home.heads_store)
    for key in (await home.elements.keys()).items:
        kept = await home.elements.get(key)
        await home.elements.put(key, kept[:-1] + b"!")
        with pytest.raises(Damaged, match="altered"):
            await type(home)(home.elements, home.heads_store).get(bytes.fromhex(key))
        await home.elements.remove(key)
        with pytest.raises(NotFound):
            await type(home)(home.elements, home.heads_store).get(bytes.fromhex(key))
        await home.elements.put(key, kept)
    assert await value(Repository("r", fresh), commit=version.hash) == {"text": "x" * 5000}
    await home.heads_store.put("r/main", b"short")
    with pytest.raises(Damaged, match="no hash"):
        await repository.head()
