"""Elements that nothing comes from any more go; nothing else ever does, whoever is at work."""

from __future__ import annotations

import asyncio
import random

import pytest

from ion.base.errors import Conflict, Damaged, NotFound, Unavailable
from ion.objects import collecting, kept
from ion.objects.collecting import Collected, collect, condemn, sweep
from ion.objects.commit import Commit, as_element
from ion.objects.element import Kind, Link, element, hash_of, links_of
from ion.objects.kept import CONDEMNED, KeptPeer
from ion.objects.lazy import LazyHome
from ion.objects.repository import Repository
from ion.objects.workbench import Workbench
from tests.objects.places import Slow, Wire, memory_home

BIG = {f"key-{n:05}": n for n in range(1500)}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def made(home, name="r", branch="main", **values):
    repository = Repository(name, home)
    is_new = await repository.head(branch) is None
    tree = repository.begin(branch) if is_new else await repository.checkout(branch)
    for key, value in values.items():
        tree.set(key, value)
    return await repository.commit(tree)


async def names(home, prefix=""):
    found, cursor = [], None
    while True:
        page = await home.elements.keys(prefix, after=cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


async def is_whole(home):
    """Read all that heads reach, from the store itself."""
    waiting = [entry.value for entry in (await home.heads_store.scan(limit=10_000)).items]
    seen = set(waiting)
    while waiting:
        data = await home.elements.get(waiting.pop().hex())
        if data is None:
            return False
        fresh = [each for each in links_of(data) if each not in seen]
        seen.update(fresh)
        waiting += fresh
    return True


async def everything(home, clock=None):
    """Collect both steps, without others at work."""
    await condemn(home)
    return await sweep(home, grace=-1)


async def test_what_no_head_reaches_goes_after_the_grace(home):
    clock = Clock()
    await made(home, a=BIG)
    before = await names(home)
    await made(home, "s", b={**BIG, "more": 1}, c="x" * 200_000)
    await home.remove_head("s", "main")
    first = await collect(home, grace=60, clock=clock)
    assert first.condemned == len(await names(home)) // 2 - len(before) // 2 or first.condemned > 5
    clock.now += 59
    assert await collect(home, grace=60, clock=clock) == Collected(condemned=first.condemned)
    clock.now += 2
    assert await collect(home, grace=60, clock=clock) == Collected(removed=first.condemned)
    assert await names(home) == before
    assert await (await Repository("r", home).checkout()).value() == {"a": BIG}
    assert await collect(home, grace=60, clock=clock) == Collected()


async def test_history_is_kept(home):
    first = await made(home, a=BIG)
    await made(home, a=0)
    assert await condemn(home) == 0
    tree = await Repository("r", home).checkout(commit=first.hash)
    assert await tree.value() == {"a": BIG}


async def test_what_is_put_again_stays_with_all_below_it(home):
    await made(home, a=BIG, b="x" * 5000)
    (head,) = (await home.heads("r")).values()
    await home.remove_head("r", "main")
    count = await condemn(home)
    assert count == len(await names(home, CONDEMNED))
    assert await home.missing([head]) == [head]
    await home.set_head("r", "again", None, head)
    assert await names(home, CONDEMNED) == []
    assert await sweep(home, grace=-1) == Collected()
    assert await is_whole(home)


async def test_a_parent_of_something_condemned_takes_the_mark_away(home):
    leaf = element(Kind.VALUE, "leaf" * 500)
    node = element(Kind.LIST_LEAF, [Link(hash_of(leaf))])
    await home.offer([leaf, node])
    assert await condemn(home) == 2
    above = element(Kind.LIST_LEAF, [Link(hash_of(node))])
    await home.offer([above])
    assert await names(home, CONDEMNED) == []
    commit = as_element(Commit(Link(hash_of(above))))
    await home.offer([commit])
    await home.set_head("r", "main", None, hash_of(commit))
    assert await sweep(home, grace=-1) == Collected()
    assert await is_whole(home)


async def test_a_commit_on_what_is_condemned_brings_it_back(home):
    old = await made(home, a=BIG)
    tree = await Repository("r", home).checkout(commit=old.hash)
    await home.remove_head("r", "main")
    await condemn(home)
    tree.set("a/key-00007", -1)
    await Repository("r", home).commit(tree, branch="new")
    await sweep(home, grace=-1)
    assert await is_whole(home)
    assert await (await Repository("r", home).checkout("new")).value() == {
        "a": {**BIG, "key-00007": -1}
    }


async def test_a_commit_on_what_is_gone_is_refused(home):
    old = await made(home, a=BIG)
    tree = await Repository("r", home).checkout(commit=old.hash)
    await home.remove_head("r", "main")
    await everything(home)
    tree.set("b", 1)
    with pytest.raises(Conflict, match="not there"):
        await Repository("r", home).commit(tree, branch="new")
    assert await home.heads("r") == {}


async def test_a_refused_commit_leaves_nothing_with_open_ends(home):
    await made(home, a=BIG)
    tree = await Repository("r", home).checkout()
    await tree.value()  # now it is at hand, though it goes from the store
    await home.remove_head("r", "main")
    await everything(home)
    tree.set("a/key-00700", -1)
    with pytest.raises(Conflict, match="not there"):
        await Repository("r", home).commit(tree)
    bench = Workbench(await memory_home())
    await made(bench.home, a=BIG | {"key-00700": -1})  # of the same elements, from nothing
    await bench.push("r", home)
    assert await is_whole(home)


async def test_what_elements_not_condemned_refer_to_is_spared(home):
    """Two calls that crossed: one refers to what the other has just condemned."""
    leaf = element(Kind.VALUE, "leaf" * 500)
    await home.offer([leaf])
    await condemn(home)
    above = element(Kind.LIST_LEAF, [Link(hash_of(leaf))])
    await home.elements.put(hash_of(above).hex(), above)  # as one that had asked before
    assert await sweep(home, grace=-1) == Collected(spared=1)
    assert await home.missing([hash_of(leaf)]) == []
    await condemn(home)
    await home.elements.put(hash_of(above).hex(), above)  # again, condemned, of a new revision
    assert await sweep(home, grace=-1) == Collected(spared=2)


async def test_damage_stops_it_before_anything_is_condemned(home):
    await made(home, a=BIG)
    await made(home, "s", b=BIG, c=1)
    await home.remove_head("s", "main")
    (head,) = (await home.heads("r")).values()
    victim = links_of(await home.get(head))[0] if links_of(await home.get(head)) else head
    await home.elements.remove(victim.hex())
    with pytest.raises(Damaged, match="nothing is removed"):
        await condemn(home)
    assert await names(home, CONDEMNED) == []
    await home.elements.put(CONDEMNED + "zz", b"")
    with pytest.raises(Damaged, match="no mark"):
        await sweep(home)


async def test_a_far_writer_brings_back_what_it_builds_on(home):
    await made(home, a=BIG)
    lazy = Repository("r", LazyHome(home))
    tree = await lazy.checkout()
    await tree.value()
    await home.remove_head("r", "main")
    await condemn(home)
    tree.set("a/key-00009", -1)
    await lazy.commit(tree, branch="again")
    await sweep(home, grace=-1)
    assert await is_whole(home)


@pytest.mark.parametrize("at", ["offer", "set_head"])
async def test_what_is_collected_in_the_middle_of_a_push_is_given_again(home, at):
    class Collected(Wire):
        async def offer(self, elements):
            await super().offer(elements)
            if at == "offer" and self.calls.count("offer") == 1:
                await everything(self.peer)

        async def set_head(self, *args):
            if at == "set_head" and "set_head" not in self.calls:
                await everything(self.peer)
            await super().set_head(*args)

    bench = Workbench(await memory_home())
    await made(bench.home, a=[f"{n}" * 200 for n in range(2000)], b=BIG)
    wire = Collected(home)
    await bench.push("r", wire)
    assert wire.offered > len(await names(home)) > 20
    assert await is_whole(home)
    assert await home.heads("r") == {"main": (await bench.home.heads("r"))["main"]}


async def test_what_is_put_again_while_it_is_swept_stays(home, monkeypatch):
    needed = collecting._needed
    leaves = [element(Kind.VALUE, f"leaf {n}" * 500) for n in range(3)]
    await home.offer(leaves)
    assert await condemn(home) == 3

    async def crossed(*args):
        found = await needed(*args)
        await home.offer(leaves[:1])
        return found

    monkeypatch.setattr(collecting, "_needed", crossed)
    assert await sweep(home, grace=-1) == Collected(removed=2, spared=1)
    assert await home.missing([hash_of(leaf) for leaf in leaves]) == [
        hash_of(leaf) for leaf in leaves[1:]
    ]
    assert await names(home, CONDEMNED) == []


class After:
    """A store where something is done once, after the first call of a name."""

    def __init__(self, store, name, then):
        self._store = store
        self._name = name
        self._then = then

    def __getattr__(self, name):
        async def call(*args, **kwargs):
            result = await getattr(self._store, name)(*args, **kwargs)
            if name == self._name and self._then is not None:
                then, self._then = self._then, None
                await then()
            return result

        return call


@pytest.mark.parametrize("swept", ["a leaf", "all, once a mark was looked at"])
async def test_what_a_sweep_has_taken_in_part_is_not_brought_back(home, swept):
    await made(home, a=BIG)
    head = (await home.heads("r"))["main"]
    await home.remove_head("r", "main")
    await condemn(home)
    writer = home
    if swept == "a leaf":
        leaf = links_of(await home.elements.get(head.hex()))[0]
        marks = await collecting._marks(home)
        assert await collecting._remove(home.elements, {leaf: marks[leaf]}) == 1
    else:
        looked = After(home.elements, "has", lambda: sweep(home, grace=-1))
        writer = KeptPeer(looked, home.heads_store)
    with pytest.raises(Conflict, match="not there"):
        await Repository("r", writer).branch("again", commit=head.hex())
    assert await home.heads("r") == {}


class Killed(BaseException):
    pass


class Dying:
    """A store that is killed at its nth write."""

    def __init__(self, store, left):
        self._store = store
        self._left = left

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def write(self, batch):
        if not self._left:
            raise Killed
        self._left -= 1
        # Small batches die in the middle.
        return [(await self._store.write([each]))[0] for each in batch[: len(batch) // 2 or 1]] + (
            await self._store.write(batch[len(batch) // 2 or 1 :])
        )


async def test_who_is_killed_is_followed_by_one_who_goes_on(home):
    await made(home, a=BIG)
    kept = await names(home)
    for left in range(6):
        await made(home, "s", b={**BIG, "left": left}, c=[f"{n}" * 40 for n in range(2000)])
        await home.remove_head("s", "main")
        dying = KeptPeer(Dying(home.elements, left), home.heads_store)
        try:
            await condemn(dying)
            await sweep(dying, grace=-1)
        except Killed:
            assert left < 6
        for _ in range(2):
            await sweep(home, grace=-1)
            await condemn(home)
        await sweep(home, grace=-1)
        assert await names(home) == kept
    assert await is_whole(home)


async def test_a_store_that_fails_is_no_reason_to_lose_anything(home):
    class Away(Dying):
        async def write(self, batch):
            message = "away"
            raise Unavailable(message)

    await made(home, a=BIG)
    await home.remove_head("r", "main")
    with pytest.raises(Unavailable):
        await condemn(KeptPeer(Away(home.elements, 0), home.heads_store))
    await condemn(home)
    with pytest.raises(Unavailable):
        await sweep(KeptPeer(Away(home.elements, 0), home.heads_store), grace=-1)
    assert (await sweep(home, grace=-1)).removed > 3


class Underway:
    """A home that knows which calls have not ended: the grace is longer than each of them."""

    def __init__(self, home):
        self._home = home
        self._open: set[object] = set()

    def __getattr__(self, name):
        found = getattr(self._home, name)
        if name not in {"missing", "fetch", "offer", "heads", "set_head"}:
            return found

        async def call(*args):
            mark = object()
            self._open.add(mark)
            try:
                await asyncio.sleep(0)
                result = await found(*args)
                await asyncio.sleep(0)
            finally:
                self._open.discard(mark)
            return result

        return call

    async def grace(self):
        """Wait until all calls have ended that are open now."""
        before = set(self._open)
        while before & self._open:
            await asyncio.sleep(0)


ROUNDS = 25


@pytest.mark.parametrize("seed", range(4))
async def test_a_hundred_races_with_pushes(monkeypatch, seed):
    monkeypatch.setattr(kept, "BATCH_BYTES", 3000)  # so that a push has many calls
    chance = random.Random(seed)
    home = await memory_home()
    slow = KeptPeer(Slow(home.elements, chance), Slow(home.heads_store, chance))
    far = Underway(slow)
    rounds = []
    pushed: dict[str, dict] = {}

    async def pause(most):
        for _ in range(chance.randrange(most)):
            await asyncio.sleep(0)

    async def collector():
        while len(rounds) < ROUNDS:
            await condemn(slow)
            await far.grace()
            await pause(chance.choice([1, 200]))
            rounds.append(await sweep(slow, grace=-1))
            assert await is_whole(home)
            await pause(300)

    async def pusher(number):
        bench = Workbench(await memory_home())
        name = f"r{number}"
        turn = 0
        while len(rounds) < ROUNDS:
            turn += 1
            common = {f"s{n}": "x" * 40 for n in range(200)}  # of all of them, now and then
            own = {f"k{n}": number for n in range(100)} | {f"k{chance.randrange(100)}": turn}
            value = {"common": common if chance.random() < 0.7 else {}, "own": own}
            repository = bench.repository(name)
            is_new = await repository.head() is None
            tree = repository.begin() if is_new else await repository.checkout()
            tree.set("value", value)
            await repository.commit(tree)
            try:
                await bench.push(name, far)
            except (Conflict, NotFound):  # it was collected under its hands three times
                continue
            pushed[name] = value
            await pause(50)
            if chance.random() < 0.5:
                await home.remove_head(name, "main")
                del pushed[name]
                if chance.random() < 0.5:
                    await bench.home.remove_head(name, "main")  # it begins anew

    await asyncio.gather(collector(), *(pusher(number) for number in range(3)))
    assert sum(each.removed for each in rounds) > 20
    assert sum(each.spared for each in rounds) > 0
    assert await is_whole(home)
    for name, value in pushed.items():
        assert await (await Repository(name, home).checkout()).get("value") == value
    await everything(home)
    assert await names(home, CONDEMNED) == []
