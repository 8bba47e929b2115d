"""The interactive shell on a real terminal, with ptpython and without."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pexpect
import pytest

WAIT = 15
PROMPT = ">>>"


@pytest.fixture(params=["ptpython", "plain"])
def shell(request, ioncc):
    """`ioncc hello` on a terminal, at its first prompt."""
    if request.param == "plain":
        hidden = ioncc.folder / "ptpython"
        hidden.mkdir()
        (hidden / "__init__.py").write_text("raise ImportError('hidden')")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "ion.shell.main", "hello"],
        cwd=ioncc.folder,
        env={**ioncc.env, "PROMPT_TOOLKIT_NO_CPR": "1"},
        dimensions=(40, 160),
        encoding="utf8",
        timeout=WAIT,
    )
    child.kind = request.param
    child.folder = ioncc.folder
    try:
        yield child
    finally:
        child.close(force=True)


def ask(shell, line, answer):
    """Type a line and wait for its answer and the next prompt."""
    shell.send(line + "\r")
    shell.expect(answer)
    shell.expect(PROMPT)


def leave(shell):
    """Wait for the end and return the exit code."""
    shell.expect(pexpect.EOF)
    shell.close()
    return shell.exitstatus


def test_the_screen_says_what_to_type_and_it_works(shell):
    shell.expect(r"ready \S+ sysname=ion broker=memory")
    shell.expect(r"Type:\s+(await [^\r\n]+)")
    line = shell.match[1]
    assert re.fullmatch(r"await svc\.hello\.hello\(text='you'\)", line)
    assert (shell.kind == "plain") == (shell.expect(["ptpython is not installed", PROMPT]) == 0)
    if shell.kind == "plain":
        shell.expect(PROMPT)
    ask(shell, line, "Hello there, you")
    shell.send("exit()\r")
    assert leave(shell) == 0


def test_helpers(shell):
    shell.expect(PROMPT)
    ask(shell, "ps()", "HelloService")
    ask(shell, "svc()", r"hello\(text: str")
    ask(shell, "apps()", "1 app")
    ask(shell, "ms()", r"ion\.hello")
    ask(shell, "nodes()", "1 container")
    ask(shell, "info()", "rpc_send")
    ask(shell, "help(ping)", "sign of life")
    ask(shell, "help(svc.hello)", r"hello\(text: str.*2 ops")
    ask(shell, "ping('hello')", "Ping ok: hello in")
    ask(shell, "await rpc_send('hello', 'hello', {'text': 'x' + 'yz'})", "there, xyz")
    ask(shell, "await send('hello', 'hello'); 'se' + 'nt'", "'sent'")
    ask(shell, "loglevel('error')", "error")
    ask(shell, "pid = await spawn('ion:Process', 'extra'); pid[-2:]", r"'\.\d")
    ask(shell, "await kill(pid); pid in cc.processes", "False")
    ask(shell, "await restart('hello'); 'aga' + 'in'", "'again'")
    shell.send("class Twice(Service, name='twice'):\r")
    shell.send("    async def op_twice(self, n: int): return 2 * n\r" + "\r" * 2)
    shell.expect(PROMPT)
    ask(shell, "await spawn(Twice); await svc.twice.twice(n=21)", "42")
    ask(shell, "await rpc_send('nobody', 'x')", r"ServiceNotFound \(404\)")
    shell.sendeof()
    assert leave(shell) == 0


def test_errors_and_ctrl_c_end_only_the_line(shell):
    shell.expect(PROMPT)
    ask(shell, "1 / 0", "ZeroDivisionError")
    shell.send("print('wait' + 'ing'); await asyncio.sleep(60)\r")
    shell.expect("waiting")
    shell.sendintr()
    shell.expect("interrupted")
    shell.expect(PROMPT)
    shell.send("print('bu' + 'sy', flush=True), sum(0 for _ in iter(int, 1))\r")
    shell.expect("busy")
    shell.sendintr()
    shell.expect("interrupted")
    shell.expect(PROMPT)
    ask(shell, "20 + 22", "42")
    shell.sendeof()
    assert leave(shell) == 0


def test_a_result_that_cannot_be_shown_ends_only_its_line(shell):
    shell.expect(PROMPT)
    shell.send("Bad = type('Bad', (), {'__repr__': lambda self: 1 / 0})\r")
    ask(shell, "Bad()", "ZeroDivisionError|division by zero")
    ask(shell, "20 + 22", "42")
    shell.sendeof()
    assert leave(shell) == 0


def test_a_terminal_that_goes_away_stops_the_container(ioncc):
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*ioncc.command, "hello"],
        cwd=ioncc.folder,
        env=ioncc.env,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that it gets no SIGHUP: it must see the end of its input
    )
    os.close(theirs)
    with process:
        seen = b""
        while b">>>" not in seen:
            seen += os.read(ours, 1024)
        os.close(ours)
        assert process.wait(WAIT) == 0
        said = process.stderr.read()
    assert b"ready" in said
    assert b"Traceback" not in said


def test_logs_appear_while_a_line_is_typed(shell):
    shell.expect(PROMPT)
    shell.send("import logging; say = logging.getLogger('x').warning\r")
    ask(shell, "asyncio.get_running_loop().call_later(0.3, say, 'from %s', 'behind')", "Timer")
    shell.send("20 +")
    shell.expect("from behind")
    ask(shell, " 22", "42")
    shell.sendeof()
    assert leave(shell) == 0


def test_a_signal_from_outside_drains_and_leaves(shell):
    shell.expect(PROMPT)
    shell.kill(signal.SIGTERM)
    assert leave(shell) == 0


def test_lines_are_kept_for_the_next_time_in_a_private_file(shell):
    shell.expect(PROMPT)
    ask(shell, "6 * 7", "42")
    shell.send("exit\r")
    assert leave(shell) == 0
    history = shell.folder / "state" / "ion" / "history"
    assert "6 * 7" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0
