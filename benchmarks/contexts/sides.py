"""The sides: how each is installed and run, in turns, each part in a process of its own."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contexts.side import LARGE, MIB, OURS, SMALL
from benchmarks.procs import ROOT, MeasurementFailed
from benchmarks.tools import PEERS_VENV
from ion.testing.servers import RabbitServer

PROGRAM = Path(__file__).with_name("side.py")
MEMORY = Path("/dev/shm")
PARTS = ("small", *map(str, LARGE))
SECONDS = 300  # that a part may take
ATTEMPTS = 4
CRASHED = "crashed"  # a figure: how often
Figures = dict[str, float]


@dataclass(frozen=True)
class Side:
    """What is measured.

    :ivar version: of ``iowarp-core``; "": it is ours.
    :ivar environ: variables that start its runtime within the program, and keep it quiet.
    """

    name: str
    module: str
    version: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)

    def python(self) -> str:
        """Return its interpreter; a peer is installed where it is not there yet.

        :raises MeasurementFailed: it cannot be installed.
        """
        if not self.version:
            return sys.executable
        home = PEERS_VENV / f"iowarp-{self.version}"
        python = home / "bin" / "python"
        if not (home / "installed").exists():
            venv.create(home, with_pip=True, clear=True)
            package = f"iowarp-core=={self.version}"
            command = [str(python), "-m", "pip", "install", "-q", package]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                message = f"{package} cannot be installed: {done.stderr}"
                raise MeasurementFailed(message)
            (home / "installed").touch()
        return str(python)


ION = Side("ion", OURS)
OLD = Side("1.0.3", "wrp_cee", "1.0.3", {"CHI_WITH_RUNTIME": "1", "HSHM_LOG_LEVEL": "fatal"})
NEW = Side(
    "2.3.2",
    "clio_cee",
    "2.3.2",
    {"CHI_WITH_RUNTIME": "1", "CLIO_WITH_RUNTIME": "1", "CTP_LOG_LEVEL": "fatal"},
)
SIDES = {side.name: side for side in (ION, OLD, NEW)}
BROKER = "RabbitMQ"  # ION again: the service in a container of its own, behind a broker


@contextmanager
def files(sizes: Iterable[int] = tuple(LARGE)) -> Iterator[Path]:
    """Give a folder in memory with what is to be bundled: text, as 1.x gives nothing else back."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="contexts") as folder:
        home = Path(folder)
        for number in range(SMALL):
            (home / f"small_{number}").write_bytes(_text(4096))
        piece = _text(MIB)
        for size in sizes:
            with (home / f"large_{size}").open("wb") as file:
                for number in range(size):
                    file.write(piece[number:] + piece[:number])
        yield home


def _text(size: int) -> bytes:
    return base64.b64encode(os.urandom(size * 3 // 4))


def measured(names: list[str], rounds: int) -> Iterator[tuple[str, Figures]]:
    """Give side and figures, part by part; in each round the sides come in an order of its own."""
    sides = dict(SIDES)
    with ExitStack() as stack:
        folder = stack.enter_context(files())
        if BROKER in names:
            sides[BROKER] = Side(BROKER, OURS, "", stack.enter_context(served(folder)))
        for _ in range(rounds):
            for part in PARTS:
                for name in random.sample(names, len(names)):
                    yield name, run(sides[name], folder, part)


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Have contexts served behind a private RabbitMQ; give the variables that lead there."""
    with RabbitServer() as broker, tempfile.TemporaryDirectory(dir=MEMORY) as home:
        command = [sys.executable, "-m", "ion.shell.main", "-n", "contexts", "-b", broker.url()]
        command += ["--set", f"store.url=sqlite:///{home}/ion.db"]
        command += ["--set", f'apps.contexts.roots=["{folder}"]']
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as service:
            assert service.stderr is not None
            while not (line := service.stderr.readline()).startswith("ready "):
                if not line:
                    message = "the container of contexts does not come up"
                    raise MeasurementFailed(message)
            try:
                yield {"ION_BROKER": broker.url()}
            finally:
                service.terminate()


def run(side: Side, folder: Path, part: str) -> Figures:
    """Return the figures of one part; a peer that crashes is asked again for what is missing.

    :raises MeasurementFailed: our side failed.
    """
    figures: Figures = {}
    for crashes in range(ATTEMPTS if side.version else 1):
        done = _done(side, folder, part)
        figures |= _figures(done.stdout)
        if not done.returncode:
            return figures | ({CRASHED: float(crashes)} if crashes else {})
        if not side.version:
            message = f"{side.name}, {part}: {done.stderr}"
            raise MeasurementFailed(message)
    return figures | {CRASHED: float(ATTEMPTS)}


def _done(side: Side, folder: Path, part: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="contexts-home") as home:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ION_")},
            **side.environ,
            "HOME": home,
            "XDG_DATA_HOME": home,
            "PYTHONPATH": "" if side.version else str(ROOT),
        }
        return subprocess.run(
            [side.python(), str(PROGRAM), side.module, str(folder), part],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )


def _figures(text: str) -> Figures:
    figures: Figures = {}
    for line in text.splitlines():
        if line.startswith("{"):
            figures |= json.loads(line)
    return figures
