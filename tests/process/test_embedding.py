"""The party of an OS process: in a thread of its own, called from others, and ended in order."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ion.base.errors import DeadlineExceeded, IonError, LifecycleError
from ion.process import embedding
from ion.services.hello.client import HelloClient


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing of the environment be heard, and end the party."""
    for name in [name for name in os.environ if name.startswith("ION_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ION_STORE", "memory://")
    embedding.leave()
    yield
    embedding.leave()


def parties() -> int:
    return sum(thread.name == "ion embedded" for thread in threading.enumerate())


def test_many_threads_have_one():
    def greet(number: int) -> str:
        party = embedding.party("hello")
        return party.call(HelloClient(party.caller).hello(str(number)))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(greet, range(64))) == [f"Hello there, {n}" for n in range(64)]
    assert parties() == 1


async def test_it_is_called_where_a_loop_runs_but_not_from_its_own():
    party = embedding.party("hello")
    assert party.call(HelloClient(party.caller).hello("loop")) == "Hello there, loop"

    async def within() -> None:
        party.call(asyncio.sleep(0))

    with pytest.raises(LifecycleError, match="from within ION"):
        party.call(within())


def test_a_call_that_takes_too_long_is_cancelled():
    party = embedding.party("hello")
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    with pytest.raises(DeadlineExceeded):
        party.call(wait(), 0.05)
    assert cancelled.wait(30)


def test_who_waits_when_it_ends_is_told_and_the_next_has_another_one():
    party = embedding.party("hello")
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.sleep(60)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(party.call, wait())
        assert begun.wait(30)
        embedding.leave()
        with pytest.raises(LifecycleError, match="has ended"):
            waiting.result(30)
    with pytest.raises(LifecycleError, match="has ended"):
        party.call(asyncio.sleep(0))
    assert not party.is_up
    assert embedding.party("hello") is not party
    assert parties() == 1


def test_a_start_that_fails_says_why_and_is_tried_again(monkeypatch):
    monkeypatch.setenv("ION_BROKER", "amqp://127.0.0.1:1/")
    for _ in range(2):
        with pytest.raises(IonError, match=r"127\.0\.0\.1:1"):
            embedding.party("hello")
    monkeypatch.setenv("ION_BROKER", "memory://")
    with pytest.raises(IonError, match="no_such_app"):
        embedding.party("no_such_app")
    assert embedding.party("hello").is_up
    assert parties() == 1
