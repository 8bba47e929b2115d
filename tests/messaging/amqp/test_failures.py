"""The wall around the libraries."""

from __future__ import annotations

import asyncio

import pytest

from ion.base.errors import Unavailable
from ion.messaging.amqp.failures import Waits, guarded


async def test_a_cancellation_is_never_lost() -> None:
    """asyncio.wait_for of Python 3.11 swallows one that comes together with the result."""
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(guarded("ask", asyncio.wait_for(answer, 10), 10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    answer.set_result("here")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_is_cancelled_may_still_ask() -> None:
    asked: list[str] = []

    async def here() -> str:
        return "here"

    async def cleans_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            asked.append(await guarded("ask", here(), 10))

    task = asyncio.ensure_future(cleans_up())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked == ["here"]


async def test_no_answer_in_time() -> None:
    with pytest.raises(Unavailable, match="no answer of the broker"):
        await guarded("ask", asyncio.Event().wait(), 0.01)


async def test_the_librarys_own_cancellation_is_a_lost_connection() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    answer.cancel()
    with pytest.raises(Unavailable, match="the connection was lost"):
        await guarded("ask", answer, 10)


async def test_a_lost_connection_ends_what_waits_on_it() -> None:
    waits, elsewhere = Waits(), Waits()
    asked = [
        asyncio.ensure_future(guarded("ask", asyncio.Event().wait(), 60, waits)) for _ in range(3)
    ]
    other = asyncio.ensure_future(guarded("ask", asyncio.sleep(0, "here"), 60, waits))
    far = asyncio.ensure_future(guarded("ask", asyncio.Event().wait(), 60, elsewhere))
    assert await other == "here"
    waits.end()
    for each in asked:
        with pytest.raises(Unavailable, match="the connection was lost"):
            await asyncio.wait_for(each, 5)
    with pytest.raises(Unavailable, match="the connection was lost"):
        await asyncio.wait_for(guarded("ask", asyncio.Event().wait(), 60, waits), 5)
    assert not far.done()
    far.cancel()
