"""Lines for a slow reader: bounded, dropped and counted; one that reads no more ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from ion.shell.commands import printing
from ion.shell.commands.printing import Printer


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def fill(end: int) -> int:
    """Write until nothing more goes in; return how many bytes that were."""
    os.set_blocking(end, False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            count += os.write(end, b"x" * 512)
    os.set_blocking(end, True)
    return count


async def test_all_is_written_in_order(pipe):
    printer = Printer((pipe[1], pipe[1]))
    printer.print(["one", "two"])
    printer.tell("three")
    printer.print(["sur\ud800rogate"])
    await printer.close()
    os.close(pipe[1])
    assert os.read(pipe[0], 1000) == b"one\ntwo\nthree\nsur\\ud800rogate\n"


async def test_a_slow_reader_misses_the_oldest_and_the_loop_lives_on(pipe, monkeypatch):
    monkeypatch.setattr(printing, "WAITING", 100)
    full = fill(pipe[1])
    printer = Printer((pipe[1], pipe[1]))
    for n in range(1000):  # while nobody reads
        printer.print([f"line {n}"])
        await asyncio.sleep(0)
    lost = printer.take_lost()
    assert 800 <= lost <= 900  # those that the thread has in hand are neither
    assert printer.take_lost() == 0

    def read_all():
        data = b""
        while not data.endswith(b"line 999\n"):
            data += os.read(pipe[0], 65_536)
        return data

    data = await asyncio.to_thread(read_all)
    assert len(data[full:].splitlines()) == 1000 - lost
    await printer.close()


async def test_that_nobody_reads_is_told_before_there_is_anything_to_write(pipe):
    printer = Printer((pipe[1], pipe[1]))
    os.close(pipe[0])
    async with asyncio.timeout(10):
        await printer.broken.wait()
    assert isinstance(printer.error, BrokenPipeError)
    printer.print(["two"])  # goes nowhere, and is no error
    await printer.close()


async def test_an_end_does_not_wait_for_who_does_not_read(pipe):
    fill(pipe[1])
    printer = Printer((pipe[1], pipe[1]))
    printer.print(["one"])
    async with asyncio.timeout(10):
        await printer.close(0.05)
    os.close(pipe[0])  # lets the thread go
