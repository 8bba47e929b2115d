"""`ioncc` in odd surroundings and with odd words: one line on standard error, never a traceback."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["."], "there is no file ."),
        (["./"], "there is no file ."),
        (["x" * 300], "there is no app or rel"),
        (["--set", 'messaging.interceptors.in=["json:loads"]'], "'json:loads' cannot be made"),
    ],
)
def test_odd_words_are_a_failed_start(ioncc, words, said):
    result = ioncc.run("-n", *words)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert said in result.stderr


def test_the_package_runs_as_the_command(ioncc):
    done = subprocess.run(
        [sys.executable, "-m", "ion", "--version"],
        cwd=ioncc.folder,
        env=ioncc.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "ioncc"), done.stderr


def test_names_too_long_are_findings(ioncc):
    result = ioncc.run("check", "x" * 300)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("place", ["import", "start", "hook"])
def test_code_that_leaves_is_a_failed_start(ioncc, place):
    leave = {**dict.fromkeys(["import", "start", "hook"], "pass"), place: "sys.exit(7)"}
    module = (
        "import sys\n"
        "from ion import Process\n"
        f"{leave['import']}\n"
        "async def start(container, start_type, app):\n"
        f"    {leave['start']}\n"
        "    await container.spawn(Leaving)\n"
        "async def stop(container, state): pass\n"
        "class Leaving(Process):\n"
        "    async def on_activate(self):\n"
        f"        {leave['hook']}\n"
    )
    (ioncc.folder / "leaving.py").write_text(module)
    (ioncc.folder / "leaving.app").write_text("type: application\nname: leaving\nmod: leaving\n")
    result = ioncc.run("-n", "./leaving.app")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "SystemExit: 7" in result.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(ioncc, closed):
    lock = ioncc.folder / "lock"
    words = shlex.join([*ioncc.command, "--lockfile", "lock", "hello"])
    script = (
        f"{words} {closed} & until grep -qs ready lock; do sleep 0.02; done; kill -TERM $!; wait $!"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ioncc.folder,
        env=ioncc.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert lock.read_text().startswith("ready ")
    assert "Traceback" not in done.stderr


def test_what_the_terminal_has_no_letters_for_is_escaped_as_in_json(ioncc):
    (ioncc.folder / "odd.app").write_text("type: application\nname: ü😀\nmod: x\n", "utf-8")
    done = subprocess.run(
        [*ioncc.command, "check", "--json", "odd.app"],
        cwd=ioncc.folder,
        env={**ioncc.env, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "ü😀" in json.loads(done.stdout.decode("ascii"))[0]["message"]


def test_a_full_disk_is_told_in_one_line(ioncc):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*ioncc.command, "config"],
            cwd=ioncc.folder,
            env=ioncc.env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "ioncc: [Errno 28] No space left on device\n"
