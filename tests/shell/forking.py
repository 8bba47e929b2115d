"""`ioncc`, and what else runs often, forked off a process that has imported it already.

The imports take a third of a second of CPU time, and the tests run hundreds of commands. What is
forked is an OS process like any other, with a folder, an environment and streams of its own; it is
killed when who asked for it is gone, however that ended. Some tests start `ioncc` from the command
line, too.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LENGTH = struct.Struct("!I")
_STATUS = struct.Struct("!i")
_ROOT = Path(__file__).parents[2]
_ROOMS = ("ion.shell", "ion.messaging", "ion.container", "ion.stores.sqlite", "ion.services.hello")
_PR_SET_PDEATHSIG = 1
IONCC = "ion.shell.main"


class Forked:
    """What runs: as much of a :class:`subprocess.Popen` as the tests use.

    :ivar pid: of the process.
    :ivar returncode: how it ended, or None.
    :ivar stdout: what it prints, as text; None where that goes elsewhere. ``stderr`` likewise.
    :ivar stdin: what it reads, likewise.
    """

    def __init__(self, words: Sequence[str], news: socket.socket, ours: dict[str, int]) -> None:
        self.args = list(words)
        self._news = news
        (self.pid,) = _STATUS.unpack(news.recv(_STATUS.size))
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = (
            os.fdopen(ours[name], mode, encoding="utf-8") if name in ours else None
            for name, mode in (("stdin", "w"), ("stdout", "r"), ("stderr", "r"))
        )

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._news], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            (status,) = _STATUS.unpack(self._news.recv(_STATUS.size))
            self._news.close()
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# A program that asks for `ioncc`, and passes on what signals it gets: it starts in no time.
# The first lines are for a shell, as a path with spaces cannot stand behind `#!`.
_PROGRAM = """#!/bin/sh
'''exec' '{python}' -IS "$0" "$@"
'''
import json, os, signal, socket, struct, sys
pipe = socket.socket(socket.AF_UNIX)
pipe.connect({address!r})
text = json.dumps([{ioncc!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(pipe, [struct.pack("!I", len(text))], [0, 1, 2])
pipe.sendall(text)
(pid,) = struct.unpack("!i", pipe.recv(4))
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(pid, number))
code = os.waitstatus_to_exitcode(*struct.unpack("!i", pipe.recv(4)))
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if code != -signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class Forker:
    """Runs commands of `ioncc`, from any thread; ends with :meth:`close` or with this process.

    :ivar folder: with a program `ioncc`, for the PATH of scripts; it is run likewise.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ion-forker-")
        self.folder = Path(self._folder.name)
        self._address = str(self.folder / "socket")
        self._alive, theirs = socket.socketpair()
        with theirs, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._address)
            listener.listen(100)
            fds = [theirs.fileno(), listener.fileno()]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.shell.forking", *map(str, fds)],
                cwd=_ROOT,
                pass_fds=fds,
            )
        program = self.folder / "ioncc"
        parts = {"python": sys.executable, "address": self._address, "ioncc": IONCC}
        program.write_text(_PROGRAM.format(**parts))
        program.chmod(0o755)

    def close(self) -> None:
        self._alive.close()
        self._process.wait()
        self._folder.cleanup()

    def run(
        self,
        words: Sequence[str],
        folder: Path,
        env: dict[str, str],
        given: str,
        timeout: float,
        program: str = IONCC,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, as :func:`subprocess.run` does with what it captures.

        :param program: the module that is run, as with ``python -m``.
        """
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
            files[0].write(given)
            files[0].seek(0)
            forked = self._fork(words, folder, env, [file.fileno() for file in files], {}, program)
            try:
                code = forked.wait(timeout)
            except subprocess.TimeoutExpired:
                forked.kill()
                forked.wait()
                raise
            for file in files:
                file.seek(0)
            return subprocess.CompletedProcess(words, code, *(f.read() for f in files[1:]))

    def start(
        self, words: Sequence[str], folder: Path, env: dict[str, str], *, mute: bool = False
    ) -> Forked:
        """Start, with nothing to read and pipes for what it prints; return at once.

        :param mute: nobody reads its standard output.
        """
        nothing = os.open(os.devnull, os.O_RDWR)
        err, its_err = os.pipe()
        ours, theirs = {"stderr": err}, [nothing, nothing, its_err]
        if not mute:
            ours["stdout"], theirs[1] = os.pipe()
        try:
            return self._fork(words, folder, env, theirs, ours)
        finally:
            for fd in set(theirs):
                os.close(fd)

    def feed(self, words: Sequence[str], folder: Path, program: str) -> Forked:
        """Start, with pipes for what it reads and for its standard output."""
        its_in, given = os.pipe()
        out, its_out = os.pipe()
        ours = {"stdin": given, "stdout": out}
        try:
            env = dict(os.environ)
            return self._fork(words, folder, env, [its_in, its_out, 2], ours, program)
        finally:
            os.close(its_in)
            os.close(its_out)

    def _fork(
        self,
        words: Sequence[str],
        folder: Path,
        env: dict[str, str],
        streams: list[int],
        ours: dict[str, int],
        program: str = IONCC,
    ) -> Forked:
        text = json.dumps([program, list(words), str(folder), env]).encode()
        pipe = socket.socket(socket.AF_UNIX)
        pipe.connect(self._address)
        socket.send_fds(pipe, [_LENGTH.pack(len(text))], streams)
        pipe.sendall(text)
        return Forked(words, pipe, ours)


@functools.cache
def shared() -> Forker:
    """Return the one of this process, that lives as long."""
    forker = Forker()
    atexit.register(forker.close)
    return forker


@dataclass(frozen=True)
class _Child:
    """One that runs: its number, what tells its end, and who asked for it."""

    pid: int
    ended: int
    pipe: socket.socket

    def close(self) -> None:
        os.close(self.ended)
        self.pipe.close()


def _serve(alive: socket.socket, listener: socket.socket) -> str:
    """Fork for each request; return in what is forked, with the module that it is to run."""
    children: dict[int, _Child] = {}  # by the file descriptors that tell something of them
    poll = select.poll()
    poll.register(alive, select.POLLIN)
    poll.register(listener, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == alive.fileno():
                os._exit(0)
            if fd in children:
                _heard(fd, children, poll)
            elif fd == listener.fileno():
                pipe, _ = listener.accept()
                forker = os.getpid()
                pid = os.fork()
                if not pid:
                    _die_with(forker)
                    for one in {alive, listener, *children.values()}:
                        one.close()
                    return _begin(pipe)
                _watch(_Child(pid, os.pidfd_open(pid), pipe), children, poll)


def _watch(child: _Child, children: dict[int, _Child], poll: select.poll) -> None:
    with contextlib.suppress(OSError):
        child.pipe.send(_STATUS.pack(child.pid))
    children[child.ended] = children[child.pipe.fileno()] = child
    poll.register(child.ended, select.POLLIN)
    poll.register(child.pipe, select.POLLRDHUP)  # what there is to read is for the child


def _heard(fd: int, children: dict[int, _Child], poll: select.poll) -> None:
    """Tell how a child ended, or kill one that nobody asks for any more."""
    child = children.pop(fd)
    poll.unregister(fd)
    if fd != child.ended:
        os.kill(child.pid, signal.SIGKILL)
        return
    if children.pop(child.pipe.fileno(), None):
        poll.unregister(child.pipe)
    status = os.waitpid(child.pid, 0)[1]
    with contextlib.suppress(OSError):
        child.pipe.send(_STATUS.pack(status))
    child.close()


def _begin(pipe: socket.socket) -> str:
    """Read what is asked for, and become it; return the module to run."""
    with pipe:
        head, streams, _, _ = socket.recv_fds(pipe, _LENGTH.size, 3)
        if len(head) < _LENGTH.size:  # who asked is gone
            os._exit(1)
        asked = json.loads(pipe.recv(*_LENGTH.unpack(head), socket.MSG_WAITALL))
    program, words, folder, env = asked
    _become(words, folder, env, streams)
    return program


def _die_with(parent: int) -> None:
    """Be killed when the parent ends: so nothing is left of tests that are killed themselves."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _become(words: list[str], folder: str, env: dict[str, str], streams: list[int]) -> None:
    for target, fd in enumerate(streams):
        os.dup2(fd, target)
    for fd in streams:
        os.close(fd)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [folder, *env.get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = ["ioncc", *words]


def _run(program: str) -> None:
    """Run it as it runs itself; end without taking all modules apart, which takes longest."""
    code: object = 0
    try:
        runpy.run_module(program, run_name="__main__")
    except SystemExit as end:
        code = end.code
        if not isinstance(code, int):
            raise
    threading._shutdown()  # waits for threads, as the end of a Python does
    atexit._run_exitfuncs()
    gc.collect()  # what was left behind complains now
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(code)


def _import_all() -> None:
    """Import what commands import, also what only some of them do, such as the way to a broker."""
    for room in _ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            if "prompt_" not in module.name:
                with contextlib.suppress(ImportError):  # whoever needs it will say so
                    importlib.import_module(module.name)
    importlib.import_module("yaml")
    del sys.modules[IONCC]  # it is run, not imported


if __name__ == "__main__":
    _import_all()
    gc.freeze()
    _run(_serve(*(socket.socket(fileno=int(word)) for word in sys.argv[1:])))
