"""Generic conversations over each transport: both sides speak, and either ends it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from ion import (
    ApplicationError,
    BadRequest,
    Cancelled,
    CodecError,
    Container,
    ContentTooLarge,
    ConversationError,
    DeadlineExceeded,
    Dialogue,
    ReceivedApplicationError,
    ReceivedContainerError,
    Refused,
    Service,
    ServiceNotFound,
)
from ion.process.conversations import dialogue
from ion.process.conversations.dialogue import MAX_UNANSWERED, MAX_UNHEARD


class Desk(Service, name="desk"):
    """Talks."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.go_on = asyncio.Event()
        self.error: BaseException | None = None
        self.closing: Any = "nothing yet"
        self.said = 0

    async def op_echo(self, greeting: str = "hello") -> str:
        """Say everything once more until the other side ends it, or says bye."""
        try:
            await self.message.say(greeting)
            async for content in self.message:
                if content == "bye":
                    return "as you wish"
                await self.message.say({"you said": content})
            self.closing = self.message.closing
            return "nobody hears this"
        finally:
            self.over.set()

    async def op_hear(self, timeout: float | None = None) -> Any:
        """Hear one thing, and keep the error that comes in its place."""
        try:
            return await self.message.hear(timeout)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.over.set()

    async def op_deaf(self) -> Any:
        """Hear nothing until it may, then everything."""
        await self.go_on.wait()
        try:
            return [await self.message.hear() for _ in range(10 * MAX_UNHEARD)]
        except ConversationError as error:
            self.error = error
            raise
        finally:
            self.over.set()

    async def op_flood(self, n: int) -> None:
        for number in range(n):
            await self.message.say(number)

    async def op_tell(self, batches: int, size: int) -> str:
        """Say so much each time that it may go on."""
        try:
            for _ in range(batches):
                await self.go_on.wait()
                self.go_on.clear()
                for _ in range(size):
                    await self.message.say(self.said)
                    self.said += 1
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.over.set()
        return "that was it"

    async def op_odd(self) -> str:
        try:
            await self.message.say(object())
        except CodecError:
            await self.message.say("that I cannot say")
        return "done"

    async def op_end(self, how: str) -> None:
        await self.message.say("first")
        if how == "refuse":
            await self.reply_refuse(self.message, "no more")
        elif how == "cancel":
            await self.reply_cancel(self.message, "called away")
        elif how == "fail":
            raise ApplicationError("off", code=410)
        else:
            raise ValueError(how)

    async def op_plain(self) -> int:
        return 1


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def nothing_is_left(*containers: Container) -> bool:
    """Return whether no conversation is in any table."""
    return not any(c.endpoint.conversations.open or c.endpoint.calls for c in containers)


async def say_much(talk: Dialogue) -> None:
    """Say more than may wait to be heard, and hear what comes of it."""
    for number in range(MAX_UNHEARD + 200):
        await talk.say(number)
        await asyncio.sleep(0)
    await talk.hear()


@pytest.fixture
async def desk(container: Container) -> Desk:
    process = container.processes[await container.spawn(Desk)]
    assert isinstance(process, Desk)
    return process


async def test_both_sides_speak_and_the_participant_ends_it(
    container: Container, desk: Desk, other: Container
) -> None:
    talk = await other.converse("desk", "echo", {"greeting": "good day"})
    assert talk.state == "OPEN"
    assert await talk.hear() == "good day"
    for number in range(5):
        await talk.say(number)
    assert [await talk.hear() for _ in range(5)] == [{"you said": n} for n in range(5)]
    assert talk.result is None
    await talk.say("bye")
    assert [content async for content in talk] == []
    assert (talk.state, talk.result) == ("DONE", "as you wish")
    with pytest.raises(ConversationError, match="over"):
        await talk.say("one thing more")
    with pytest.raises(ConversationError, match="over"):
        await talk.hear()
    await until(lambda: nothing_is_left(container, other))


async def test_the_initiator_ends_it(container: Container, desk: Desk) -> None:
    async with await container.converse("desk", "echo") as talk:
        await talk.say("a")
        assert [await talk.hear(), await talk.hear()] == ["hello", {"you said": "a"}]
        await talk.close("thanks")
        await talk.close()
    await asyncio.wait_for(desk.over.wait(), 10)
    assert desk.closing == "thanks"
    assert (talk.state, talk.result) == ("DONE", None)
    with pytest.raises(ConversationError, match="over"):
        await talk.say("c")
    await until(lambda: nothing_is_left(container))


async def test_who_speaks_after_the_end_is_told_and_that_is_no_failure(
    container: Container, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    talk = await container.converse("desk", "echo")
    for number in range(20):
        await talk.say(number)
    await talk.close()
    await asyncio.wait_for(desk.over.wait(), 10)
    await until(lambda: nothing_is_left(container))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_what_was_said_before_the_end_is_heard(container: Container, desk: Desk) -> None:
    talk = await container.converse("desk", "flood", {"n": MAX_UNHEARD})
    await until(lambda: talk.state == "DONE")
    assert [content async for content in talk] == list(range(MAX_UNHEARD))


async def test_an_op_that_says_nothing(container: Container, desk: Desk) -> None:
    talk = await container.converse("desk", "plain")
    assert [content async for content in talk] == []
    assert talk.result == 1


@pytest.mark.parametrize(
    ("how", "error", "state"),
    [
        ("refuse", Refused, "REFUSED"),
        ("cancel", Cancelled, "CANCELLED"),
        ("fail", ReceivedApplicationError, "FAILED"),
        ("break", ReceivedContainerError, "FAILED"),
    ],
)
async def test_the_participant_ends_it_otherwise(
    container: Container, desk: Desk, how: str, error: type[Exception], state: str
) -> None:
    talk = await container.converse("desk", "end", {"how": how})
    assert await talk.hear() == "first"
    for wait in (talk.hear, talk.hear, lambda: talk.say(1)):
        with pytest.raises(error):
            await wait()  # type: ignore[operator]
    assert talk.state == state
    await until(lambda: nothing_is_left(container))


async def drop(talk: list[Any]) -> None:
    talk.clear()
    gc.collect()


async def cancel(talk: list[Any]) -> None:
    talk[0].cancel()
    talk[0].cancel()
    with pytest.raises(Cancelled):
        await talk[0].hear()


async def leave_with_an_error(talk: list[Any]) -> None:
    with pytest.raises(ValueError, match="enough"):
        async with talk[0]:
            raise ValueError("enough")


@pytest.mark.parametrize("leave", [drop, cancel, leave_with_an_error], ids=lambda f: f.__name__)
async def test_who_gives_it_up_cancels_the_handler(
    container: Container, desk: Desk, leave: Callable[[Any], Any]
) -> None:
    talk = [await container.converse("desk", "hear")]
    await leave(talk)
    await asyncio.wait_for(desk.over.wait(), 10)
    assert isinstance(desk.error, asyncio.CancelledError)
    await until(lambda: nothing_is_left(container))


async def test_a_wait_that_is_given_up_ends_nothing(container: Container, desk: Desk) -> None:
    talk = await container.converse("desk", "hear", {"timeout": 30.0})
    with pytest.raises(DeadlineExceeded) as caught:
        await talk.hear(timeout=0.05)
    assert caught.value.details["phase"] == "hear"
    waiting = asyncio.create_task(talk.hear())
    await asyncio.sleep(0)
    waiting.cancel()
    await talk.say("still here")
    assert [content async for content in talk] == []
    assert talk.result == "still here"


async def test_a_handler_waits_no_longer_than_it_wants(container: Container, desk: Desk) -> None:
    talk = await container.converse("desk", "hear", {"timeout": 0.05})
    with pytest.raises(ReceivedContainerError) as caught:
        await talk.hear()
    assert caught.value.type == "DeadlineExceeded"


async def test_silence_ends_it_on_both_sides(container: Container, desk: Desk) -> None:
    talk = await container.converse("desk", "hear", timeout=0.6)
    with pytest.raises(DeadlineExceeded):
        await talk.hear()
    await asyncio.wait_for(desk.over.wait(), 10)
    assert isinstance(desk.error, asyncio.CancelledError)
    await until(lambda: nothing_is_left(container))


async def test_who_speaks_puts_the_deadline_off(container: Container, desk: Desk) -> None:
    talk = await container.converse("desk", "echo", timeout=1.0)
    assert await talk.hear() == "hello"
    for number in range(8):  # all in all, longer than the limit of silence
        await talk.say(number)
        assert await talk.hear() == {"you said": number}
        await asyncio.sleep(0.2)
    assert talk.state == "OPEN"
    await talk.close()


async def test_more_than_is_heard_fails_at_the_participant(
    container: Container, desk: Desk
) -> None:
    talk = await container.converse("desk", "deaf")
    with pytest.raises(ConversationError, match="wait to be heard"):
        await say_much(talk)
    desk.go_on.set()
    await asyncio.wait_for(desk.over.wait(), 10)
    assert "wait to be heard" in str(desk.error)
    await until(lambda: nothing_is_left(container))


async def test_more_than_is_heard_fails_at_the_initiator(container: Container, desk: Desk) -> None:
    talk = await container.converse("desk", "flood", {"n": MAX_UNHEARD + 500})
    await until(lambda: talk.state == "FAILED")
    heard = [await talk.hear() for _ in range(MAX_UNHEARD)]
    assert heard == list(range(MAX_UNHEARD))
    with pytest.raises(ConversationError, match="wait to be heard"):
        await talk.hear()
    await until(lambda: nothing_is_left(container))


async def test_much_may_be_said_to_one_who_listens(
    container: Container, desk: Desk, other: Container
) -> None:
    batches, size = 5, 500
    talk = await other.converse("desk", "tell", {"batches": batches, "size": size})
    for batch in range(batches):
        desk.go_on.set()
        heard = [await talk.hear() for _ in range(size)]
        assert heard == list(range(batch * size, (batch + 1) * size))
    assert [content async for content in talk] == []
    assert talk.result == "that was it"


async def test_to_one_who_takes_nothing_not_much_is_said(
    container: Container, desk: Desk, other: Container
) -> None:
    talk = await other.converse("desk", "tell", {"batches": 1, "size": 1_000_000}, timeout=1.0)
    assert other.endpoint._consumer is not None
    await other.endpoint._consumer.cancel()  # as if it had been killed: its queue stays a while
    desk.go_on.set()
    await asyncio.wait_for(desk.over.wait(), 20)
    assert isinstance(desk.error, asyncio.CancelledError)
    assert desk.said == MAX_UNANSWERED
    await until(lambda: nothing_is_left(container))
    with pytest.raises(DeadlineExceeded):
        await talk.hear()


async def test_one_who_was_away_for_a_moment_hears_on(
    container: Container, desk: Desk, other: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialogue, "UNTAKEN_PAUSE", 0.01)
    monkeypatch.setattr(dialogue, "MAX_UNANSWERED", 100)
    talk = await other.converse("desk", "tell", {"batches": 1, "size": 150})
    endpoint = other.endpoint
    assert endpoint._consumer is not None
    await endpoint._consumer.cancel()
    desk.go_on.set()
    await until(lambda: desk.said == 100)
    endpoint._consumer = await endpoint.transport.consume(
        endpoint.reply_queue, endpoint._on_reply, prefetch=100, no_ack=True
    )
    assert [content async for content in talk] == list(range(150))


async def test_what_cannot_be_said_leaves_no_gap(container: Container, desk: Desk) -> None:
    talk = await container.converse("desk", "odd")
    assert [content async for content in talk] == ["that I cannot say"]
    assert talk.result == "done"
    talk = await container.converse("desk", "hear")
    with pytest.raises(CodecError):
        await talk.say(object())
    with pytest.raises(ContentTooLarge):
        await talk.say("x" * 2_000_000)
    await talk.say("this I can")
    assert [content async for content in talk] == []
    assert talk.result == "this I can"


async def test_it_does_not_begin(container: Container, desk: Desk) -> None:
    with pytest.raises(ServiceNotFound):
        await container.converse("nobody_here", "echo")
    with pytest.raises(BadRequest):
        await container.converse("desk", "echo", {"greeting": 7})
    with pytest.raises(BadRequest, match=r"process\.converse"):
        await container.rpc_send("desk", "echo")
    await until(lambda: nothing_is_left(container))


async def test_its_process_ends(container: Container, desk: Desk) -> None:
    talk = await container.converse("desk", "hear")
    await container.terminate_process(desk.id, timeout=0.05)
    with pytest.raises(ReceivedContainerError) as caught:
        await talk.hear()
    assert caught.value.type == "ProcessTerminated"
    assert nothing_is_left(container)
