"""`ioncc [START ...]`: up, ready line, signals, and starts that fail. On the memory bus."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import sysconfig
import time

import pytest

from ion import StartError
from ion.shell.serving.lockfile import LockFile


def locked(path):
    """Tell which of the two kinds of lock somebody holds on a file."""
    held = []
    for name, lock in (("flock", fcntl.flock), ("lockf", fcntl.lockf)):
        with path.open("r+") as file:
            try:
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.append(name)
    return held


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_a_signal_drains_and_exits_0(ioncc, number):
    ioncc.app("noting")
    serving = ioncc.serve("-n", "noting.app", "-s", "mine")
    ready = serving.ready()
    assert (ready["sysname"], ready["broker"], ready["apps"]) == ("mine", "memory", "1")
    assert int(ready["processes"]) >= 1
    assert serving.end(number) == 0
    assert ioncc.notes() == ["start ", "stopping", "stopped"]
    assert not [line for line in serving.lines if "Traceback" in line]


def test_without_a_terminal_it_serves_without_being_told(ioncc):
    serving = ioncc.serve()
    assert serving.ready()["apps"] == "0"
    assert serving.end() == 0


def test_the_shipped_app_and_release_start_by_name(ioncc):
    for name in ("hello", "hello.app", "hello.rel"):
        serving = ioncc.serve("-n", name)
        assert int(serving.ready()["apps"]) >= 1
        assert serving.end() == 0


def test_names_are_looked_up_in_the_working_directory_first(ioncc):
    ioncc.app("hello")
    (ioncc.folder / "res" / "apps").mkdir(parents=True)
    (ioncc.folder / "hello.app").rename(ioncc.folder / "res" / "apps" / "hello.app")
    serving = ioncc.serve("-n", "hello")
    serving.ready()
    assert serving.end() == 0
    assert ioncc.notes()[0] == "start "


def test_arguments_reach_the_apps(ioncc):
    ioncc.app("one")
    ioncc.app("two")
    serving = ioncc.serve("-n", "one.app", "two.app", "-a", "text=all", "-a", "apparg_two.text=2")
    serving.ready()
    assert serving.end() == 0
    assert ioncc.notes()[:2] == ["start all", "start 2"]

    (ioncc.folder / "r.rel").write_text("type: release\nname: r\napps: [{name: one}]\n")
    serving = ioncc.serve("-n", "r.rel", "-a", "text=lost")  # as in the original, it is for apps
    serving.wait_for("WARNING.* -a text: .*apparg_<app>.<key>=value")
    assert serving.end() == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "nonsense"),
        (["hello", "./no/such.app"], "such.app"),
        (["--set", "container.drain_timout=1"], "drain_timeout"),
        (["-c", "missing.yml"], "missing.yml"),
        (["-b", "carrier-pigeon://x"], "carrier-pigeon"),
    ],
)
def test_a_failed_start_exits_1_with_one_line(ioncc, words, said):
    result = ioncc.run("-n", *words)
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("ioncc: ")
    assert said in result.stderr


def test_a_broker_that_is_not_there_is_a_failed_start_without_password(ioncc):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = ioncc.run("-n", "-b", f"amqp://me:hidden@127.0.0.1:{port}/", "hello")
    assert result.returncode == 1
    assert str(port) in result.stderr.splitlines()[-1]
    assert "refused" in result.stderr
    assert "hidden" not in result.stderr


def test_a_failed_start_stops_what_it_had_started(ioncc):
    ioncc.app("good", text="good")
    ioncc.app("bad", text="bad", fail=True)
    result = ioncc.run("-n", "good.app", "bad.app")
    assert result.returncode == 1
    assert "as told" in result.stderr.splitlines()[-1]
    assert "ready" not in result.stderr
    assert ioncc.notes()[:2] == ["start good", "start bad"]
    assert ioncc.notes()[-2:] == ["stopping", "stopped"]
    assert ioncc.notes().count("stopped") == 2


def test_a_signal_during_the_start_stops_it(ioncc):
    (ioncc.folder / "res").mkdir()
    ioncc.app("slow")
    module = ioncc.folder / "actors.py"
    module.write_text(
        module.read_text().replace(
            'self.note(f"start {self.text}")', 'self.note("start"); await asyncio.sleep(60)'
        )
    )
    serving = ioncc.serve("-n", "slow.app")
    end = time.monotonic() + 20
    while not ioncc.notes() and time.monotonic() < end:
        time.sleep(0.02)
    assert serving.end() == 1
    assert any("told to stop" in line for line in serving.lines)
    assert not any(line.startswith("ready") for line in serving.lines)


def test_a_second_signal_ends_it_at_once(ioncc):
    ioncc.app("slow", stop=60.0)
    serving = ioncc.serve("-n", "slow.app")
    serving.ready()
    serving.signal(signal.SIGTERM)
    end = time.monotonic() + 20
    while "stopping" not in ioncc.notes() and time.monotonic() < end:
        time.sleep(0.02)
    serving.signal(signal.SIGTERM)  # the same wish, told twice, as make and `timeout` do
    time.sleep(0.6)
    assert serving.process.poll() is None
    assert serving.end(signal.SIGINT) == 130
    assert ioncc.notes()[-1] == "stopping"


def test_the_lock_file_is_held_until_the_start_is_complete(ioncc):
    lock = ioncc.folder / "lock"
    os.mkfifo(ioncc.folder / "gate")
    ioncc.app("gated")
    module = ioncc.folder / "actors.py"
    gate = 'await asyncio.to_thread(pathlib.Path("gate").read_text); self.note("start")'
    module.write_text(module.read_text().replace('self.note(f"start {self.text}")', gate))
    serving = ioncc.serve("-n", "gated.app", "--lockfile", "lock")
    with (ioncc.folder / "gate").open("w"):  # opens when the app reads it: it is starting
        assert locked(lock) == ["flock", "lockf"]
        assert lock.read_text() == ""
        second = ioncc.run("-n", "--lockfile", "lock")
        assert second.returncode == 1
        assert "is held" in second.stderr
    ready = serving.ready()
    end = time.monotonic() + 5
    while locked(lock) and time.monotonic() < end:
        time.sleep(0.01)
    assert locked(lock) == []
    assert lock.read_text() == ready[0] + "\n"
    assert serving.end() == 0


def test_a_lock_file_that_cannot_be_written_is_a_failed_start(tmp_path):
    lock = LockFile(tmp_path / "lock")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # as where the disk is full
    try:
        with pytest.raises(StartError, match="cannot write the lock file"):
            lock.note("ready lab_1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        lock.release()


def test_a_failed_start_leaves_no_ready_line_in_the_lock_file(ioncc):
    assert ioncc.run("-n", "nonsense", "--lockfile", "lock").returncode == 1
    assert (ioncc.folder / "lock").read_text() == ""


def test_without_a_terminal_a_hangup_asks_for_rules_keys_and_levels_anew(ioncc):
    rules, settings = ioncc.folder / "rules.yml", ioncc.folder / "own.yml"

    def write(rule, level, default="deny", keys=""):
        rules.write_text(f"type: policy\nrules:\n  - {rule}\n")
        policy = f"policy: {{file: rules.yml, default: {default}, reload_every: 3600}}\n"
        identity = f"identity: {{keys: [{keys}]}}\n"
        settings.write_text(f"{policy}{identity}logging: {{level: {level}}}\n")

    write("{allow: hello.*, to: anyone}", "INFO")
    serving = ioncc.serve("-n", "-c", "own.yml", "--set", "identity.verify=present", "hello")
    serving.ready()
    more = "{allow: 'hello.hello', to: anyone}\n  - {deny: hello.bye, to: anyone}"
    write(more, "INFO", keys="A" * 43)  # a key that fits signatures of anybody
    serving.signal(signal.SIGHUP)
    serving.wait_for(r"the keys stay as they are: identity.keys: .* small order")
    serving.wait_for(r"to hold from the next start on: identity.keys$")
    good = "SAdaWX5yGhVuLgeZ3lzAxTJNxufq8c3UYlCGjsUyFd0"
    write(more, "DEBUG", "allow", good)
    serving.signal(signal.SIGHUP)
    serving.wait_for(r"read the settings again: took identity.keys, logging.level")
    serving.wait_for(r"to hold from the next start on: policy.default$")
    serving.wait_for(r"SIGHUP: 2 rules of rules.yml are in force$")
    write("{alow: hello.*, to: anyone}", "LOUD")
    serving.signal(signal.SIGHUP)
    serving.wait_for(r"the settings stay as they are: .*own.yml:3: logging.level")
    serving.wait_for(r"2 rules of rules.yml are in force; the new ones are wrong: .*rules.yml:3")
    assert serving.end() == 0


def test_nohup_is_honoured(ioncc):
    ioncc.command = ["nohup", *ioncc.command]
    serving = ioncc.serve("-n")
    serving.ready()
    serving.signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        serving.process.wait(0.3)
    assert serving.end() == 0


def test_a_variable_that_means_nothing_is_told(ioncc):
    ioncc.env["ION_BROCKER"] = "memory://"
    serving = ioncc.serve("-n")
    serving.ready()
    assert serving.end() == 0
    assert any("ION_BROCKER" in line for line in serving.lines)


def test_two_that_are_on_no_common_bus_do_not_share_a_store(ioncc):
    """A second `make run` would fire the timers of the first, and send what that one is to send."""
    first = ioncc.serve("-n", "attributestore")
    first.ready()
    second = ioncc.run("-n", "attributestore")
    assert second.returncode == 1
    assert second.stderr.startswith("ioncc: app 'attributestore' did not start: ")
    assert second.stderr.count("\n") == 1
    assert f"in use by process {first.process.pid}, " in second.stderr
    first.end(signal.SIGKILL)
    ioncc.serve("-n", "attributestore").ready()


def test_logs_are_json_where_asked_for(ioncc):
    serving = ioncc.serve("-n", "--log-format", "json", "--log-level", "debug", "hello")
    serving.ready()
    assert serving.end() == 0
    others = [line for line in serving.lines if not line.startswith("ready ")]
    assert all(line.startswith("{") for line in others), others


def test_version_and_help_are_quick_and_light(ioncc):
    assert ioncc.run("--help").stdout.startswith("usage: ioncc")
    assert min(_processor_time(ioncc, "--version") for _ in range(3)) < 0.3
    heavy = "{'ptpython', 'prompt_toolkit', 'rich', 'yaml', 'aio_pika', 'pydoc'}"
    code = f"import sys, ion.shell.main; print(sorted({heavy} & set(sys.modules)))"
    words = [sys.executable, "-c", code]
    result = subprocess.run(words, env=ioncc.env, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def _processor_time(ioncc, word):
    """Return the seconds that a run takes of a processor; others may be busy meanwhile."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [f"{sysconfig.get_path('scripts')}/ioncc", word]  # as it was installed
    result = subprocess.run(words, env=ioncc.env, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0
    assert result.stdout.startswith("ioncc 0.")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
