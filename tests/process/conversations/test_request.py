"""Request conversations over each transport: refuse, agree, progress, result, failure, cancel."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from ion import (
    ApplicationError,
    BadRequest,
    Cancelled,
    Container,
    ConversationError,
    DeadlineExceeded,
    ReceivedApplicationError,
    Refused,
    Service,
    ServiceNotFound,
)
from ion.process.conversations.request import RequestConversation


class Archive(Service, name="archive"):
    """Takes its time."""

    def __init__(self) -> None:
        self.quick = 0
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()

    async def op_quick(self) -> str:
        self.quick += 1
        return "quick"

    async def op_steps(self, n: int) -> int:
        for step in range(n):
            await self.reply_progress(self.message, {"step": step})
        return n

    async def op_raw(self, content: Any, headers: Any, msg: Any) -> None:
        await self.reply_agree(msg)
        await self.reply_ok(msg, "agreed and done")

    async def op_refuse(self, content: Any, headers: Any, msg: Any) -> None:
        await self.reply_refuse(msg, "closed on Sundays")

    async def op_refuse_by_raising(self) -> None:
        raise Refused("closed on Mondays")

    async def op_give_up(self, n: int) -> None:
        for step in range(n):
            await self.reply_progress(self.message, step)
        await self.reply_cancel(self.message, "the disk is needed elsewhere")

    async def op_then_wait(self, n: int) -> None:
        for step in range(n):
            await self.reply_progress(self.message, step)
            await asyncio.sleep(0.05)
        await self.op_wait()

    async def op_fail(self) -> None:
        await self.reply_agree(self.message)
        raise ApplicationError("disk full", code=409)

    async def op_agree_and_wait(self) -> None:
        await self.reply_agree(self.message)
        await self.op_wait()

    async def op_wait(self) -> None:
        self.started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.fixture
async def archive(container: Container) -> Archive:
    process = container.processes[await container.spawn(Archive)]
    assert isinstance(process, Archive)
    return process


async def test_a_result_and_its_progress(container: Container, archive: Archive) -> None:
    conversation = container.request("archive", "steps", {"n": 3})
    seen = [step async for step in conversation]
    assert seen == [{"step": 0}, {"step": 1}, {"step": 2}]
    assert await conversation == 3
    assert conversation.state == "DONE"
    assert await conversation == 3


async def test_a_quick_one_needs_no_agree(container: Container, archive: Archive) -> None:
    conversation = container.request("archive", "quick")
    assert [step async for step in conversation] == []
    assert await conversation == "quick"
    assert await container.request("archive", "raw") == "agreed and done"


@pytest.mark.parametrize(
    ("op", "reason"), [("refuse", "Sundays"), ("refuse_by_raising", "Mondays")]
)
async def test_a_refusal_carries_its_reason(
    container: Container, archive: Archive, op: str, reason: str
) -> None:
    conversation = container.request("archive", op)
    with pytest.raises(Refused, match=reason):
        await conversation
    assert conversation.state == "REFUSED"
    with pytest.raises(Refused, match=reason):
        await container.rpc_send("archive", op)


async def test_a_failure_after_agreeing(container: Container, archive: Archive) -> None:
    with pytest.raises(ReceivedApplicationError, match="disk full") as raised:
        await container.request("archive", "fail")
    assert raised.value.code == 409


async def test_a_long_one_is_agreed_to_by_itself(container: Container, archive: Archive) -> None:
    conversation = container.request("archive", "wait")
    async with asyncio.timeout(5):
        while conversation.state != "AGREED":
            await asyncio.sleep(0.01)
    conversation.cancel()
    await asyncio.wait_for(archive.cancelled.wait(), 5)


async def test_cancel_reaches_the_handler(container: Container, archive: Archive) -> None:
    conversation = container.request("archive", "wait")
    waiter = asyncio.ensure_future(conversation)  # it waits from before the request is sent
    await asyncio.wait_for(archive.started.wait(), 5)
    conversation.cancel()
    with pytest.raises(Cancelled, match=f"request {re.escape(conversation.id)} was cancelled"):
        await waiter
    await asyncio.wait_for(archive.cancelled.wait(), 5)
    assert not container.endpoint.conversations.open


async def _reads_on(steps: RequestConversation) -> None:
    async for _ in steps:
        pass


async def _works_with_each(steps: RequestConversation) -> None:
    async for _ in steps:
        await asyncio.sleep(30)


async def _has_a_limit(steps: RequestConversation) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await _reads_on(steps)
    await asyncio.sleep(30)


@pytest.mark.parametrize("reader", [_reads_on, _works_with_each, _has_a_limit])
async def test_a_reader_that_is_cancelled_gives_it_up(
    container: Container, archive: Archive, reader: Callable[..., Any]
) -> None:
    conversation = container.request("archive", "then_wait", {"n": 1})
    reading = asyncio.create_task(reader(conversation))
    await asyncio.wait_for(archive.started.wait(), 5)
    if reader is not _has_a_limit:
        reading.cancel()
    await asyncio.wait_for(archive.cancelled.wait(), 5)
    with pytest.raises(Cancelled):
        await conversation
    assert not container.endpoint.conversations.open
    reading.cancel()


async def test_a_reader_that_leaves_its_loop_leaves_it_going(
    container: Container, archive: Archive
) -> None:
    async def first(steps: RequestConversation) -> list[Any]:
        found = []
        async for step in steps:
            found.append(step)
            break
        return found

    conversation = container.request("archive", "steps", {"n": 3})
    assert await asyncio.create_task(first(conversation)) == [{"step": 0}]
    assert [step async for step in conversation] == [{"step": 1}, {"step": 2}]
    assert await conversation == 3


async def test_its_deadline(container: Container, archive: Archive) -> None:
    with pytest.raises(DeadlineExceeded):
        await container.request("archive", "wait", timeout=0.2)
    await asyncio.wait_for(archive.cancelled.wait(), 5)


async def test_nobody_there(container: Container) -> None:
    conversation = container.request("nobody_here", "x")
    assert [step async for step in conversation] == []
    with pytest.raises(ServiceNotFound):
        await conversation


async def test_who_called_by_rpc_or_sent_it_follows_neither_agree_nor_progress(
    container: Container, archive: Archive
) -> None:
    assert await container.rpc_send("archive", "steps", {"n": 2}) == 2
    assert await container.rpc_send("archive", "raw") == "agreed and done"
    await container.send("archive", "agree_and_wait")
    await asyncio.wait_for(archive.started.wait(), 5)


@pytest.mark.parametrize("n", [0, 2])
async def test_the_other_side_may_cancel(container: Container, archive: Archive, n: int) -> None:
    conversation = container.request("archive", "give_up", {"n": n})
    assert [step async for step in conversation] == list(range(n))
    with pytest.raises(Cancelled, match="needed elsewhere") as caught:
        await conversation
    assert caught.value.code == 499
    assert isinstance(caught.value, ConversationError)
    assert conversation.state == "CANCELLED"
    assert not container.endpoint.conversations.open


async def test_the_other_side_of_an_rpc_may_cancel_too(
    container: Container, archive: Archive
) -> None:
    with pytest.raises(Cancelled, match="needed elsewhere"):
        await container.rpc_send("archive", "give_up", {"n": 0})


async def test_it_must_be_agreed_to_in_time(container: Container) -> None:
    class Busy(Archive, name="archive", concurrency=1):
        """Handles one request at a time."""

    busy = container.processes[await container.spawn(Busy)]
    assert isinstance(busy, Busy)
    first = container.request("archive", "wait")
    await asyncio.wait_for(busy.started.wait(), 5)
    second = container.request("archive", "quick", agree_within=0.2, timeout=60)
    with pytest.raises(DeadlineExceeded, match="did not agree") as caught:
        await second
    assert caught.value.details["phase"] == "agree"
    first.cancel()
    await asyncio.wait_for(busy.cancelled.wait(), 5)
    async with asyncio.timeout(5):
        while container.endpoint.conversations.open or container.endpoint.calls:
            await asyncio.sleep(0.01)
    assert busy.quick == 0, "the second was cancelled where it waited"


async def test_silence_after_it_was_agreed_to(container: Container, archive: Archive) -> None:
    conversation = container.request("archive", "then_wait", {"n": 12}, timeout=60, silence=0.4)
    seen = [step async for step in conversation]
    assert seen == list(range(12)), "each message begins the limit anew"
    with pytest.raises(DeadlineExceeded, match="after it agreed") as caught:
        await conversation
    assert caught.value.details["phase"] == "silence"
    await asyncio.wait_for(archive.cancelled.wait(), 5)
    assert not container.endpoint.conversations.open


async def test_limits_that_are_kept_do_no_harm(container: Container, archive: Archive) -> None:
    conversation = container.request("archive", "steps", {"n": 3}, agree_within=30, silence=30)
    assert await conversation == 3


@pytest.mark.parametrize("limit", [0, -1.0])
async def test_limits_are_above_zero(container: Container, limit: float) -> None:
    for name in ("agree_within", "silence"):
        with pytest.raises(BadRequest, match=name):
            container.request("archive", "steps", {"n": 3}, **{name: limit})
