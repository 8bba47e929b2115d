"""Ctrl-C while `ioncc` still loads what it needs: it ends, without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

# Interrupts itself when the module is looked for.
INTERRUPTED_AT = """
import os, runpy, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv[1:] = {words!r}
runpy.run_module("ion.shell.main", run_name="__main__", alter_sys=True)
"""
INTERRUPTED_AT_EXIT = """
import atexit, os, runpy, signal, sys

atexit.register(os.kill, os.getpid(), signal.SIGINT)
sys.argv[1:] = {words!r}
runpy.run_module("ion.shell.main", run_name="__main__", alter_sys=True)
"""
# A thread that does not return holds the loop's end.
STUCK = """
import asyncio, threading
from ion.shell import main
from ion.shell.serving import shutdown

async def work():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    print("the answer")
    return 3

shutdown.GRACE = 0.05
main._run(work())
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("ion.base.errors", ["hello"]),
        ("argparse", ["hello"]),
        ("asyncio", ["hello"]),
        ("ion.container.container", ["hello"]),
        ("ion.process.connection", ["ps"]),
        ("ion.container.apps.check", ["check", "hello"]),
    ],
)
def test_an_interrupt_while_loading_ends_it_without_a_word(ioncc, module, words):
    code = INTERRUPTED_AT.format(module=module, words=words)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ioncc.folder,
        env=ioncc.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(("words", "code"), [(["config"], 0), (["call", "nothing"], 2)])
def test_an_interrupt_while_python_ends_changes_nothing(ioncc, words, code):
    """The handlers that were registered first are called last."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_EXIT.format(words=words)],
        cwd=ioncc.folder,
        env=ioncc.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert "KeyboardInterrupt" not in done.stderr


def test_an_interrupt_while_it_waits_for_what_is_to_be_sent_ends_it(ioncc):
    os.mkfifo(ioncc.folder / "given")
    with subprocess.Popen(
        [sys.executable, "-m", "ion.shell.main", "call", "hello.hello", "text@given"],
        cwd=ioncc.folder,
        env=ioncc.env,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as calling:
        end = os.open(ioncc.folder / "given", os.O_WRONLY)  # once the other end is open
        try:
            calling.send_signal(signal.SIGINT)
            _, said = calling.communicate(timeout=30)
        finally:
            os.close(end)
    assert (calling.returncode, said) == (130, "")


def test_what_was_printed_is_not_left_behind():
    done = subprocess.run(
        [sys.executable, "-c", STUCK],
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "the answer\n")
    assert "left behind, as it does not end: " in done.stderr


def test_the_package_alone_loads_next_to_nothing():
    code = "import sys, ion; print([name for name in sys.modules if name.startswith('ion.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
