"""Claims to what is in a shared outbox: held while they are renewed, taken once they are not."""

from __future__ import annotations

import asyncio

import pytest

from ion.base import clock
from ion.process.exactly_once.claims import Claims
from ion.stores.memory.datastore import MemoryDatastore
from ion.stores.store import Store

LEASE = 10.0


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return 0.0  # the time of day means nothing here

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def hand():
    with clock.using(Hand()) as hand:
        yield hand


@pytest.fixture
async def rows() -> Store:
    datastore = MemoryDatastore()
    await datastore.open()
    return await datastore.store("claims")


async def test_a_claim_that_is_renewed_is_not_taken(rows: Store, hand: Hand) -> None:
    first, second = Claims(rows, "s", "a", LEASE), Claims(rows, "s", "b", LEASE)
    await first.hold_own()
    for _ in range(10):
        assert await second.take([first.own]) == []
        hand.at += LEASE / 3
        assert await first.renew() == []
    assert first.holds(first.own)


async def test_a_claim_that_is_not_renewed_is_taken_by_one(rows: Store, hand: Hand) -> None:
    first = Claims(rows, "s", "a", LEASE)
    await first.hold_own()
    own = first.own
    others = [Claims(rows, "s", name, LEASE) for name in "bcd"]
    for other in others:
        assert await other.take([]) == []
    hand.at += LEASE - 0.1
    for other in others:
        assert await other.take([]) == []
    hand.at += 0.1
    taken = await asyncio.gather(*(other.take([]) for other in others))
    assert sorted(taken) == [[], [], [own]]
    assert await first.renew() == [own]
    assert first.own != own
    await first.hold_own()
    assert (await rows.keys()).items == sorted([f"s/{own}", f"s/{first.own}"])
    winner = others[taken.index([own])]
    await winner.give_up(own)
    assert (await rows.keys()).items == [f"s/{first.own}"]


async def test_what_has_no_row_is_claimed_after_a_lease(rows: Store, hand: Hand) -> None:
    claims = Claims(rows, "s", "b", LEASE)
    assert await claims.take(["a.1"]) == []
    hand.at += LEASE
    assert await claims.take(["a.1"]) == ["a.1"]
    assert await claims.renew() == []
    await claims.give_up("a.1")
    await claims.give_up("a.1")
    assert (await rows.keys()).items == []


async def test_a_former_life_of_the_same_name_is_gone_for_sure(rows: Store, hand: Hand) -> None:
    before = Claims(rows, "s", "fixed", LEASE)
    await before.hold_own()
    now = Claims(rows, "s", "fixed", LEASE)
    assert await now.take([]) == [before.own]
    assert now.own != before.own


async def test_other_systems_have_their_own(rows: Store, hand: Hand) -> None:
    first, second = Claims(rows, "s", "a", LEASE), Claims(rows, "s2", "b", LEASE)
    await first.hold_own()
    assert await second.take([]) == []
    hand.at += 2 * LEASE
    assert await second.take([]) == []


async def test_held_at_once_by_many_it_is_one_claim(rows: Store, hand: Hand) -> None:
    claims = Claims(rows, "s", "a", LEASE)
    await asyncio.gather(*(claims.hold_own() for _ in range(10)), claims.renew())
    assert await claims.renew() == []
    assert len((await rows.keys()).items) == 1
