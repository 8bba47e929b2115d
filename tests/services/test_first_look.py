"""What `make run` shows, as people see it: an OS process that says something and ends when told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "ion.shell.main", "-n", "observatory.rel"]


@pytest.fixture
def first_look(tmp_path: Path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ION_")}
    clean["XDG_DATA_HOME"] = str(tmp_path)
    with subprocess.Popen(
        COMMAND,
        cwd=tmp_path,
        env=clean,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def lines_until(process: subprocess.Popen[str], end: str) -> list[str]:
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if end in line:
            return lines
    raise AssertionError(f"ended without {end!r}: {lines}")


def test_it_says_something_and_ends_at_once_when_told(first_look: subprocess.Popen[str]) -> None:
    lines = lines_until(first_look, "samples/s")
    (ready,) = [line for line in lines if line.startswith("ready ")]
    assert "sysname=ion broker=memory" in ready
    assert any("gps1 is STREAMING" in line for line in lines)
    assert "N 124." in lines[-1]  # where the ship is
    assert len(lines) <= 6  # quiet enough to type beside it
    first_look.send_signal(signal.SIGTERM)
    assert first_look.wait(20) == 0
    assert first_look.stderr.read() == ""
