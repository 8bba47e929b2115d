"""Streams over each transport: items in order, credit, silence, and every way to end one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from ion import (
    ApplicationError,
    BadRequest,
    Cancelled,
    CodecError,
    Container,
    DeadlineExceeded,
    ReceivedApplicationError,
    ReceivedContainerError,
    Refused,
    Service,
    ServiceClient,
    ServiceNotFound,
    StreamConversation,
    Unavailable,
    connect,
)


class Reading(msgspec.Struct):
    depth: int


class Tail(Service, name="tail"):
    """Streams, and keeps count of what it has done."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = asyncio.Event()
        self.asleep = asyncio.Event()

    async def op_count(self, n: int) -> AsyncIterator[int]:
        """Count up to n."""
        try:
            for number in range(n):
                self.made += 1
                yield number
        finally:
            self.closed.set()

    async def op_raw(self, content: Any, headers: Any, msg: Any) -> AsyncIterator[Any]:
        yield content
        yield headers["protocol"]

    async def op_then(self, n: int, how: str) -> AsyncIterator[int]:
        """Give n items, and then do something else."""
        for number in range(n):
            yield number
        try:
            if how == "wait":
                self.asleep.set()
                await asyncio.sleep(30)
            raise {
                "fail": ApplicationError("no more tape", code=409),
                "break": ValueError("torn"),
                "refuse": Refused("not you"),
                "wait": ValueError("slept"),
            }[how]
        finally:
            self.closed.set()

    async def op_cancel(self) -> AsyncIterator[int]:
        yield 1
        await self.reply_cancel(self.message, "the instrument was taken in")

    async def op_odd(self) -> AsyncIterator[Any]:
        yield 1
        yield object()

    async def op_readings(self) -> AsyncIterator[Reading]:
        yield Reading(1)
        yield Reading(2)

    async def op_plain(self) -> int:
        return 1


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def drain(items: StreamConversation, seen: list[Any]) -> None:
    """Read what there is into a list, which keeps it where an error ends the stream."""
    async for item in items:
        seen.append(item)  # noqa: PERF401


def nothing_is_left(*containers: Container) -> bool:
    """Return whether no conversation is in any table."""
    return not any(c.endpoint.conversations.open or c.endpoint.calls for c in containers)


class Relay(Service, name="relay"):
    """Streams what another streams, and reads streams within a call."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    async def op_pass(self, n: int) -> AsyncIterator[int]:
        async with self.stream("tail", "count", {"n": n}, credit=4) as items:
            async for item in items:
                yield item

    async def op_read(self) -> None:
        try:
            async for _ in self.stream("tail", "then", {"n": 1, "how": "wait"}, timeout=30):
                pass
        except BaseException as error:
            self.error = error
            raise


@pytest.fixture
async def tail(container: Container) -> Tail:
    process = container.processes[await container.spawn(Tail)]
    assert isinstance(process, Tail)
    return process


async def test_items_come_in_order_and_end(container: Container, tail: Tail) -> None:
    items = container.stream("tail", "count", {"n": 200})
    assert items.state == "INIT"
    assert [item async for item in items] == list(range(200))
    assert items.state == "DONE"
    assert [item async for item in items] == []
    assert tail.closed.is_set()
    await until(lambda: nothing_is_left(container))


async def test_no_items_and_raw_parts(container: Container, tail: Tail) -> None:
    assert [item async for item in container.stream("tail", "count", {"n": 0})] == []
    assert [item async for item in container.stream("tail", "raw", 7)] == [7, "stream"]


async def test_an_op_that_streams_says_so(tail: Tail) -> None:
    assert tail.ops["count"].describe()["streams"] is True
    assert tail.ops["count"].doc == "Count up to n."
    assert "streams" not in tail.ops["plain"].describe()


@pytest.mark.parametrize("credit", [1, 2, 3, 7])
async def test_the_generator_advances_only_while_there_is_credit(
    container: Container, tail: Tail, credit: int
) -> None:
    async with container.stream("tail", "count", {"n": 50}, credit=credit) as items:
        await until(lambda: tail.made == credit)
        for number in range(20):
            assert await anext(items) == number
            assert tail.made <= number + 1 + credit
            call = items._call
            assert call is not None
            assert len(call.unread) <= credit
        rest = [item async for item in items]
    assert rest == list(range(20, 50))


async def test_memory_is_bounded_by_the_window(container: Container, tail: Tail) -> None:
    async with container.stream("tail", "count", {"n": 10_000}) as items:
        assert await anext(items) == 0
        call = items._call
        assert call is not None
        await until(lambda: len(call.unread) == 63)
        assert await container.rpc_send("tail", "plain") == 1  # whoever comes later is behind it
        assert tail.made == 64
    await asyncio.wait_for(tail.closed.wait(), 10)


@pytest.mark.parametrize("credit", [0, -1, 2**70, 1.5, "64", True])
async def test_credit_is_a_number_in_reason(container: Container, credit: Any) -> None:
    with pytest.raises(BadRequest, match="credit"):
        container.stream("tail", "count", {"n": 1}, credit=credit)


@pytest.mark.parametrize(
    ("how", "error", "code"),
    [
        ("fail", ReceivedApplicationError, 409),
        ("break", ReceivedContainerError, 500),
        ("refuse", Refused, 403),
    ],
)
@pytest.mark.parametrize("n", [0, 3])
async def test_a_failure_comes_after_the_items_before_it(
    container: Container, tail: Tail, how: str, error: type[Exception], code: int, n: int
) -> None:
    items = container.stream("tail", "then", {"n": n, "how": how})
    seen: list[int] = []
    with pytest.raises(error) as caught:
        await drain(items, seen)
    assert seen == list(range(n))
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert [item async for item in items] == []
    await until(lambda: nothing_is_left(container))


async def test_a_traceback_shows_the_op_and_not_the_runtime(
    container: Container, tail: Tail, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ReceivedContainerError, match="torn"):
        await anext(container.stream("tail", "then", {"n": 0, "how": "break"}))
    [record] = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.exc_info is not None
    traceback = record.exc_info[2]
    assert traceback is not None
    assert traceback.tb_frame.f_code.co_name == "op_then"


async def test_the_other_side_may_cancel(container: Container, tail: Tail) -> None:
    items = container.stream("tail", "cancel")
    assert await anext(items) == 1
    with pytest.raises(Cancelled, match="taken in"):
        await anext(items)
    assert items.state == "CANCELLED"


async def test_an_item_that_cannot_be_sent_fails_the_stream(
    container: Container, tail: Tail
) -> None:
    items = container.stream("tail", "odd")
    assert await anext(items) == 1
    with pytest.raises(ReceivedContainerError, match="result of 'odd'"):
        await anext(items)


async def leave_block(items: StreamConversation) -> None:
    async with items:
        await anext(items)


async def close(items: StreamConversation) -> None:
    await anext(items)
    await items.aclose()
    await items.aclose()


async def cancel_reader(items: StreamConversation) -> None:
    async def read() -> None:
        async for _ in items:
            pass

    reader = asyncio.create_task(read())
    await until(lambda: items.state == "STREAMING" and not items._call.unread)  # type: ignore[union-attr]
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader


async def break_off(items: StreamConversation) -> None:
    async for _ in items:
        break


LEAVING = [leave_block, close, cancel_reader, break_off]


@pytest.mark.parametrize("leave", LEAVING, ids=lambda leave: leave.__name__)
async def test_who_leaves_closes_the_generator(
    container: Container, tail: Tail, other: Container, leave: Callable[[Any], Any]
) -> None:
    items = other.stream("tail", "then", {"n": 1, "how": "wait"})
    await leave(items)
    del items
    gc.collect()
    await asyncio.wait_for(tail.closed.wait(), 10)
    await until(lambda: nothing_is_left(container, other))


async def test_a_generator_that_waits_for_credit_is_closed_too(
    container: Container, tail: Tail
) -> None:
    async with container.stream("tail", "count", {"n": 100}, credit=2):
        await until(lambda: tail.made == 2)
    await asyncio.wait_for(tail.closed.wait(), 10)
    assert tail.made == 2
    await until(lambda: nothing_is_left(container))


async def test_cancelled_before_it_began_nothing_is_sent(container: Container, tail: Tail) -> None:
    items = container.stream("tail", "count", {"n": 1})
    items.cancel()
    async with items:
        assert [item async for item in items] == []
    assert not items.id
    assert nothing_is_left(container)


async def test_a_stream_that_another_task_cancels_ends_its_reader(
    container: Container, tail: Tail
) -> None:
    items = container.stream("tail", "then", {"n": 0, "how": "wait"})
    reader = asyncio.ensure_future(anext(items))
    await asyncio.wait_for(tail.asleep.wait(), 10)
    items.cancel()
    with pytest.raises(Cancelled):
        await reader


async def test_its_process_ends(container: Container, tail: Tail) -> None:
    items = container.stream("tail", "then", {"n": 1, "how": "wait"})
    assert await anext(items) == 0
    await container.terminate_process(tail.id, timeout=0.05)
    with pytest.raises(ReceivedContainerError) as caught:
        await anext(items)
    assert caught.value.type == "ProcessTerminated"
    assert tail.closed.is_set()
    assert nothing_is_left(container)


async def test_the_readers_container_stops(
    container: Container, tail: Tail, bus: tuple[str, dict[str, object]]
) -> None:
    url, config = bus
    async with Container(url, sysname="test", config=config) as reader:
        items = reader.stream("tail", "count", {"n": 1000}, credit=1, timeout=1.5)
        assert await anext(items) == 0
    await asyncio.wait_for(tail.closed.wait(), 10)
    await until(lambda: nothing_is_left(container))


async def test_silence_of_the_generator(container: Container, tail: Tail) -> None:
    items = container.stream("tail", "then", {"n": 2, "how": "wait"}, timeout=1.5)
    assert [await anext(items), await anext(items)] == [0, 1]
    with pytest.raises(DeadlineExceeded):
        await anext(items)
    await asyncio.wait_for(tail.closed.wait(), 10)
    await until(lambda: nothing_is_left(container))


async def test_a_reader_that_stops_loses_the_stream(container: Container, tail: Tail) -> None:
    items = container.stream("tail", "count", {"n": 100}, timeout=1.5, credit=4)
    assert await anext(items) == 0
    await asyncio.wait_for(tail.closed.wait(), 10)
    await until(lambda: nothing_is_left(container))
    seen = [0]
    with pytest.raises(DeadlineExceeded) as caught:
        await drain(items, seen)
    assert seen == [0, 1, 2, 3]
    assert caught.value.details["phase"] == "silence"


async def test_items_put_the_deadline_off(container: Container, tail: Tail) -> None:
    seen = []
    async with asyncio.timeout(20), container.stream("tail", "count", {"n": 12}, timeout=2.0) as i:
        async for item in i:
            seen.append(item)
            await asyncio.sleep(0.18)  # all in all, longer than the limit of silence
    assert seen == list(range(12))


async def test_nobody_there_and_wrong_content(container: Container, tail: Tail) -> None:
    with pytest.raises(ServiceNotFound):
        await anext(container.stream("nobody_here", "count", {"n": 1}))
    with pytest.raises(BadRequest, match="Expected `int`"):
        await anext(container.stream("tail", "count", {"n": "x"}))
    await until(lambda: nothing_is_left(container))


async def test_each_op_is_asked_in_its_way(container: Container, tail: Tail) -> None:
    with pytest.raises(BadRequest, match=r"'stream' \(process.stream\)"):
        await container.rpc_send("tail", "count", {"n": 1})
    with pytest.raises(BadRequest, match=r"'stream' \(process.stream\)"):
        await container.request("tail", "count", {"n": 1})
    with pytest.raises(BadRequest, match=r"'stream' \(process.stream\)"):
        await container.converse("tail", "count", {"n": 1})
    with pytest.raises(BadRequest, match="no stream"):
        await anext(container.stream("tail", "plain"))
    assert tail.made == 0


async def test_a_typed_client(container: Container, tail: Tail) -> None:
    class TailClient(ServiceClient, service="tail"):
        def readings(self, *, timeout: float | None = None) -> AsyncIterator[Reading]:
            return self._stream("readings", timeout=timeout, returns=Reading)

    assert [item async for item in TailClient(container).readings()] == [Reading(1), Reading(2)]
    wrong = container.stream("tail", "readings", returns=int)
    with pytest.raises(CodecError, match=r"an item of tail.readings"):
        await anext(wrong)
    await until(lambda: nothing_is_left(container))


async def test_streams_through_each_other(container: Container, tail: Tail) -> None:
    await container.spawn(Relay)
    items = container.stream("relay", "pass", {"n": 100}, credit=3)
    assert [item async for item in items] == list(range(100))
    tail.closed.clear()
    async with container.stream("relay", "pass", {"n": 1000}, credit=3) as items:
        assert await anext(items) == 0
    await asyncio.wait_for(tail.closed.wait(), 10)
    assert tail.made < 120, "who does not read holds up the first one, too"
    await until(lambda: nothing_is_left(container))


async def test_the_deadline_of_a_call_is_that_of_the_streams_it_reads(
    container: Container, tail: Tail
) -> None:
    relay = container.processes[await container.spawn(Relay)]
    assert isinstance(relay, Relay)
    with pytest.raises(DeadlineExceeded):
        await container.rpc_send("relay", "read", timeout=2.5)
    await asyncio.wait_for(tail.closed.wait(), 10)
    await until(lambda: nothing_is_left(container))
    assert isinstance(relay.error, (asyncio.CancelledError, DeadlineExceeded))


async def test_a_container_that_stops_ends_its_readers(
    container: Container, tail: Tail, bus: tuple[str, dict[str, object]]
) -> None:
    url, config = bus
    reader = Container(url, sysname="test", config=config)
    await reader.start()
    reading = asyncio.ensure_future(
        drain(reader.stream("tail", "then", {"n": 0, "how": "wait"}), [])
    )
    await asyncio.wait_for(tail.asleep.wait(), 10)
    await reader.stop()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(reading, 10)
    await container.terminate_process(tail.id, timeout=0.05)


async def test_a_script_reads_and_talks_too(
    container: Container, tail: Tail, bus: tuple[str, dict[str, object]]
) -> None:
    url, config = bus
    async with connect(url, sysname="test", config=config) as script:
        items = script.stream("tail", "count", {"n": 100}, credit=8)
        assert [item async for item in items] == list(range(100))
        talk = await script.converse("tail", "plain")
        assert [content async for content in talk] == []
        assert talk.result == 1
        await until(lambda: not script.endpoint.conversations.open)


async def test_many_at_once(container: Container, tail: Tail) -> None:
    async def read(n: int) -> list[int]:
        return [item async for item in container.stream("tail", "count", {"n": n}, credit=5)]

    results = await asyncio.gather(*(read(n) for n in range(30)))
    assert results == [list(range(n)) for n in range(30)]
    assert nothing_is_left(container)
