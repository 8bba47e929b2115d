"""The hello service and its visitor, over each transport."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from ion import Container
from ion.services.hello.client import HelloClient


async def test_it_greets(container: Container) -> None:
    await container.start_app("hello")
    hello = HelloClient(container)
    assert await hello.hello("you") == "Hello there, you"
    assert await hello.hello() == "Hello there, Hi there"


async def test_a_hundred_at_once(container: Container) -> None:
    await container.start_app("hello")
    hello = HelloClient(container)
    answers = await asyncio.gather(*(hello.hello(str(n)) for n in range(100)))
    assert answers == [f"Hello there, {n}" for n in range(100)]


class Heard(logging.Handler):
    """Keeps what the visitor says, and tells when a line with a certain end was said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.more.set()

    async def until(self, is_last: Callable[[str], bool]) -> list[str]:
        async with asyncio.timeout(10):
            while not self.lines or not is_last(self.lines[-1]):
                self.more.clear()
                await self.more.wait()
        return self.lines


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    logger = logging.getLogger("ion.services.hello.visitor")
    handler = Heard()
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    return handler


async def test_the_release_shows_a_greeting_a_tour_and_an_error(
    container: Container, heard: Heard
) -> None:
    await container.start_rel("hello.rel", args={"visitor": {"interval": 0.01, "visits": 2}})
    assert list(container.apps) == ["hello", "hello_errors", "hello_progress", "visitor"]
    lines = await heard.until(lambda line: "quiet from now on" in line)
    assert lines == [
        "hello answers: Hello there, visitor (1)",
        "the tour is at stop 1 of 3: the mailbox",
        "the tour is at stop 2 of 3: the exchange",
        "the tour is at stop 3 of 3: the broker",
        "the tour is over: 3 stops seen",
        "hello_errors answers with error 404 Stranger: nobody here is called 'Godot'",
        "hello answers: Hello there, visitor (2)",
        "the visitor has seen it all, and is quiet from now on",
    ]


async def test_a_visitor_goes_home_at_once(container: Container, heard: Heard) -> None:
    await container.start_rel("hello", args={"visitor": {"interval": 60.0}})
    began = time.perf_counter()
    await container.stop()
    assert time.perf_counter() - began < 1


async def test_a_visit_without_its_service_is_cut_short(container: Container, heard: Heard) -> None:
    await container.spawn("ion.services.hello.visitor:Visitor", args={"interval": 0.01})
    lines = await heard.until(lambda line: "cut short" in line)
    assert "no service 'hello'" in lines[-1]
