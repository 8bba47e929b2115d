"""The two commands, and what makes the ground for them: make run, .ci/venv, .ci/need."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / ".ci"
TOOLS = ("bash", "cat", "chmod", "dirname", "env", "grep", "ls", "rm", "tee")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Give a folder that is the PATH of a machine with hardly anything on it."""
    for tool in TOOLS:
        (tmp_path / tool).symlink_to(shutil.which(tool))
    return tmp_path


def program(machine: Path, name: str, script: str) -> None:
    path = machine / name
    path.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >>{machine}/log\n{script}\n')
    path.chmod(0o755)


def run(machine: Path, name: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [machine / "bash", SCRIPTS / name, *args],
        env={"PATH": str(machine), "HOME": str(machine)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def log(machine: Path) -> list[str]:
    path = machine / "log"
    return path.read_text().splitlines() if path.exists() else []


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_sigterm_to_make_drains_the_container_and_leaves_no_orphan():
    venv = sys.prefix
    command = ["make", "--no-print-directory", "-o", f"{venv}/run.stamp", f"VENV={venv}", "run"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as make:
        lines = iter(make.stderr.readline, "")
        assert any(line.startswith("ready ") for line in lines)
        make.send_signal(signal.SIGTERM)
        rest = make.stderr.read()  # until the last of them has closed it
        make.wait(30)
    assert make.returncode == -signal.SIGTERM
    assert "Error" not in rest
    assert "Traceback" not in rest
    assert is_gone(make.pid)


def test_what_is_there_is_not_installed(machine):
    program(machine, "redis-server", "")
    program(machine, "cc", "")
    done = run(machine, "need", "redis", "cc")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert log(machine) == []


def test_what_is_missing_is_installed_where_we_may(machine):
    program(machine, "id", "echo 1000")
    program(machine, "sudo", "cat >/dev/null")
    program(machine, "apt-get", "")
    done = run(machine, "need", "redis")
    assert done.returncode == 0, done.stderr
    [install] = [line for line in log(machine) if "apt-get install" in line]
    assert "DEBIAN_FRONTEND=noninteractive" in install
    assert install.endswith(" redis-server")
    assert "installing redis-server" in done.stderr


def test_stale_lists_of_packages_are_renewed(machine):
    program(machine, "id", "echo 1000")
    program(machine, "apt-get", "")
    mark = machine / "updated"
    program(
        machine,
        "sudo",
        f'case "$*" in *update*) : >{mark} ;; *install*) test -e {mark} ;; esac',
    )
    assert run(machine, "need", "redis").returncode == 0
    steps = [word for line in log(machine) for word in ("install", "update") if f" {word} " in line]
    assert steps == ["install", "update", "install"]


@pytest.mark.parametrize("has_apt", [True, False])
def test_where_we_may_not_install_the_packages_are_named(machine, has_apt):
    program(machine, "id", "echo 1000")
    program(machine, "sudo", "exit 1")
    if has_apt:
        program(machine, "apt-get", "")
    done = run(machine, "need", "redis", "cc")
    assert done.returncode == 1
    assert "redis-server gcc" in done.stderr


def test_an_unknown_need_is_a_mistake(machine):
    done = run(machine, "need", "coffee")
    assert done.returncode != 0
    assert "no such need: coffee" in done.stderr


PYTHON = """
case "$1" in
    -c) exit {fits} ;;
    --version) echo "Python {version}" ;;
esac
"""


def test_a_python_that_does_not_run_or_is_too_old_is_passed_over(machine):
    program(machine, "python3", PYTHON.format(fits=1, version="3.9"))
    program(machine, "python3.13", "exit 127")  # a shim that leads nowhere
    program(machine, "python3.12", PYTHON.format(fits=0, version="3.12"))
    done = run(machine, "venv", str(machine / "venv"))
    assert done.returncode == 0, done.stderr
    assert log(machine)[-1] == f"python3.12 -m venv --clear {machine / 'venv'}"
    assert "Python 3.12" in done.stderr


def test_a_machine_without_python_is_told_what_to_do(machine):
    done = run(machine, "venv", str(machine / "venv"))
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr


def test_an_environment_that_works_is_kept(machine):
    (machine / "venv/bin").mkdir(parents=True)
    program(machine, "venv/bin/python", "")
    program(machine, "python3", PYTHON.format(fits=0, version="3.12"))
    assert run(machine, "venv", str(machine / "venv")).returncode == 0
    assert not any("-m venv" in line for line in log(machine))


def test_continuous_integration_runs_make_test():
    text = (SCRIPTS / "run").read_text()
    assert "make test" in text
    assert os.access(SCRIPTS / "run", os.X_OK)
