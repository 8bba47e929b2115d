"""`ioncc --listen`: others on the machine reach a memory bus, with no broker installed."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

FOREIGN = Path(__file__).parents[2] / "journeys" / "foreign_caller.py"


def file_of(ioncc, sysname: str = "ion") -> Path:
    return ioncc.folder / "run" / "ion" / f"{sysname}.json"


@pytest.fixture
def listening(ioncc):
    """A container with service `hello`, whose bus listens."""
    serving = ioncc.serve("-n", "--listen", "hello")
    serving.container = serving.ready()["id"]
    return serving


def test_every_command_finds_it_without_a_broker_url(ioncc, listening):
    assert json.loads(ioncc.run("call", "hello.hello", "text=x").stdout) == "Hello there, x"
    assert ioncc.run("send", "hello.hello", "text=x").returncode == 0
    (node,) = json.loads(ioncc.run("nodes", "--json").stdout)
    assert (node["container"], node["pid"]) == (listening.container, listening.process.pid)
    for word in ("ps", "services", "apps", "dlq"):
        result = ioncc.run(word, "--json")
        assert (result.returncode, result.stderr) == (0, "")
        assert json.loads(result.stdout) is not None
    assert ioncc.run("call", "nobody.hello").returncode == 4
    assert listening.end() == 0


def test_a_second_container_joins_and_shares_the_work(ioncc, listening):
    second = ioncc.serve("-n", "-b", "local://", "hello")
    assert second.ready()["broker"] == "local"
    (row,) = json.loads(ioncc.run("services", "--json").stdout)
    assert (row["name"], row["instances"]) == ("hello", 2)
    assert second.end() == 0
    assert json.loads(ioncc.run("call", "hello.hello", "text=x").stdout) == "Hello there, x"
    assert listening.end() == 0


def test_a_container_joins_again_when_the_bus_was_started_anew(ioncc, listening):
    second = ioncc.serve("-n", "-b", "local://", "hello")
    second.ready()
    listening.process.kill()
    listening.process.wait()
    second.wait_for("DEGRADED")
    third = ioncc.serve("-n", "--listen")
    third.ready()
    second.wait_for("is ACTIVE again")
    assert json.loads(ioncc.run("call", "hello.hello", "text=x").stdout) == "Hello there, x"
    assert (second.end(), third.end()) == (0, 0)


def test_a_plain_pika_script_calls_hello(ioncc, listening):
    url = json.loads(file_of(ioncc).read_text())["url"]
    script = subprocess.run(
        [sys.executable, FOREIGN, url, "ion"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (script.returncode, script.stderr) == (0, "")
    rows = [json.loads(line) for line in script.stdout.splitlines()]
    assert [row["content"] for row in rows[:2]] == ["Hello there, json", "Hello there, msgpack"]
    assert [row["content"]["code"] for row in rows[4:]] == [404, 400, 400, 400, 415, 413]
    assert listening.end() == 0


def test_the_file_is_the_users_alone_and_goes_with_the_container(ioncc, listening):
    path = file_of(ioncc)
    found = json.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert found["pid"] == listening.process.pid
    password = re.search(r":([^:@]+)@", found["url"])[1]
    assert len(password) > 20
    assert listening.end() == 0
    assert not path.exists()
    assert password not in "\n".join(listening.lines)


def test_a_second_one_that_wants_to_listen_is_refused(ioncc, listening):
    result = ioncc.run("-n", "--listen", "hello")
    assert result.returncode == 1
    assert f"process {listening.process.pid} listens for system 'ion' already" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    other = ioncc.serve("-n", "--listen", "-s", "other")
    other.ready()
    assert (other.end(), listening.end()) == (0, 0)


def test_what_a_killed_one_left_is_replaced(ioncc, listening):
    listening.process.kill()
    listening.process.wait()
    gone = ioncc.run("ps")
    assert gone.returncode == 3
    assert f"process {listening.process.pid}, is gone" in gone.stderr
    again = ioncc.serve("-n", "--listen", "hello")
    again.ready()
    assert json.loads(ioncc.run("call", "hello.hello").stdout) == "Hello there, Hi there"
    assert again.end() == 0


def test_a_file_of_a_pid_that_is_anothers_now_is_replaced(ioncc):
    path = file_of(ioncc)
    path.parent.mkdir(mode=0o700)
    path.write_text(json.dumps({"url": "amqp://ion:x@127.0.0.1:1/", "pid": os.getpid()}))
    path.chmod(0o600)
    result = ioncc.run("ps")
    assert result.returncode == 3
    assert "connection refused" in result.stderr
    serving = ioncc.serve("-n", "--listen")
    serving.ready()
    assert json.loads(path.read_text())["pid"] == serving.process.pid
    assert serving.end() == 0


def test_a_file_that_others_may_read_is_not_believed(ioncc, listening):
    path = file_of(ioncc)
    path.chmod(0o644)
    result = ioncc.run("ps")
    assert result.returncode == 3
    assert "not this user's alone" in result.stderr
    path.chmod(0o600)
    assert listening.end() == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "0.0.0.0:5672"], "loopback only"),
        (["--listen", "192.168.0.1:0"], "loopback only"),
        (["--listen", "127.0.0.1:99999"], "port"),
        (["--listen", "-b", "amqp://127.0.0.1:1/"], "broker.listen is for memory://"),
    ],
)
def test_where_it_does_not_listen(ioncc, words, said):
    result = ioncc.run("-n", *words)
    assert result.returncode == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_it_nobody_is_found(ioncc):
    serving = ioncc.serve("-n", "hello")
    serving.ready()
    assert not file_of(ioncc).exists()
    for words in (["ps"], ["ps", "-b", "local://"], ["-n", "-b", "local://elsewhere"]):
        result = ioncc.run(*words)
        assert result.returncode in {1, 3}
        assert "--listen" in result.stderr
        assert "Traceback" not in result.stderr
    assert serving.end(signal.SIGINT) == 0
