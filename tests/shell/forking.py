"""`ioncc` forked off a process that has imported it already.

The imports take a third of a second of CPU time, and the tests run hundreds of short commands. What
is forked is an OS process like any other, with a folder, an environment and streams of its own.
Those that serve, and those that a test sends signals to, are started from the command line.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

_LENGTH = struct.Struct("!I")
_STATUS = struct.Struct("!i")
_ROOT = Path(__file__).parents[2]


class Forker:
    """Runs commands of `ioncc`, from any thread; ends with :meth:`close` or with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.shell.forking", str(theirs.fileno())],
                cwd=_ROOT,
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        self._pipe.close()
        self._process.wait()

    def run(
        self, words: Sequence[str], folder: Path, env: dict[str, str], given: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, as :func:`subprocess.run` does with what it captures."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
            files[0].write(given)
            files[0].seek(0)
            fds = [file.fileno() for file in files]
            code = self._call([list(words), str(folder), env], fds, timeout)
            for file in files:
                file.seek(0)
            return subprocess.CompletedProcess(words, code, *(f.read() for f in files[1:]))

    def _call(self, request: list[object], streams: list[int], timeout: float) -> int:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._lock:
                text = json.dumps(request).encode()
                fds = [theirs.fileno(), *streams]
                socket.send_fds(self._pipe, [_LENGTH.pack(len(text))], fds)
                self._pipe.sendall(text)
            (pid,) = _STATUS.unpack(ours.recv(_STATUS.size))
            ours.settimeout(timeout)
            try:
                (status,) = _STATUS.unpack(ours.recv(_STATUS.size))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(str(request[0]), timeout) from None
            return os.waitstatus_to_exitcode(status)


def _serve(pipe: socket.socket) -> None:
    """Fork for each request; return in what is forked, as what shall run."""
    while True:
        head, fds, _, _ = socket.recv_fds(pipe, _LENGTH.size, 4)
        if not head:
            os._exit(0)
        (length,) = _LENGTH.unpack(head)
        words, folder, env = json.loads(pipe.recv(length, socket.MSG_WAITALL))
        if not os.fork():
            pipe.close()
            if _watched(fds[0]):
                _become(words, folder, env, fds[1:])
                return
        for fd in fds:
            os.close(fd)


def _watched(teller: int) -> bool:
    """Fork once more: the child goes on, this one tells its pid and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if not child:
        os.close(teller)
        return True
    os.write(teller, _STATUS.pack(child))
    status = os.waitpid(child, 0)[1]
    with contextlib.suppress(OSError):
        os.write(teller, _STATUS.pack(status))
    os._exit(0)


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


def _import_all() -> None:
    import ion.shell

    for module in pkgutil.iter_modules(ion.shell.__path__, "ion.shell."):
        if not module.ispkg and not module.name.startswith("ion.shell.prompt_"):
            importlib.import_module(module.name)
    del sys.modules["ion.shell.main"]  # it is run, not imported


if __name__ == "__main__":
    _import_all()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("ion.shell.main", run_name="__main__")
