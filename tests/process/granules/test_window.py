"""The window alone: what it hands to the transport, and when, on a way that fails as it is told."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion import CodecError, Unavailable
from ion.messaging.envelope import Envelope
from ion.messaging.transport import Settled, TransportState
from ion.process.endpoint.endpoint import Endpoint
from ion.process.granules.window import PAUSES, Window
from tests.process.granules.places import until


class Way:
    """A transport, the points, the loop and the clock, as far as a window needs them.

    It checks, at each granule that it is handed, the order that the window promises.
    """

    def __init__(self) -> None:
        self.state = TransportState.CONNECTED
        self.writable = True
        self.refuses: dict[int, Exception] = {}
        self.passes = 0  # at the so many-th from now on, the buffer is full
        self.arrived: list[int] = []  # at the broker, of which confirms may be lost
        self.flying: deque[tuple[int, Settled]] = deque()
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.handed: set[int] = set()  # since the last failure that was told
        self.confirmed: set[int] = set()
        self.transport: Any = self
        self.points: Any = SimpleNamespace(declare=self._declare)
        self.loop: Any = self

    # the endpoint

    def time(self) -> float:
        return 0.0

    async def _declare(self, point: str, timeout: float) -> str:
        return point

    # the loop

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        entry = (delay, callback)
        self.due.append(entry)
        return SimpleNamespace(cancel=lambda: self.due.remove(entry))

    def create_task(self, work: Coroutine[Any, Any, None]) -> Any:
        return self.call_later(0.0, lambda: _finish(work))

    def tick(self) -> float:
        """Do what is due; return after which delay that was."""
        delay, callback = self.due.pop(0)
        callback()
        return delay

    # the transport

    def publish(self, exchange: str, key: str, envelope: Envelope, *, settled: Settled) -> None:
        number = int(envelope.message_id)
        if number in self.refuses:
            raise self.refuses[number]
        self.passes -= 1
        if self.state is TransportState.LOST or self.passes == 0:
            self.handed.clear()
            message = "away"
            raise Unavailable(message)
        for before in range(1, number):
            assert before in self.handed or before in self.confirmed, (before, number)
        self.handed.add(number)
        self.flying.append((number, settled))

    def answer(self, error: Unavailable | None = None) -> None:
        """Answer the oldest that is unanswered."""
        number, settled = self.flying.popleft()
        if error is None:
            self.arrived.append(number)
            self.confirmed.add(number)
        else:
            self.handed.clear()
        settled(error)

    def lose(self, arrive: int) -> None:
        """Lose the connection; so many of what flies have arrived, unconfirmed."""
        self.state, self.writable = TransportState.LOST, False
        flying, self.flying = self.flying, deque()
        self.handed.clear()
        for at, (number, settled) in enumerate(flying):
            if at < arrive:
                self.arrived.append(number)
            settled(Unavailable("lost"))

    def come_back(self) -> None:
        self.state, self.writable = TransportState.CONNECTED, True


def _finish(work: Coroutine[Any, Any, None]) -> None:
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError(work)


def window_on(way: Way, size: int = 1000) -> Window:
    return Window(cast("Endpoint", way), "x", "ctd", size)


def send(window: Window, number: int) -> None:
    window.send(Envelope(body=b"", message_id=str(number)))


def test_after_a_loss_nothing_new_goes_before_what_is_sent_again() -> None:
    way = Way()
    window = window_on(way)
    for number in (1, 2, 3, 4):
        send(window, number)
    way.answer()
    way.lose(arrive=1)
    send(window, 5)
    assert way.tick() == PAUSES[0]  # still away
    way.writable = True  # there again, but the queues of who subscribes in here are not
    assert way.tick() == PAUSES[0]
    way.come_back()
    send(window, 6)
    assert not way.flying
    way.tick()
    send(window, 7)
    assert not way.flying
    way.tick()
    send(window, 8)
    assert [number for number, _ in way.flying] == [2, 3, 4, 5, 6, 7, 8]
    way.lose(arrive=2)  # once more, and again while it is sending
    way.come_back()
    way.tick()
    way.state = TransportState.LOST
    way.tick()
    assert not way.flying
    way.come_back()
    way.tick()
    way.tick()
    while way.flying:
        way.answer()
    assert list(dict.fromkeys(way.arrived)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(window) == 0
    assert not way.due


def test_what_is_refused_again_and_again_is_sent_less_and_less_often() -> None:
    way = Way()
    window = window_on(way)
    pauses = []
    send(window, 1)
    send(window, 2)
    for _ in range(8):
        way.answer(Unavailable("refused"))
        while way.flying:  # they were on their way: the broker takes them, and the first late
            way.answer()
        pauses.append(way.tick())
        way.tick()
    assert pauses == [*PAUSES, PAUSES[-1], PAUSES[-1]]
    way.answer()
    send(window, 3)
    way.answer(Unavailable("refused"))
    assert way.tick() == PAUSES[0]
    way.tick()


async def test_what_can_never_be_sent_is_told_and_holds_up_nothing() -> None:
    way = Way()
    window = window_on(way)
    way.refuses[1] = CodecError("no")
    with pytest.raises(CodecError):
        send(window, 1)
    assert len(window) == 0
    way.confirmed.add(1)
    send(window, 2)
    send(window, 3)
    way.lose(arrive=0)
    way.come_back()
    way.refuses[2] = CodecError("too large for this broker")
    way.confirmed.add(2)
    way.tick()
    way.tick()
    way.answer()
    with pytest.raises(Unavailable, match="1 granules were given up"):
        await window.empty(1)
    await window.empty(1)  # that was told


@pytest.mark.parametrize("how", ["close", "rest"])
async def test_who_waits_for_all_is_told_where_some_are_given_up(how: str) -> None:
    way = Way()
    window = window_on(way)
    send(window, 1)
    send(window, 2)
    waiting = asyncio.ensure_future(window.empty(10))
    await asyncio.sleep(0)
    if how == "close":
        way.lose(arrive=0)
        window.close()
    else:
        resting = asyncio.ensure_future(window.rest())
        await until(lambda: window.rests)
        way.lose(arrive=0)
        await resting
    assert not way.due
    with pytest.raises(Unavailable, match="2 granules were given up"):
        await waiting


async def test_where_it_was_full_it_waits_for_half_of_it_to_be_free() -> None:
    way = Way()
    window = window_on(way, size=4)
    for number in (1, 2, 3, 4):
        send(window, number)
    waiting = asyncio.create_task(window.room(5.0))
    await asyncio.sleep(0)
    way.answer()
    await asyncio.sleep(0)
    assert len(window) == 3
    assert not waiting.done()
    way.answer()
    await waiting


async def test_who_comes_while_others_wait_for_room_does_not_go_before_them() -> None:
    way = Way()
    window = window_on(way, size=4)
    numbers = itertools.count(1)

    async def publish(timeout: float) -> None:  # as a publisher does
        if not window.has_room:
            await window.room(timeout)
        send(window, next(numbers))

    for _ in range(4):
        await publish(5.0)
    first = asyncio.create_task(publish(5.0))
    others: list[asyncio.Task[None]] = []
    for _ in range(6):  # each takes what becomes free, if it may
        await asyncio.sleep(0)
        way.answer()
        others.append(asyncio.create_task(publish(5.0)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if first.done():
            break
    await asyncio.wait_for(first, 1.0)
    while not all(other.done() for other in others):
        way.answer()
        await asyncio.sleep(0)
    assert window.has_room


async def test_room_for_one_is_enough_in_the_end() -> None:
    way = Way()
    window = window_on(way, size=4)
    for number in (1, 2, 3, 4):
        send(window, number)
    waiting = asyncio.create_task(window.room(0.05))
    await asyncio.sleep(0)
    way.answer()
    await waiting
    send(window, 5)
    with pytest.raises(Unavailable, match="has not taken 4 granules"):
        await window.room(0.05)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("sssaaantlbf"), st.integers(0, 5)), max_size=60))
def test_in_order_whatever_happens(steps: list[tuple[str, int]]) -> None:
    """The way itself looks at the order in which it is handed granules; here, that none is lost."""
    way = Way()
    window = window_on(way)
    sent = 0
    refused = set()
    for step, n in steps:
        if step == "s":
            sent += 1
            send(window, sent)
        elif step == "a" and way.flying:
            way.answer()
        elif step == "n" and way.flying:
            refused.add(way.flying[0][0])
            way.answer(Unavailable("refused"))
        elif step == "t" and way.due:
            way.tick()
        elif step == "l":
            way.lose(n)
        elif step == "b":
            way.come_back()
        elif step == "f":
            way.passes = n
    way.come_back()
    while way.due or way.flying:
        (way.tick if way.due else way.answer)()
    assert len(window) == 0
    heard = list(dict.fromkeys(way.arrived))
    assert sorted(heard) == list(range(1, sent + 1))
    in_time = [number for number in heard if number not in refused]
    assert in_time == sorted(in_time)
