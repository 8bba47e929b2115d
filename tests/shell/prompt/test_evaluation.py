"""Running typed lines: await at the top level, results, and Ctrl-C."""

from __future__ import annotations

import asyncio
import signal

import pytest

from ion.shell.prompt.evaluation import Evaluator, Interrupted, Lines


async def test_values_statements_and_the_last_result():
    shell = Evaluator({})
    assert await shell.run("x = 2") is None
    assert await shell.run("x * 21") == 42
    assert await shell.run("y = _ + 1\ny") == 43
    assert await shell.run("def f(n):\n    return n + x\n") is None
    assert await shell.run("f(1)") == 3


async def test_await_at_the_top_level_runs_on_this_loop():
    shell = Evaluator({"asyncio": asyncio, "loop": asyncio.get_running_loop()})
    assert await shell.run("await asyncio.sleep(0, 'done')") == "done"
    assert await shell.run("asyncio.get_running_loop() is loop") is True
    assert await shell.run("a = await asyncio.sleep(0, 1)\nfor i in range(3):\n    a += i\na") == 4


async def test_a_forgotten_await_is_added():
    assert await Evaluator({"asyncio": asyncio}).run("asyncio.sleep(0, 'done')") == "done"


async def test_errors_reach_the_caller_and_the_shell_goes_on():
    shell = Evaluator({})
    with pytest.raises(ZeroDivisionError):
        await shell.run("1 / 0")
    with pytest.raises(SyntaxError):
        await shell.run("1 +")
    with pytest.raises(SystemExit):
        await shell.run("raise SystemExit")
    assert await shell.run("1 + 1") == 2
    assert not shell.running


async def test_interrupt_cancels_a_line_that_waits():
    namespace = {"started": asyncio.Event(), "asyncio": asyncio}
    shell = Evaluator(namespace)
    line = asyncio.create_task(shell.run("started.set(); await asyncio.sleep(60)"))
    await namespace["started"].wait()
    shell.interrupt()
    with pytest.raises(Interrupted):
        await line


async def test_interrupt_stops_a_line_that_computes():
    shell = Evaluator({"signal": signal})
    before = signal.signal(signal.SIGINT, lambda *_: shell.interrupt())
    try:
        with pytest.raises(Interrupted):
            await shell.run("signal.raise_signal(signal.SIGINT)\nwhile True: pass")
    finally:
        signal.signal(signal.SIGINT, before)
    assert await shell.run("1") == 1


async def test_a_line_that_cancels_itself_does_not_end_the_shell():
    shell = Evaluator({"asyncio": asyncio})
    with pytest.raises(Interrupted):
        await shell.run("asyncio.current_task().cancel()\nawait asyncio.sleep(60)")
    assert await shell.run("1") == 1


async def test_interrupt_between_lines_does_nothing():
    Evaluator({}).interrupt()


async def test_a_cancelled_shell_cancels_its_line():
    namespace = {"asyncio": asyncio, "started": asyncio.Event(), "ended": asyncio.Event()}
    text = "try:\n    started.set()\n    await asyncio.sleep(60)\nfinally:\n    ended.set()"
    line = asyncio.create_task(Evaluator(namespace).run(text))
    await namespace["started"].wait()
    line.cancel()
    with pytest.raises(asyncio.CancelledError):
        await line
    assert namespace["ended"].is_set()


def test_lines_gather_a_whole_statement():
    lines = Lines()
    assert lines.add("x = 1") == "x = 1"
    assert lines.add("async def f():") is None
    assert lines
    assert lines.add("    return await g()") is None
    assert lines.add("") == "async def f():\n    return await g()\n"
    assert not lines
    assert lines.add("await f()") == "await f()"
    assert lines.add("1 +") == "1 +"
