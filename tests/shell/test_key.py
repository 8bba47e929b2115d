"""The key of a system between OS processes: made by the first, found by the same user, copied."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import ion
from ion import Forbidden, Operator
from tests.shell.conftest import Ioncc

SCRIPT = """
import asyncio, sys, ion

async def main(url, node):
    async with ion.connect(url, sysname="keyed") as connection:
        operator = ion.Operator(connection)
        print(await operator.spawn(node, "ion.services.echo.service:EchoService"))
        await operator.drain(node)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_copy_of_the_key_commands(
    ioncc: Ioncc, amqp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = ioncc.serve("-n", "-b", amqp_url, "-s", "keyed", "hello")
    node = (await asyncio.to_thread(serving.ready))["id"]
    made = Path(ioncc.env["XDG_DATA_HOME"]) / "ion" / "keyed.key"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    copy = tmp_path / "elsewhere" / "ion" / "keyed.key"
    async with ion.connect(amqp_url, sysname="keyed") as connection:
        with pytest.raises(Forbidden, match=str(copy)):
            await Operator(connection).drain(node)
        assert not copy.exists()  # who commands makes none
    copy.parent.mkdir(parents=True)
    shutil.copy(made, copy)
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", SCRIPT, amqp_url, node],
        env={**ioncc.env, "XDG_DATA_HOME": str(tmp_path / "elsewhere")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    assert ran.stdout.startswith(f"{node}.")
    assert await asyncio.to_thread(serving.end, None) == 0
    log = "\n".join(serving.lines)
    assert "spawn ion.services.echo.service:EchoService" in log
    assert "to drain" in log
    assert made.read_text().strip() not in log


def test_a_key_that_others_can_read_is_told_in_one_line(ioncc: Ioncc, amqp_url: str) -> None:
    path = ioncc.folder / "open.key"
    path.write_text("ab" * 32)
    path.chmod(0o644)
    ran = ioncc.run("-n", "-b", amqp_url, "--set", f"agent.key_file={path}", "hello")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(f"ioncc: the key file {path} is open to others")
    assert "Traceback" not in ran.stderr


def test_a_wrong_key_is_told_with_its_place_and_not_repeated(ioncc: Ioncc) -> None:
    (ioncc.folder / "ionlocal.yml").write_text("agent:\n  key: hunter2\n")
    ran = ioncc.run("-n", "hello")
    assert ran.returncode == 1
    assert "ionlocal.yml:2: agent.key" in ran.stderr
    assert "hunter2" not in ran.stderr
    ran = ioncc.run("config")
    assert "hunter2" not in ran.stdout + ran.stderr


def test_the_key_is_not_shown(ioncc: Ioncc) -> None:
    ioncc.env["ION_AGENT__KEY"] = "ab" * 32
    for words in (["config"], ["config", "--explain", "agent.key"], ["config", "--json"]):
        ran = ioncc.run(*words)
        assert "abab" not in ran.stdout + ran.stderr
    assert os.environ.get("ION_AGENT__KEY") is None
