"""The watchdog on real loops that are really held up."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ion.observe import watchdog
from ion.observe.watchdog import Block, Watch, watch

LIMIT = 0.1
NAME = "ion watchdog"


async def until(true: Callable[[], object], timeout: float = 30.0) -> None:
    """Return once ``true()``."""
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.005)


def dogs() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def hold_up(watching: Watch, longer: float = 0.0) -> Block:
    """Hold the loop up until the watchdog has seen it, and longer; return what it saw."""
    end = time.monotonic() + 30
    while (block := watching.block) is None:
        assert time.monotonic() < end, "nobody has seen it"
        time.sleep(0.01)
    time.sleep(longer)
    return block


async def test_a_block_is_seen_while_it_lasts_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watching = watch(LIMIT)
    before = time.time()
    block = hold_up(watching, longer=2 * LIMIT)
    assert before - 1 < block.since < time.time() - LIMIT
    assert block.seconds > 2 * LIMIT
    assert watching.lag > 2 * LIMIT
    assert any("in hold_up: time.sleep(0.01)" in line for line in block.stack)
    assert block.what == f"task {asyncio.current_task().get_name()!r}"
    await until(lambda: watching.last)
    assert watching.block is None
    assert watching.last is not None
    assert watching.last.stack == block.stack
    assert watching.last.lasted is not None
    assert watching.lag > LIMIT  # remembered for a while
    await until(lambda: watching.lag < LIMIT)
    watching.end()
    told = [r.getMessage() for r in caplog.records if r.name == watchdog.__name__]
    first, second = [each for each in told if "stood still" not in each]  # a busy machine does
    assert re.match(r"the event loop has not turned for \d\.\d s; held up by", first)
    assert "in hold_up: time.sleep(0.01)" in first
    assert "turns again after" in second


async def test_an_import_that_takes_long_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "slowly_imported.py").write_text("hold_up()\n")
    watching = watch(LIMIT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "hold_up", lambda: hold_up(watching), raising=False)
    importlib.import_module("slowly_imported")
    await until(lambda: watching.last)
    watching.end()
    told = [r for r in caplog.records if "the event loop" in r.message]
    assert {r.levelname for r in told} == {"INFO"}
    assert re.search(r"imported by \S+slowly_imported.py:1, in <module>: hold_up", told[0].message)


async def test_who_watches_can_name_what_holds_it_up() -> None:
    watching = watch(LIMIT, lambda task: f"op x in {task.get_name()}")
    task = asyncio.create_task(asyncio.to_thread(lambda: None), name="mine")

    async def work() -> None:
        block = hold_up(watching)
        assert block.what == "op x in mine"

    await task
    await asyncio.create_task(work(), name="mine")
    watching.end()


async def test_a_callback_is_no_task_and_its_stack_says_enough() -> None:
    watching, blocks = watch(LIMIT), list[Block]()
    asyncio.get_running_loop().call_soon(lambda: blocks.append(hold_up(watching)))
    await until(lambda: blocks)
    assert blocks[0].what == ""
    assert any("hold_up" in line for line in blocks[0].stack)
    watching.end()


async def test_what_keeps_the_interpreter_to_itself_is_found_too() -> None:
    watching = watch(LIMIT)

    def is_found() -> bool:
        return watching.last is not None and any("sum(range(" in s for s in watching.last.stack)

    for _ in range(20):  # on a busy machine the thread may have its turn when it is over
        assert sum(range(30_000_000))  # one call of C, in which no other thread has its turn
        await asyncio.sleep(5 * LIMIT)
        if is_found():
            break
    assert is_found(), watching.last
    watching.end()


async def test_a_loop_that_turns_is_left_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    watching = watch(30)
    await asyncio.sleep(0.05)
    assert watching.block is None
    assert watching.last is None
    watching.end()
    assert caplog.records == []


async def test_one_thread_for_all_who_watch_a_loop() -> None:
    await until(lambda: dogs() == 0)  # those of tests before have a tick to end
    before = dogs()
    first, second = watch(30), watch(LIMIT)
    assert dogs() == before + 1
    assert hold_up(first) is second.block  # the lowest limit holds for all
    second.end()
    second.end()
    assert dogs() == before + 1
    first.end()
    await until(lambda: dogs() == before)
    third = watch(LIMIT)
    hold_up(third)
    third.end()
    await until(lambda: dogs() == before)


def test_a_loop_that_is_closed_or_stands_between_two_runs_is_not_held_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def begin() -> Watch:
        return watch(LIMIT)

    before = dogs()
    loop = asyncio.new_event_loop()
    watching = loop.run_until_complete(begin())
    time.sleep(4 * LIMIT)
    assert watching.block is None
    loop.run_until_complete(asyncio.sleep(0.01))
    assert watching.last is None
    loop.close()  # and nobody has lost interest
    end = time.monotonic() + 30
    while dogs() > before:
        assert time.monotonic() < end, "its thread goes on"
        time.sleep(0.01)
    assert caplog.records == []


SUSPENDED = """
import asyncio, logging, sys
from ion.observe.watchdog import watch
logging.basicConfig(stream=sys.stdout, format="%(message)s", level="WARNING")
async def main():
    watching = watch(0.3)
    print("up", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print("block:", watching.block, "last:", watching.last, flush=True)
asyncio.run(main())
"""


def test_a_suspended_process_was_not_held_up_by_its_own() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUSPENDED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(process.pid, signal.SIGCONT)
        assert "stood still for" in process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "block: None last: None\n"
