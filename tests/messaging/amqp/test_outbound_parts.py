"""Confirms, settlements, back-off and frames: the pure parts of the way out."""

from __future__ import annotations

import asyncio
from socket import socketpair

import pamqp.frame
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pamqp import commands

from ion.base.errors import IonError, Unavailable, Unroutable
from ion.messaging.amqp import backoff, frames
from ion.messaging.amqp.confirms import Confirms
from ion.messaging.amqp.outbound import Outbound
from ion.messaging.amqp.settling import Settlements

# Times depend on the machine, and say nothing here.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Outcomes:
    """Publishes with their outcomes, by number."""

    def __init__(self, count: int) -> None:
        self.confirms = Confirms()
        self.seen: dict[int, list[IonError | None]] = {n: [] for n in range(1, count + 1)}
        for number in self.seen:
            properties = b"id-%d" % number
            self.confirms.add(self.seen[number].append, "x", "k", properties, mandatory=True)

    @property
    def done(self) -> set[int]:
        return {number for number, seen in self.seen.items() if seen == [None]}


def test_confirms_single_and_multiple() -> None:
    outcomes = Outcomes(6)
    outcomes.confirms.confirmed(2, multiple=False, taken=True)
    assert outcomes.done == {2}
    outcomes.confirms.confirmed(4, multiple=True, taken=True)
    assert outcomes.done == {1, 2, 3, 4}
    outcomes.confirms.confirmed(5, multiple=False, taken=False)
    assert isinstance(outcomes.seen[5][0], Unavailable)
    outcomes.confirms.confirmed(4, multiple=False, taken=True)
    outcomes.confirms.fail_all("lost")
    assert isinstance(outcomes.seen[6][0], Unavailable)
    assert all(len(seen) == 1 for seen in outcomes.seen.values())


@patient
@given(st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.booleans()), max_size=20))
def test_every_publish_is_told_once(answers: list[tuple[int, bool, bool]]) -> None:
    outcomes = Outcomes(12)
    for tag, multiple, taken in answers:
        outcomes.confirms.confirmed(tag, multiple=multiple, taken=taken)
    outcomes.confirms.fail_all("lost")
    assert all(len(seen) == 1 for seen in outcomes.seen.values())
    assert len(outcomes.confirms) == 0


def test_a_return_finds_its_publish() -> None:
    outcomes = Outcomes(3)
    outcomes.confirms.returned("x", "k", b"id-2", "NO_ROUTE")
    assert isinstance(outcomes.seen[2][0], Unroutable)
    outcomes.confirms.confirmed(3, multiple=True, taken=True)
    assert outcomes.done == {1, 3}
    assert len(outcomes.seen[2]) == 1


def test_a_return_that_was_changed_on_the_way_finds_the_first_alike() -> None:
    outcomes = Outcomes(3)
    outcomes.confirms.returned("x", "k", b"changed", "NO_ROUTE")
    assert isinstance(outcomes.seen[1][0], Unroutable)
    outcomes.confirms.returned("y", "k", b"changed", "NO_ROUTE")
    assert outcomes.done == set()


class Socket(asyncio.Transport):
    """What was written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += bytes(data)


def frames_in(data: bytes) -> list[object]:
    seen: list[object] = []
    while data:
        size, _, frame = pamqp.frame.unmarshal(data)
        seen.append(frame)
        data = data[size:]
    return seen


async def broker_view(plan: list[list[tuple[int, bool]]], count: int) -> dict[int, str]:
    """Settle per flush as planned; return what a broker makes of the frames.

    :raises AssertionError: a frame names a tag that is not open.
    """
    socket = Socket()
    outbound = Outbound(asyncio.get_running_loop(), 1000, 1000)
    outbound.attach(socket)
    settlements = Settlements(outbound, 3, lambda: None)
    settlements.last = count
    for batch in plan:
        for tag, acked in batch:
            if acked:
                settlements.ack(tag)
            else:
                settlements.nack(tag, requeue=True)
        outbound.flush()
    state = dict.fromkeys(range(1, count + 1), "open")
    for frame in frames_in(socket.data):
        assert isinstance(frame, commands.Basic.Ack | commands.Basic.Nack)
        assert frame.delivery_tag is not None
        assert state[frame.delivery_tag] == "open"
        word = "acked" if isinstance(frame, commands.Basic.Ack) else "nacked"
        tags = range(1, frame.delivery_tag + 1) if frame.multiple else [frame.delivery_tag]
        for tag in tags:
            if state[tag] == "open":
                state[tag] = word
    return state


@patient
@given(st.data())
def test_a_broker_sees_exactly_what_was_settled(data: st.DataObject) -> None:
    count = 12
    order = data.draw(st.permutations(range(1, count + 1)))
    settled = order[: data.draw(st.integers(0, count))]
    verdicts = {tag: data.draw(st.booleans()) for tag in settled}
    plan: list[list[tuple[int, bool]]] = [[]]
    for tag in settled:
        if data.draw(st.booleans()):
            plan.append([])
        plan[-1].append((tag, verdicts[tag]))
    state = asyncio.run(broker_view(plan, count))
    for tag in range(1, count + 1):
        expected = {True: "acked", False: "nacked", None: "open"}[verdicts.get(tag)]
        assert state[tag] == expected


async def test_acks_in_a_row_are_one_frame() -> None:
    socket = Socket()
    outbound = Outbound(asyncio.get_running_loop(), 1000, 1000)
    outbound.attach(socket)
    drained: list[bool] = []
    settlements = Settlements(outbound, 3, lambda: drained.append(True))
    settlements.last = 64
    settlements.finish()
    for tag in range(1, 65):
        settlements.ack(tag)
    assert drained == []
    outbound.flush()
    (frame,) = frames_in(socket.data)
    assert isinstance(frame, commands.Basic.Ack)
    assert (frame.delivery_tag, frame.multiple) == (64, True)
    assert drained == [True]


async def test_what_goes_back_in_a_row_is_one_frame() -> None:
    socket = Socket()
    outbound = Outbound(asyncio.get_running_loop(), 1000, 1000)
    outbound.attach(socket)
    drained: list[bool] = []
    settlements = Settlements(outbound, 3, lambda: drained.append(True))
    settlements.last = 64
    settlements.finish()
    for tag in range(64, 2, -1):
        settlements.nack(tag, requeue=True)
    settlements.ack(1)
    settlements.nack(2, requeue=False)
    outbound.flush()
    assert [(type(f), f.delivery_tag, f.multiple) for f in frames_in(socket.data)] == [
        (commands.Basic.Nack, 2, False),
        (commands.Basic.Ack, 1, False),
        (commands.Basic.Nack, 64, True),
    ]
    assert drained == [True]


async def test_a_closed_channel_settles_nothing() -> None:
    socket = Socket()
    outbound = Outbound(asyncio.get_running_loop(), 1000, 1000)
    outbound.attach(socket)
    settlements = Settlements(outbound, 3, lambda: None)
    settlements.last = 3
    settlements.ack(1)
    settlements.close()
    settlements.ack(2)
    settlements.nack(3, requeue=True)
    outbound.flush()
    assert socket.data == b""


async def test_a_full_socket_keeps_the_order_and_wakes_writers() -> None:
    socket = Socket()
    outbound = Outbound(asyncio.get_running_loop(), 100, 10_000)
    outbound.attach(socket)
    outbound.pause()
    outbound.put((b"a" * 60,), 60)
    assert outbound.writable
    outbound.put((b"b" * 60,), 60)
    assert not outbound.writable
    waiting = asyncio.ensure_future(outbound.wait_writable())
    await asyncio.sleep(0)
    outbound.flush()
    assert socket.data == b""
    outbound.resume()
    await waiting
    assert socket.data == b"a" * 60 + b"b" * 60
    assert outbound.unsent == 0


class Pipe(asyncio.Protocol):
    """The near end of a real socket, with a buffer that writes to it."""

    def __init__(self, outbound: Outbound) -> None:
        self.outbound = outbound
        self.pauses = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.outbound.attach(transport)

    def pause_writing(self) -> None:
        self.pauses += 1
        self.outbound.pause()

    def resume_writing(self) -> None:
        self.outbound.resume()


@pytest.mark.parametrize("sizes", [[100_000, 7, 300_000], [7, 1 << 20, 0], [65_536] * 40])
async def test_large_pieces_go_in_order_through_a_socket_that_is_often_full(
    sizes: list[int],
) -> None:
    loop = asyncio.get_running_loop()
    near, far = socketpair()
    outbound = Outbound(loop, 1 << 30, 1 << 30)
    pipe = Pipe(outbound)
    transport, _ = await loop.create_connection(lambda: pipe, sock=near)
    reader, writer = await asyncio.open_connection(sock=far)
    sent = b""
    for turn in range(4):
        for number, size in enumerate(sizes):
            piece = bytes([number + turn]) * size
            outbound.put((piece, b"|"), size + 1)
            sent += piece + b"|"
        outbound.flush()
    async with asyncio.timeout(30):
        assert await reader.readexactly(len(sent)) == sent
    assert pipe.pauses
    assert (outbound.unsent, outbound.pieces) == (0, [])
    transport.close()
    writer.close()


async def test_writers_are_told_that_the_connection_is_gone() -> None:
    outbound = Outbound(asyncio.get_running_loop(), 10, 100)
    outbound.put((b"x" * 50,), 50)
    waiting = asyncio.ensure_future(outbound.wait_writable())
    await asyncio.sleep(0)
    outbound.close()
    with pytest.raises(Unavailable):
        await waiting


def test_frames_are_those_of_pamqp() -> None:
    publish = commands.Basic.Publish(exchange="x", routing_key="a.b", mandatory=True)
    assert frames.publish(5, "x", "a.b", mandatory=True) == pamqp.frame.marshal(publish, 5)
    assert frames.ack(5, 9, multiple=True) == pamqp.frame.marshal(commands.Basic.Ack(9, True), 5)
    nack = commands.Basic.Nack(9, False, True)
    assert frames.nack(5, 9, requeue=True) == pamqp.frame.marshal(nack, 5)
    get = commands.Basic.Get(queue="q", no_ack=True)
    assert frames.get(5, "q", no_ack=True) == pamqp.frame.marshal(get, 5)


def test_a_large_body_is_cut_without_a_copy() -> None:
    body = b"x" * 10
    pieces = frames.body_frames(5, body, 4)
    assert [len(piece) for piece in pieces] == [7, 4, 1, 7, 4, 1, 7, 2, 1]
    view = pieces[1]
    assert isinstance(view, memoryview)
    assert view.obj is body


@patient
@given(st.integers(0, 50), st.floats(0, 1e6), st.floats(0, 1))
def test_backoff_is_capped(attempt: int, elapsed: float, chance: float) -> None:
    wait = backoff.delay(attempt, elapsed, chance)
    assert 0 <= wait <= (0.5 if elapsed < backoff.EARLY else 30.0)
    assert backoff.delay(30, 61.0, 1.0) == 30.0
    assert backoff.delay(0, 0.0, 1.0) == backoff.FIRST


class GoneSocket(Socket):
    """The library has said goodbye on it."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise RuntimeError("Cannot call write() after write_eof()")


@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_what_comes_after_the_goodbye_troubles_nobody(size: int) -> None:
    out = Outbound(asyncio.get_running_loop(), 1000, 1000)
    out.attach(GoneSocket())
    out.put([b"x" * size], size)
    out.flush()
    assert (out.unsent, out.pieces) == (0, [])
