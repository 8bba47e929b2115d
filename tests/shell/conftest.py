"""`ioncc` as people run it: an OS process of its own, in an empty working directory."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.shell.forking import Forked, Forker, shared

COMMAND = [sys.executable, "-m", "ion.shell.main"]
READY = re.compile(
    r"^ready (?P<id>[\w-]+) sysname=(?P<sysname>[\w-]+) broker=(?P<broker>\w+) "
    r"apps=(?P<apps>\d+) processes=(?P<processes>\d+)$"
)
WAIT = 20.0
TERM = signal.SIGTERM  # `signal` is also a method below

# A module of processes that the apps of these tests run.
ACTORS = '''
import asyncio, pathlib
from ion import ApplicationError, Service

class Noting(Service, name="noting"):
    """Writes what happens to it into a file."""
    def __init__(self, file, text="", stop=0.0, fail=False):
        self.file, self.text, self.stop, self.fail = pathlib.Path(file), text, stop, fail

    def note(self, what):
        with self.file.open("a") as out:
            out.write(what + "\\n")

    async def on_activate(self):
        self.note(f"start {self.text}")
        if self.fail:
            raise RuntimeError("as told")

    async def on_terminate(self):
        self.note("stopping")
        await asyncio.sleep(self.stop)
        self.note("stopped")

    async def op_add(self, a: int, b: int) -> int:
        return a + b

    async def op_echo(self, text: str) -> str:
        return text

    async def op_any(self, value: object = None) -> object:
        return value

    async def op_blob(self) -> bytes:
        return b"\\x00\\x01"

    async def op_take(self, data: bytes) -> int:
        return len(data)

    async def op_count(self, n: int, size: int = 0, fail: str = "", wait: bool = False):
        given = 0
        try:
            for number in range(n):
                given += 1
                yield {"number": number, "fill": "x" * size} if size else number
            if wait:
                await asyncio.sleep(600)
            if fail:
                raise ApplicationError(fail, code=409)
        finally:
            self.note(f"closed after {given}")

    async def op_pieces(self):
        for piece in (b"\\x00one", "two\\n", [3], {"n": 4}):
            yield piece

    async def op_steps(self, n: int = 2, wait: bool = False) -> int:
        for number in range(n):
            await self.reply_progress(self.message, {"step": number})
        self.note("begun")
        try:
            await asyncio.sleep(600 if wait else 0)
        except asyncio.CancelledError:
            self.note(f"closed after {n}")
            raise
        return n

    async def op_refuse(self) -> None:
        raise ApplicationError("not today", code=409, details={"day": 3})

    async def op_fail(self) -> None:
        raise RuntimeError("broken")
'''


class Ioncc:
    """Runs `ioncc` in one working directory."""

    def __init__(self, folder: Path, forker: Forker) -> None:
        self.folder = folder
        self._forker = forker
        self.command = COMMAND
        # xdist hands its own width of the terminal down, and tables would fold to it
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ION_", "COLUMNS"))}
        root = str(Path(__file__).parents[2])
        (folder / "run").mkdir(mode=0o700, exist_ok=True)
        self.env = {
            **clean,
            "PYTHONPATH": os.pathsep.join([str(folder), root]),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "TERM": "xterm",
        }
        self.started: list[Serving] = []

    def run(
        self, *words: str, given: str = "", timeout: float = WAIT, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, with what is ``given`` as its standard input, and more of ``env``."""
        return self._forker.run(words, self.folder, {**self.env, **env}, given, timeout)

    def start(self, *words: str) -> Forked | subprocess.Popen[str]:
        """Start it, with nothing to read and pipes for what it prints."""
        changed = (self.folder / "sitecustomize.py").exists()  # it counts for a new Python only
        if self.command == COMMAND and not changed:
            return self._forker.start(words, self.folder, self.env)
        return subprocess.Popen(
            [*self.command, *words],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def serve(self, *words: str) -> Serving:
        """Start one that serves, and return at once."""
        serving = Serving(self, words)
        self.started.append(serving)
        return serving

    def app(self, name: str, **kwargs: object) -> None:
        """Write an app file that runs the service ``noting``."""
        kwargs.setdefault("file", str(self.folder / "notes"))
        (self.folder / "actors.py").write_text(ACTORS)
        text = f"type: application\nname: {name}\nversion: 1.0.0\nmod:\n  name: actors:Noting\n"
        text += "  kwargs:\n" + "".join(f"    {k}: {v!r}\n" for k, v in kwargs.items())
        (self.folder / f"{name}.app").write_text(text)

    def notes(self) -> list[str]:
        """Return what the processes wrote."""
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []


class Serving:
    """One `ioncc` that serves; lines of its standard error as they come."""

    def __init__(self, ioncc: Ioncc, words: tuple[str, ...]) -> None:
        self.process = ioncc.start(*words)
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self.process.stderr as lines:
            for line in lines:
                self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def wait_for(self, pattern: re.Pattern[str] | str) -> re.Match[str]:
        """Return the match of the next line that has the pattern."""
        end = time.monotonic() + WAIT
        while (line := self._queue.get(timeout=max(end - time.monotonic(), 0.01))) is not None:
            self.lines.append(line)
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"ended without {pattern!r}: {self.lines}")

    def ready(self) -> re.Match[str]:
        """Wait for the ready line."""
        return self.wait_for(READY)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, number: int | None = TERM) -> int:
        """Send a signal and return the exit code."""
        if number is not None:
            self.signal(number)
        code = self.process.wait(WAIT)
        while (line := self._queue.get(timeout=WAIT)) is not None:
            self.lines.append(line)
        return code

    def close(self) -> None:
        """Kill it where it still runs, and close its pipes."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT)
        self._reader.join(WAIT)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def forker():
    """What runs the short commands."""
    return shared()


def _opened(folder: Path, forker: Forker):
    ioncc = Ioncc(folder, forker)
    yield ioncc
    for serving in ioncc.started:
        serving.close()


@pytest.fixture
def ioncc(tmp_path, forker):
    """`ioncc` in an empty working directory."""
    yield from _opened(tmp_path, forker)


@pytest.fixture(scope="module")
def module_ioncc(tmp_path_factory, forker):
    """The same for all tests of a module."""
    yield from _opened(tmp_path_factory.mktemp("ioncc"), forker)
