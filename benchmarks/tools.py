"""What the benchmark makes for itself: the C program, and the virtual environment of the peers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.procs import MeasurementFailed

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
C_SOURCES = HERE / "c"
C_PROGRAM = BUILD / "amqp_bench"
PEERS_VENV = HERE / ".venv-peers"
PEERS_PYTHON = PEERS_VENV / "bin" / "python"
REQUIREMENTS = HERE / "peers" / "requirements.txt"


def _run(command: list[str], what: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        message = f"{what} failed: {' '.join(command)}\n{done.stdout}{done.stderr}"
        raise MeasurementFailed(message)
    return done.stdout


def build_c() -> Path:
    """Compile the C program where it is older than its sources; return its path.

    :raises MeasurementFailed: no compiler, or no librabbitmq-dev.
    """
    newest = max(file.stat().st_mtime for file in C_SOURCES.iterdir())
    if not C_PROGRAM.exists() or C_PROGRAM.stat().st_mtime < newest:
        BUILD.mkdir(exist_ok=True)
        sources = sorted(str(file) for file in C_SOURCES.glob("*.c"))
        flags = ["-O2", "-Wall", "-Wextra", "-o", str(C_PROGRAM)]
        try:
            _run(["cc", *flags, *sources, "-lrabbitmq"], "compiling (needs librabbitmq-dev)")
        except FileNotFoundError:
            message = "no C compiler: install gcc (and librabbitmq-dev)"
            raise MeasurementFailed(message) from None
    return C_PROGRAM


def make_peers() -> Path:
    """Install the peers where the list of them has changed; return their Python.

    :raises MeasurementFailed: one cannot be installed.
    """
    stamp = PEERS_VENV / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(PEERS_VENV, with_pip=True, clear=True)
        pip = [str(PEERS_PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        _run([*pip, "-r", str(REQUIREMENTS)], "installing the peers")
        stamp.write_text(wanted)
    return PEERS_PYTHON


def versions_in(python: str, names: list[str]) -> dict[str, str]:
    """Return the versions of those distributions that this interpreter has."""
    code = (
        "import sys, json; from importlib.metadata import version, PackageNotFoundError\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = version(name)\n"
        "    except PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    found: dict[str, str] = json.loads(_run([python, "-c", code, *names], "asking for versions"))
    return found


def c_version() -> str:
    """Return the version of librabbitmq that the C program runs on."""
    return _run([str(C_PROGRAM), "version"], "asking for the version").strip()


OURS_PYTHON = Path(sys.executable)
