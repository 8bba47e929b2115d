"""Objects go from peer to peer: only what is missing, whole or not at all, whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from ion.base.errors import Conflict, Damaged, InvalidRequest, NotFound
from ion.objects.element import HASH, Kind, Link, element, hash_of, links_of
from ion.objects.kept import CONDEMNED, KeptPeer
from ion.objects.lazy import LazyHome
from ion.objects.peer import BATCH_BYTES, MAX_ASKED
from ion.objects.repository import Repository
from ion.objects.transfer import pull, push
from ion.objects.workbench import Workbench
from tests.objects.places import Slow, Wire, memory_home

OBJECT = {
    "map": {f"key-{n:05}": n for n in range(4000)},
    "bytes": bytes(range(256)) * 2500,
    "list": [f"item {n}" for n in range(3000)],
    "same": {f"key-{n:05}": n for n in range(4000)},
    "small": 1,
}


async def made(home, name="r", **values):
    repository = Repository(name, home)
    tree = repository.begin()
    for key, value in (values or OBJECT).items():
        tree.set(key, value)
    await repository.commit(tree)
    return repository


async def changed(repository, **values):
    tree = await repository.checkout()
    for key, value in values.items():
        tree.set(key, value)
    return await repository.commit(tree)


async def keys(home):
    found, cursor = [], None
    while True:
        page = await home.elements.keys(after=cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


async def is_closed(home):
    """Whether a home has all that what it has refers to."""
    for key in await keys(home):
        data = await home.elements.get(key)
        assert hash_of(data).hex() == key
        if await home.missing(links_of(data)):
            return False
    return True


async def test_a_clone_has_all_and_each_element_travels_once(home, far):
    await made(far)
    wire = Wire(far)
    repository = await Workbench(home).clone("r", wire)
    assert await (await repository.checkout()).value() == OBJECT
    assert sorted(name.hex() for name in wire.fetched) == await keys(far)
    assert await is_closed(home)


async def test_a_pull_of_what_is_here_is_one_round_trip(home, far):
    await made(far)
    wire = Wire(far)
    bench = Workbench(home)
    await bench.clone("r", wire)
    wire.calls.clear()
    pulled = await bench.pull("r", wire)
    assert wire.calls == ["heads"]
    assert (pulled.moved.elements, pulled.moved.questions) == (0, 1)


async def test_only_what_is_missing_travels(home, far):
    there = await made(far)
    wire = Wire(far)
    bench = Workbench(home)
    here = await bench.clone("r", wire)
    await changed(there, more=1)
    wire.fetched.clear()
    pulled = await bench.pull("r", wire)
    assert len(wire.fetched) == pulled.moved.elements <= 3
    assert pulled.is_forward
    await changed(here, back=2)
    moved = await bench.push("r", wire)
    assert moved.elements == wire.offered <= 3
    assert (await bench.push("r", wire)).questions == 1
    assert await (await there.checkout()).value() == {**OBJECT, "more": 1, "back": 2}


async def test_two_workbenches_push_and_the_stale_one_merges(home, far):
    await made(far, n=1)
    mine, theirs = Workbench(home), Workbench(await memory_home())
    one, two = await mine.clone("r", far), await theirs.clone("r", far)
    await changed(one, a=1, n=2)
    await changed(two, b=1, n=3)
    await theirs.push("r", far)
    for _ in range(2):  # before and after theirs is known here
        before = await far.heads("r")
        with pytest.raises(Conflict, match="pull, merge, and push again") as caught:
            await mine.push("r", far)
        assert caught.value.details["theirs"] == (await far.heads("r"))["main"].hex()
        assert caught.value.details["ours"] == (await one.branches())["main"]
        assert await far.heads("r") == before
        pulled = await mine.pull("r", far)
        assert not pulled.is_forward
    merging = await one.merge("origin.main")
    (conflict,) = merging.conflicts
    assert (conflict.path, conflict.base, conflict.ours, conflict.theirs) == (("n",), 1, 2, 3)
    merging.resolve("n", 5)
    await one.commit(merging.tree)
    await mine.push("r", far)
    found = await Repository("r", far).checkout()
    assert await found.value() == {"n": 5, "a": 1, "b": 1}
    with pytest.raises(NotFound, match="no branch"):
        await mine.pull("r", far, branch="x")
    with pytest.raises(NotFound, match="no branch"):
        await mine.push("r", far, branch="x")


async def test_a_branch_of_the_longest_name_goes_to_and_fro(home, far):
    name = "b" * 64
    there = Repository("r", far)
    tree = there.begin(name)
    tree.set("n", 1)
    await there.commit(tree)
    bench = Workbench(home)
    here = await bench.clone("r", far, branch=name)
    tree = await here.checkout(name)
    tree.set("n", 2)
    await here.commit(tree)
    await bench.push("r", far, branch=name)
    assert await (await there.checkout(name)).get("n") == 2


async def test_cloning_over_other_versions_is_a_conflict(home, far):
    await made(far, n=1)
    await made(home, n=2)
    with pytest.raises(Conflict, match="pull"):
        await Workbench(home).clone("r", far)


@pytest.mark.parametrize("way", ["pull", "push"])
async def test_cut_off_at_every_step_and_tried_again(way):
    small = {**OBJECT, "map": {f"key-{n:05}": n for n in range(600)}, "same": 0}
    step, done = 0, False
    while not done:
        home, far = await memory_home(), await memory_home()
        source, target = (far, home) if way == "pull" else (home, far)
        there = await made(source, **small)
        wire = Wire(far, left=step)
        bench = Workbench(home)
        step += 1
        with contextlib.suppress(ConnectionError):
            await getattr(bench, way)("r", wire)
            done = True
        assert await is_closed(target)
        had = len(await keys(target))
        assert ("main" in await target.heads("r")) is done or way == "push"
        wire = Wire(far)
        moved = await getattr(bench, way)("r", wire)
        moved = moved if way == "push" else moved.moved
        assert moved.elements == len(await keys(source)) - had
        assert await target.heads("r") == {"main": (await source.heads("r"))["main"]} | (
            {"origin.main": (await source.heads("r"))["main"]} if way == "pull" else {}
        )
        assert await is_closed(target)
        repository = Repository("r", target)
        assert await (await repository.checkout()).value() == small
        assert await there.branches()
    assert step > 4


async def test_where_it_is_taken_cut_off_at_every_step(far):
    await made(far)
    (head,) = (await far.heads("r")).values()
    step, done, home = 0, False, await memory_home()
    while not done:
        step += 3
        with contextlib.suppress(ConnectionError):
            await pull([head], far, Wire(home, left=step))
            done = True
        assert await is_closed(home)
    assert step > 8
    assert sorted(await keys(home)) == sorted(await keys(far))


class Liar(Wire):
    """A peer that answers what it was not asked for."""

    def __init__(self, peer, lie):
        super().__init__(peer)
        self.lie = lie

    async def fetch(self, hashes):
        return self.lie(await super().fetch(hashes))


LIES = {
    "altered": lambda found: [found[0][:-1] + bytes([found[0][-1] ^ 1]), *found[1:]],
    "truncated": lambda found: [found[0][:-1], *found[1:]],
    "of another": lambda found: [element(Kind.VALUE, 1)],
    "none": lambda found: [],
    "too many": lambda found: found * 50,
    "swapped": lambda found: found[::-1] if len(found) > 1 else [b""],
    "empty": lambda found: [b"" for _ in found],
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_is_not_what_its_hash_says_is_not_taken(home, far, lie):
    await made(far)
    with pytest.raises(Damaged):
        await Workbench(home).clone("r", Liar(far, LIES[lie]))
    assert await is_closed(home)
    assert await home.heads("r") == {}


async def test_a_peer_that_has_not_all_is_found_out(home, far):
    await made(far)
    victim = (await keys(far))[3]
    await far.elements.remove(victim)
    fresh = type(far)(far.elements, far.heads_store)
    with pytest.raises(NotFound, match="no element"):
        await Workbench(home).clone("r", fresh)
    assert await is_closed(home)


async def test_elements_with_open_ends_are_refused(home):
    data = element(Kind.VALUE, [Link(b"x" * HASH)])
    leaf = element(Kind.VALUE, 5)
    parent = element(Kind.LIST_LEAF, [Link(hash_of(leaf))])
    with pytest.raises(Conflict) as caught:
        await home.offer([leaf, data])
    assert caught.value.details["missing"] == [(b"x" * HASH).hex()]
    assert await keys(home) == []
    with pytest.raises(Conflict):
        await home.offer([parent, leaf])
    with pytest.raises(Damaged):
        await home.offer([leaf, b"\xc1"])
    with pytest.raises(InvalidRequest, match="at most"):
        await home.offer([b"\x92\x00\xc6\x00\x09\x00\x00" + bytes(0x90000)])
    assert await keys(home) == []
    await home.offer([leaf, parent])
    assert len(await keys(home)) == 2
    with pytest.raises(InvalidRequest):
        await home.missing([b"short"])
    with pytest.raises(InvalidRequest):
        await home.fetch([bytes(HASH)] * (MAX_ASKED + 1))


async def test_answers_are_no_larger_than_a_batch(home):
    leaves = [element(Kind.VALUE, bytes([n]) * 100_000) for n in range(9)]
    await home.offer(leaves)
    names = [hash_of(leaf) for leaf in leaves]
    assert await home.fetch(names) == leaves[: BATCH_BYTES // 100_000]
    with pytest.raises(NotFound):
        await home.fetch([b"x" * HASH, *names])
    assert await home.fetch([names[0], b"x" * HASH, names[1]]) == leaves[:1]


async def test_transfers_keep_little_in_memory(far):
    """The largest batch that is given on; what is moved has fifty times as much."""
    await made(far, parts=[bytes([n]) * 250_000 for n in range(60)])
    home = await memory_home()
    largest = 0
    offer = home.offer

    async def measured(elements):
        nonlocal largest
        largest = max(largest, sum(map(len, elements)))
        await offer(elements)

    home.offer = measured
    (head,) = (await far.heads("r")).values()
    moved = await pull([head], far, home)
    assert moved.size > 15_000_000 / 2
    assert largest < 3 * BATCH_BYTES
    largest = 0
    fresh = await memory_home()
    home.offer, offer, fresh.offer = offer, fresh.offer, measured
    assert (await push([head], home, fresh)).elements == moved.elements
    assert largest < 3 * BATCH_BYTES


async def test_pushers_race_to_one_peer(far):
    await made(far, n=0)
    benches = [Workbench(await memory_home()) for _ in range(20)]

    async def work(number, bench):
        repository = await bench.clone("r", far)
        await changed(repository, **{f"w{number}": number, "n": number})
        conflicts = 0
        while True:
            try:
                await bench.push("r", far)
            except Conflict:
                conflicts += 1
            else:
                return conflicts
            await bench.pull("r", far)
            merging = await repository.merge("origin.main")
            for each in merging.conflicts[:]:
                merging.resolve(each.path, max(each.ours, each.theirs))
            if merging.is_needed:
                await repository.commit(merging.tree)

    conflicts = await asyncio.gather(*(work(n, bench) for n, bench in enumerate(benches)))
    assert conflicts.count(0) >= 1
    assert sum(conflicts) >= 19
    found = await (await Repository("r", far).checkout()).value()
    assert found == {"n": 19, **{f"w{number}": number for number in range(20)}}


async def test_many_pull_the_same_at_a_time(home, far):
    there = await made(far)
    chance = random.Random(1)
    bench = Workbench(KeptPeer(Slow(home.elements, chance), Slow(home.heads_store, chance)))
    is_over = False

    async def pulls():
        while not is_over:
            await bench.pull("r", Wire(far))

    async def changes():
        nonlocal is_over
        for n in range(10):
            await changed(there, n=n)
        is_over = True

    await asyncio.gather(changes(), *(pulls() for _ in range(4)))
    await bench.pull("r", far)
    heads = await home.heads("r")
    assert heads["main"] == heads["origin.main"] == (await far.heads("r"))["main"]


async def test_a_far_object_is_read_as_it_is_needed(far):
    await made(far)
    wire = Wire(far)
    lazy = Repository("r", LazyHome(wire))
    tree = await lazy.checkout()
    assert await tree.get("small") == 1
    assert len(wire.fetched) == 1
    assert await tree.get("map/key-00017") == 17
    assert len(wire.fetched) <= 5
    tree.set("map/key-00017", -1)
    await lazy.commit(tree)
    assert wire.offered <= 6
    assert await (await Repository("r", far).checkout()).get("map/key-00017") == -1
    with pytest.raises(Damaged):
        await Repository("r", LazyHome(Liar(far, LIES["altered"]))).checkout()
    with pytest.raises(Damaged):
        await Repository("r", LazyHome(Liar(far, LIES["none"]))).checkout()


async def test_a_large_commit_to_afar_goes_in_batches(far):
    sizes = []

    class Measured(Wire):
        async def offer(self, elements):
            sizes.append(sum(map(len, elements)))
            await super().offer(elements)

    lazy = Repository("r", LazyHome(Measured(far)))
    tree = lazy.begin()
    tree.set("x", OBJECT)
    tree.set("y", bytes(3_000_000))
    await lazy.commit(tree)
    assert max(sizes) <= BATCH_BYTES
    assert await (await Repository("r", far).checkout()).get("x") == OBJECT


async def test_marks_are_no_elements(home):
    assert CONDEMNED.endswith("/")
    await home.elements.put(CONDEMNED + "00" * 32, b"")
    assert await home.missing([bytes(HASH)]) == [bytes(HASH)]
