"""What all private servers share: a folder, ports, a process to start, stop, kill and suspend.

The calls block (use ``asyncio.to_thread`` where a loop must go on meanwhile). Nothing is left
behind: ``close`` and the exit of this process kill the server and remove its folder; where this
process is killed itself, the guard that waits on a pipe to it does the same.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from ion.base.errors import StartError

START_TIMEOUT = 150.0
STOP_TIMEOUT = 30.0
_PORTS = (20_000, 32_000)  # below the range that outgoing connections are given
_LOOPBACK = "127.0.0.1"
_POLL = 0.02
_TRIES = 3  # to start for the first time
_FROZEN = 2.0  # seconds that SIGSTOP may take
_STILL = "TtZXx"  # states of a thread that does nothing (proc(5))
_LOG_TAIL = 2_000

# Kills the process groups of the last line read when the pipe ends, then removes the folder; more
# than once, as what is dying may still write.
_GUARD = """
while read -r line; do groups=$line; done
for g in $groups; do kill -9 "-$g" 2>/dev/null; done
for pause in 0.2 0.5 1 2; do rm -rf "$1" 2>/dev/null; [ -e "$1" ] || break; sleep $pause; done
"""


class PrivateServer:
    """One private server; starts with :meth:`start`, and as a context manager.

    :cvar binary: the program that must be there.
    :cvar package: the system package that brings it.
    :ivar host: the address it listens on.
    :ivar port: the port it listens on, the same after a restart. Others may take it before the
        first start: then it is another one afterwards.
    :ivar folder: its data and logs.
    """

    binary = ""
    package = ""

    def __init__(self) -> None:
        self.host = _LOOPBACK
        self._take_ports()
        self._was_up = False
        self.folder = Path(tempfile.mkdtemp(prefix=f"ion-{self.binary}-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.register(self.close)

    # what a kind of server says about itself

    def _launch(self) -> subprocess.Popen[bytes]:
        """Start the program."""
        raise NotImplementedError

    def _take_ports(self) -> None:
        """Choose the ports, before the first start."""
        self.port = free_port()

    def _is_up(self) -> bool:
        """Tell whether the started program serves already."""
        return accepts(self.host, self.port)

    # the life of the server

    @property
    def running(self) -> bool:
        """Whether the process lives (it may be suspended)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the server.

        :raises StartError: it does not run.
        """
        if self._process is None:
            message = f"{self.binary} is not running"
            raise StartError(message)
        return self._process.pid

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start on the same ports and data; return when it serves. Nothing where it runs.

        :raises StartError: the program is not installed, or did not come up within ``timeout``
            seconds; the message says why and ends with the tail of its log.
        """
        if self.running:
            return
        tries = 1 if self._was_up else _TRIES
        while not self._comes_up(timeout):
            tries -= 1
            is_late = self.running
            self.kill()
            if is_late or not tries:
                why = f"was not up after {timeout:g} s" if is_late else "ended at once"
                message = f"{self.binary} {why}: ...{self._log_tail()}"
                raise StartError(message)
            self._end_helpers()
            self._take_ports()  # one that was free may be somebody else's by now
        self._was_up = True

    def _comes_up(self, timeout: float) -> bool:
        self._process = self._launch()
        self._tell_guard()
        deadline = time.monotonic() + timeout
        while not self._is_up():
            if not self.running or time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Shut down as an operator would; kill where that takes over ``timeout`` seconds."""
        if self._process is None or not self.running:
            return
        self.resume()
        self._request_stop()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._ended()

    def kill(self) -> None:
        """Kill with SIGKILL, as a crash would; the data stays."""
        if self._process is None:
            return
        signal_group(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT)
        self._ended()

    def suspend(self) -> None:
        """Freeze with SIGSTOP: connections stay open, nothing answers once this returns."""
        self._signal_all(signal.SIGSTOP)
        until = time.monotonic() + _FROZEN
        while self._has_running_threads() and time.monotonic() < until:
            time.sleep(0.001)

    def resume(self) -> None:
        """Go on after :meth:`suspend`."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """Kill, and remove the folder. May be called twice."""
        atexit.unregister(self.close)
        self.kill()
        self._end_helpers()
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.write(b"\n")
            self._guard.stdin.close()
            self._guard.wait(STOP_TIMEOUT)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end_helpers(self) -> None:
        for helper in self._helpers:
            signal_group(helper.pid, signal.SIGKILL)
            helper.wait(STOP_TIMEOUT)
        self._helpers.clear()

    def __enter__(self) -> PrivateServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # tools for the kinds

    @property
    def log(self) -> Path:
        """The file that holds what the program wrote to its output."""
        return self.folder / "output.log"

    def _popen(
        self,
        command: Iterable[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                list(command),
                env=None if env is None else dict(env),
                cwd=self.folder,
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is for the tests, not for the server
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )

    def _request_stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def _ended(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
        self._tell_guard()

    def _tell_guard(self) -> None:
        groups = [p.pid for p in (self._process, *self._helpers) if p is not None]
        pipe = self._guard.stdin
        if pipe is not None and not pipe.closed:
            pipe.write(" ".join(map(str, groups)).encode() + b"\n")
            pipe.flush()

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is not None:
            for pid in family(self._process.pid):
                signal_process(pid, number)

    def _has_running_threads(self) -> bool:
        """Tell whether a thread goes on after SIGSTOP, as it does for a while on busy cores."""
        if self._process is None:
            return False
        pids = family(self._process.pid)
        stats = [stat for pid in pids for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        return any(_state_of(stat) not in _STILL for stat in stats)

    def _log_tail(self) -> str:
        try:
            return self.log.read_text(errors="replace")[-_LOG_TAIL:]
        except OSError:
            return "(no log)"


def _state_of(stat: Path) -> str:
    """Return the state of a thread, of its file in /proc; one that is gone is dead."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def find_binary(name: str, package: str, *folders: str) -> str:
    """Return the path of program ``name``, looked up in ``folders``, then in the PATH.

    :raises StartError: it is not installed; the message names the package that brings it.
    """
    for folder in folders:
        path = Path(folder) / name
        if path.exists():
            return str(path)
    path_found = shutil.which(name)
    if path_found is None:
        message = f"{name} is not installed: apt-get install {package}"
        raise StartError(message)
    return path_found


def free_port() -> int:
    """Return a port that is free now and that no outgoing connection will be given.

    :raises StartError: none was found.
    """
    for _ in range(200):
        port = random.randrange(*_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((_LOOPBACK, port))
            except OSError:
                continue
            return port
    message = f"no free port between {_PORTS[0]} and {_PORTS[1]}"
    raise StartError(message)


def accepts(host: str, port: int) -> bool:
    """Tell whether somebody accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def family(pid: int) -> list[int]:
    """Return ``pid`` and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            children.setdefault(_parent(entry), []).append(int(entry.name))
    found = [pid]
    for member in found:
        found.extend(children.get(member, []))
    return found


def _parent(entry: Path) -> int:
    try:
        stat = (entry / "stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send a signal; nothing where the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group; nothing where it is gone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
