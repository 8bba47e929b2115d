"""Request conversations over each transport: refuse, agree, progress, result, failure, cancel."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ion import (
    ApplicationError,
    Container,
    ConversationError,
    DeadlineExceeded,
    ReceivedApplicationError,
    Refused,
    Service,
    ServiceNotFound,
)


class Archive(Service, name="archive"):
    """Takes its time."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()

    async def op_quick(self) -> str:
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

    async def op_fail(self) -> None:
        await self.reply_agree(self.message)
        raise ApplicationError("disk full", code=409)

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
    await asyncio.wait_for(archive.started.wait(), 5)
    conversation.cancel()
    with pytest.raises(ConversationError, match="cancelled"):
        await conversation
    await asyncio.wait_for(archive.cancelled.wait(), 5)
    assert not container.endpoint.conversations.open


async def test_its_deadline(container: Container, archive: Archive) -> None:
    with pytest.raises(DeadlineExceeded):
        await container.request("archive", "wait", timeout=0.2)
    await asyncio.wait_for(archive.cancelled.wait(), 5)


async def test_nobody_there(container: Container) -> None:
    conversation = container.request("nobody_here", "x")
    assert [step async for step in conversation] == []
    with pytest.raises(ServiceNotFound):
        await conversation


async def test_who_called_by_rpc_does_not_follow_the_progress(
    container: Container, archive: Archive
) -> None:
    assert await container.rpc_send("archive", "steps", {"n": 2}) == 2
