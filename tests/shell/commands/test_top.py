"""`ioncc top`: samples one after another, and on a terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pexpect
import pytest

from tests.shell.conftest import COMMAND, WAIT


@pytest.fixture(scope="module")
def system(module_ioncc):
    """A container with services `hello` and `noting`, whose bus listens."""
    module_ioncc.app("noting")
    serving = module_ioncc.serve("-n", "--listen", "hello", "noting.app")
    serving.container = serving.ready()["id"]
    return serving


@pytest.fixture
def top(module_ioncc, system):
    """Run `ioncc top` to its end."""
    return lambda *words: module_ioncc.run("top", *words)


def test_tables_one_after_another(top, system):
    result = top("--count", "2", "--every", "0.2")
    assert (result.returncode, result.stderr) == (0, "")
    for heading in ("CONTAINER ", "NAME   ", "PID "):
        assert sum(line.startswith(heading) for line in result.stdout.splitlines()) == 2
    assert "1 container  " in result.stdout
    assert system.container in result.stdout


def test_a_line_of_json_a_sample(top, system):
    result = top("--count", "2", "--every", "0.2", "--json")
    samples = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(samples) == 2
    for sample in samples:
        assert set(sample) == {"time", "seconds", "containers", "services", "processes"}
        (row,) = sample["containers"]
        assert row["container"] == system.container
        assert row["rss"] > 1_000_000
        assert row["in_per_s"] > 0  # it was asked for its numbers
        assert {service["name"] for service in sample["services"]} == {"hello", "noting"}


def test_rates_are_of_what_was_done_meanwhile(module_ioncc, system):
    asked = subprocess.Popen(
        [*module_ioncc.command, "top", "--json", "--every", "1"],
        cwd=module_ioncc.folder,
        env=module_ioncc.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    json.loads(asked.stdout.readline())  # from now on it counts
    for _ in range(3):
        assert module_ioncc.run("call", "noting.add", "a=1", "b=2").returncode == 0
    handled = 0.0
    while handled < 2.5:  # of 3, each second's share rounded
        sample = json.loads(asked.stdout.readline())
        (row,) = [each for each in sample["services"] if each["name"] == "noting"]
        handled += row["handled_per_s"] * sample["seconds"]
    asked.send_signal(signal.SIGINT)
    assert asked.wait(WAIT) == 0
    asked.stdout.close()


def test_one_container_of_several(module_ioncc, top, system):
    second = module_ioncc.serve("-n", "-b", "local://", "hello")
    name = second.ready()["id"]
    samples = [
        json.loads(top("--count", "1", "--every", "0.1", "--json", *node).stdout)
        for node in ([], [name])
    ]
    shown = [[row["container"] for row in sample["containers"]] for sample in samples]
    assert shown == [sorted([system.container, name]), [name]]
    assert [row["instances"] for row in samples[0]["services"] if row["name"] == "hello"] == [2]
    assert second.end() == 0


def test_it_goes_on_when_a_container_has_gone(module_ioncc, system):
    second = module_ioncc.serve("-n", "-b", "local://")
    second.ready()
    asked = subprocess.Popen(
        [*module_ioncc.command, "top", "--json", "--every", "0.1"],
        cwd=module_ioncc.folder,
        env=module_ioncc.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    counts = [len(json.loads(asked.stdout.readline())["containers"])]
    second.process.kill()
    while counts[-1] != 1:
        counts.append(len(json.loads(asked.stdout.readline())["containers"]))
    assert counts[0] == 2
    asked.send_signal(signal.SIGTERM)
    assert asked.wait(WAIT) == 0
    asked.stdout.close()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nobody"], 4, "there is no container 'nobody'; there are"),
        (["-s", "other"], 3, "no container of system 'other' listens"),
        (["--every", "0"], 2, "is no interval"),
        (["--count", "-1"], 2, "is no number of samples"),
    ],
)
def test_what_cannot_be_shown(top, words, code, said):
    result = top(*words)
    assert (result.returncode, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_a_terminal_is_drawn_on_until_a_key_ends_it(module_ioncc, system, key):
    terminal = pexpect.spawn(
        sys.executable,
        [*COMMAND[1:], "top", "--every", "0.1"],
        cwd=str(module_ioncc.folder),
        env=module_ioncc.env,
        dimensions=(12, 60),
        encoding="utf-8",
        timeout=WAIT,
    )
    for _ in range(3):  # three times from the top
        terminal.expect_exact("\x1b[H")
        terminal.expect_exact(system.container)
    terminal.send(key)
    terminal.expect_exact("\x1b[?1049l")  # the screen is as it was
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
