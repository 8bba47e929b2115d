"""`ioncc tail`: the logs of all containers as one, from OS processes of their own."""

from __future__ import annotations

import json
import queue
import shlex
import signal
import subprocess
import threading
import time

import pytest

from tests.shell.conftest import WAIT

TALKER = '''
import asyncio, logging
from ion import Service

log = logging.getLogger("talk.shop")

class Talker(Service, name="talker"):
    """Logs what it is told to."""

    async def op_say(self, text: str, level: str = "INFO", times: int = 1) -> None:
        for n in range(times):
            log.log(getattr(logging, level), text, extra={"token": "hunter2", "n": n})

    async def op_fail(self) -> None:
        raise RuntimeError("broken\\x1b[31m")
'''
APP = "type: application\nname: talker\nversion: 1.0.0\nmod:\n  name: talking:Talker\n"


def with_talker(ioncc):
    (ioncc.folder / "talking.py").write_text(TALKER)
    (ioncc.folder / "talker.app").write_text(APP)
    return ioncc


class Tailing:
    """`ioncc tail` that runs; lines of what it prints as they come."""

    def __init__(self, ioncc, *words: str) -> None:
        self.process = ioncc.start("tail", *words)
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.seen: list[str] = []
        self._readers: list[threading.Thread] = []

    def read(self) -> Tailing:
        """Begin to read what it prints."""
        for stream in (self.process.stdout, self.process.stderr):
            reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
            reader.start()
            self._readers.append(reader)
        return self

    def _read(self, stream) -> None:
        for line in stream:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, *words: str) -> str:
        """Return the next line that has all these words."""
        end = time.monotonic() + WAIT
        while True:
            line = self._lines.get(timeout=max(end - time.monotonic(), 0.01))
            assert line is not None, self.seen
            self.seen.append(line)
            if all(word in line for word in words):
                return line

    def end(self) -> int:
        """End it as Ctrl-C does; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(WAIT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT)
        for reader in self._readers:
            reader.join(WAIT)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def tailing():
    """Start `ioncc tail`; it is killed at the end where it still runs."""
    started = []

    def start(ioncc, *words):
        started.append(Tailing(ioncc, *words))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="module")
def system(module_ioncc):
    """A container with service `talker`, whose bus listens."""
    with_talker(module_ioncc)
    serving = module_ioncc.serve("-n", "--listen", "--log-level", "info", "talker.app")
    serving.container = serving.ready()["id"]
    return serving


@pytest.fixture
def say(module_ioncc, system):
    """Have something logged."""

    def run(text, **more):
        words = [f"{key}={value}" for key, value in more.items()]
        result = module_ioncc.run("call", "talker.say", f"text={text}", *words)
        assert (result.returncode, result.stderr) == (0, "")

    return run


@pytest.fixture
def recent(module_ioncc, system):
    """Return what `ioncc tail --no-follow --json` shows."""

    def run(*words):
        result = module_ioncc.run("tail", "--no-follow", "--json", *words)
        assert (result.returncode, result.stderr) == (0, "")
        return [json.loads(line) for line in result.stdout.splitlines()]

    return run


def test_recent_records_then_new_ones_until_ctrl_c(module_ioncc, system, say, tailing):
    say("before")
    tail = tailing(module_ioncc, "-n", "1").read()
    line = tail.line("before")
    assert f"INFO    talk.shop [{system.container}." in line
    assert tail.seen == [line]
    say("after")
    assert "[" + system.container in tail.line("after")
    assert tail.end() == 0


def test_a_record_of_json_is_as_in_a_log_of_json(system, say, recent):
    say("amqp://guest:hunter2@host/", level="WARNING")
    (record,) = recent("-n", "1", "--logger", "talk")
    assert record.pop("time").endswith("Z")
    assert record.pop("process").startswith(f"{system.container}.")
    assert record.pop("conversation")
    assert record == {
        "level": "WARNING",
        "logger": "talk.shop",
        "message": "amqp://guest:***@host/",
        "container": system.container,
        "op": "say",
        "token": "***",
        "n": 0,
    }


def test_only_what_is_asked_for(say, recent):
    say("a needle in the hay")
    say("a needle that hurts", level="ERROR")
    assert [r["level"] for r in recent("--grep", "NEEDLE")] == ["INFO", "ERROR"]
    assert [r["level"] for r in recent("--grep", "needle", "--level", "warning")] == ["ERROR"]
    assert recent("--grep", "needle", "--logger", "talk.show") == []
    assert recent("-n", "0") == []
    assert len(recent("-n", "1", "--grep", "needle")) == 1


def test_as_many_as_are_kept_may_be_asked_for(say, recent):
    say("plenty", times=600)  # more than go into one message
    assert [r["n"] for r in recent("-n", "500", "--grep", "plenty")] == list(range(100, 600))


def test_a_traceback_follows_and_brings_no_control_characters(module_ioncc, system):
    assert module_ioncc.run("call", "talker.fail").returncode == 1
    said = module_ioncc.run("tail", "--no-follow", "--grep", "RuntimeError", "-n", "1").stdout
    assert "Traceback (most recent call last):" in said
    assert "broken\\x1b[31m" in said
    assert "\x1b" not in said


def test_containers_that_come_stop_and_vanish_are_told(module_ioncc, system, tailing):
    tail = tailing(module_ioncc, "-n", "1").read()
    tail.line(system.container)
    second = module_ioncc.serve("-n", "-b", "local://", "hello")
    name = second.ready()["id"]
    tail.line(f"ioncc tail: {name} is there")
    assert second.end() == 0
    tail.line(f"ioncc tail: {name} has stopped")
    third = module_ioncc.serve("-n", "-b", "local://")
    name = third.ready()["id"]
    tail.line(f"ioncc tail: {name} is there")
    third.process.kill()
    tail.line(f"ioncc tail: {name} does not answer any more")
    assert tail.end() == 0


def test_notices_are_json_where_asked_for(module_ioncc, system, tailing):
    tail = tailing(module_ioncc, "-n", "1", "--json").read()
    tail.line(system.container)
    second = module_ioncc.serve("-n", "-b", "local://")
    name = second.ready()["id"]
    notice = json.loads(tail.line('"notice"', name))
    assert notice == {"notice": "joined", "container": name, "message": "is there"}
    second.end()


def test_several_containers_are_merged_in_the_order_of_time(module_ioncc, system, say, recent):
    second = module_ioncc.serve("-n", "-b", "local://", "talker.app")
    second.ready()
    for n in range(6):  # the two instances take turns
        say(f"turn {n}")
    both = recent("-n", "6", "--grep", "turn ")
    assert [record["message"] for record in both] == [f"turn {n}" for n in range(6)]
    assert len({record["container"] for record in both}) == 2
    one = recent("-n", "6", "--grep", "turn ", system.container)
    assert {record["container"] for record in one} == {system.container}
    second.end()


def test_a_slow_reader_is_told_how_many_it_missed(module_ioncc, system, say, tailing):
    say("much at first")
    tail = tailing(module_ioncc, "-n", "1", "--grep", "much").read()
    tail.line("much at first")
    say("much", times=9000)  # in one go: a reader has room for 2,000
    assert "records were dropped" in tail.line(system.container, "dropped")
    say("much in the end")
    tail.line("much in the end")
    assert tail.end() == 0


def test_nobody_reads_on(module_ioncc, system, say):
    """`ioncc tail | head -1` ends with its reader."""
    say("one")
    say("two")
    command = f"{shlex.join(module_ioncc.command)} tail | head -1"
    done = subprocess.Popen(
        ["/bin/bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=module_ioncc.folder,
        env=module_ioncc.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while done.poll() is None:  # what comes next finds that nobody reads
        say("three")
    out, err = done.communicate(timeout=WAIT)
    assert (done.returncode, err) == (0, "")
    assert len(out.splitlines()) == 1


def test_who_is_not_there_is_not_found(module_ioncc, system):
    result = module_ioncc.run("tail", "nobody")
    assert (result.returncode, result.stdout) == (4, "")
    assert f"there is no container 'nobody'; there are {system.container}" in result.stderr


def test_no_system_is_unreachable(module_ioncc, system):
    result = module_ioncc.run("tail", "-s", "other")
    assert (result.returncode, result.stdout) == (3, "")
    assert "no container of system 'other' listens" in result.stderr


def test_a_reader_does_not_hold_up_a_stop(ioncc, tailing):
    serving = ioncc.serve("-n", "--listen")
    name = serving.ready()["id"]
    tail = tailing(ioncc).read()
    tail.line("listens on")
    assert serving.end() == 0
    tail.line(f"ioncc tail: {name} has stopped")
    assert tail.end() == 0
    assert not any("cut off" in line for line in serving.lines)


@pytest.mark.amqp
@pytest.mark.parametrize("lean", ["true", "false"])
def test_what_tells_of_each_frame_begets_nothing(ioncc, rabbitmq_server, tailing, lean):
    """At level debug aiormq logs every frame, those that carry the records included."""
    url = rabbitmq_server.url(rabbitmq_server.new_vhost())
    with_talker(ioncc)
    noisy = ("--set", "logging.levels.aiormq=DEBUG", "--log-level", "debug")
    serving = ioncc.serve("-n", "-b", url, "--set", f"broker.lean={lean}", *noisy, "talker.app")
    serving.ready()
    assert ioncc.run("call", "-b", url, "talker.say", "text=turn 0").returncode == 0
    tail = tailing(ioncc, "-b", url, "-n", "30", "--json").read()
    for n in range(1, 4):
        tail.line("turn" if n == 1 else f"turn {n - 1}")
        assert ioncc.run("call", "-b", url, "talker.say", f"text=turn {n}").returncode == 0
    tail.line("turn 3")
    assert not any('"DEBUG"' in line and "aiormq" in line for line in tail.seen)
    assert len(tail.seen) < 100
    assert tail.end() == 0
    assert serving.end() == 0


@pytest.mark.amqp
def test_a_broker_that_restarts_is_outlived(ioncc, rabbitmq_server, tailing):
    """The connection of the tail is cut, as by a broker that restarts; nothing is missed."""
    vhost = rabbitmq_server.new_vhost()
    url = rabbitmq_server.url(vhost)
    with_talker(ioncc)
    serving = ioncc.serve("-n", "-b", url, "talker.app")
    serving.ready()
    assert ioncc.run("call", "-b", url, "talker.say", "text=turn 0").returncode == 0
    tail = tailing(ioncc, "-b", url, "--grep", "turn ").read()
    tail.line("turn 0")
    rabbitmq_server.ctl("close_all_connections", "--vhost", vhost, "as told")
    serving.wait_for("ACTIVE again")
    assert ioncc.run("call", "-b", url, "talker.say", "text=turn 1").returncode == 0
    tail.line("turn 1")
    assert sum("turn 0" in line for line in tail.seen) == 1
    assert tail.end() == 0
