"""`ioncc spawn|kill|restart|drain|loglevel`: what they do to a system, and how they exit."""

from __future__ import annotations

import json
import signal

import pytest

ECHO = "ion.services.echo.service:EchoService"


@pytest.fixture(scope="module")
def system(module_ioncc):
    """A container with services `hello` and `noting`, whose bus listens."""
    module_ioncc.app("noting")
    serving = module_ioncc.serve("-n", "--listen", "hello", "noting.app")
    serving.container = serving.ready()["id"]
    return serving


@pytest.fixture
def ask(module_ioncc, system):
    """Run a command against the system."""
    return module_ioncc.run


@pytest.fixture
def told(ask):
    """Run a command that succeeds; return what it printed as JSON."""

    def run(*words):
        result = ask(*words, "--json")
        assert (result.returncode, result.stderr) == (0, "")
        return json.loads(result.stdout)

    return run


def pids(told, name):
    return [row["pid"] for row in told("ps") if row["name"] == name]


def test_spawn_prints_the_pid_and_kill_ends_it(ask, told, system):
    spawned = ask("spawn", system.container, ECHO, "--name", "mine")
    assert (spawned.returncode, spawned.stderr) == (0, "")
    pid = spawned.stdout.strip()
    assert pids(told, "mine") == [pid]
    assert json.loads(ask("call", "echo.echo", "text=x").stdout)["content"] == {"text": "x"}
    killed = ask("kill", pid)
    assert (killed.returncode, killed.stdout, killed.stderr) == (0, f"terminated {pid}\n", "")
    assert pids(told, "mine") == []
    again = ask("kill", pid)
    assert (again.returncode, again.stdout) == (4, "")
    assert again.stderr.startswith("ioncc kill: ProcessNotFound (404): ")


def test_arguments_are_those_of_the_class(ask, told, system, tmp_path):
    file = tmp_path / "notes"
    node = system.container[:-2]  # a beginning that only one has
    spawned = told("spawn", node, "actors:Noting", f"file={file}", "text=5th", "--name", "own")
    assert spawned["container"] == system.container
    assert file.read_text() == "start 5th\n"
    number = spawned["pid"].partition(".")[2]
    assert told("kill", f"{node}.{number}") == spawned
    assert file.read_text() == "start 5th\nstopping\nstopped\n"


def test_one_that_is_kept_running_comes_back(ask, told, system):
    (pid,) = pids(told, "noting")
    assert ask("kill", pid).returncode == 0
    while not (now := pids(told, "noting")):
        pass
    assert now != [pid]


def test_restart_of_a_process_by_its_supervisor(ask, told, system):
    (pid,) = pids(told, "hello")
    done = told("restart", pid)
    assert (done["before"], done["child"]) == (pid, "hello")
    assert pids(told, "hello") == [done["pid"]]
    shown = ask("restart", done["pid"])
    assert (shown.returncode, shown.stdout.strip()) == (0, *pids(told, "hello"))


def test_restart_of_an_app_everywhere_or_in_one(module_ioncc, ask, told, system):
    second = module_ioncc.serve("-n", "-b", "local://", "hello")
    name = second.ready()["id"]
    before = set(pids(told, "hello"))
    both = [{"app": "hello", "container": each} for each in sorted([system.container, name])]
    assert told("restart", "hello") == both
    after = set(pids(told, "hello"))
    assert (len(before), len(after), before & after) == (2, 2, set())
    shown = ask("restart", "hello", "--node", name)
    assert (shown.returncode, shown.stdout) == (0, f"restarted hello in {name}\n")
    assert len(after & set(pids(told, "hello"))) == 1
    assert second.end() == 0


def test_drain_waits_until_it_is_gone(module_ioncc, ask, told, system):
    second = module_ioncc.serve("-n", "-b", "local://")
    name = second.ready()["id"]
    assert ask("drain", name).stdout == f"{name} is gone\n"
    assert second.end(None) == 0
    third = module_ioncc.serve("-n", "-b", "local://")
    name = third.ready()["id"]
    (row,) = told("drain", name, "--no-wait")
    assert (row["container"], row["gone"]) == (name, False)
    assert third.end(None) == 0


def test_drain_of_all_ends_the_one_with_the_bus_last(ioncc):
    first = ioncc.serve("-n", "--listen")
    first.ready()
    second = ioncc.serve("-n", "-b", "local://")
    name = second.ready()["id"]
    result = ioncc.run("drain", "all", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    rows = json.loads(result.stdout)
    assert [row["gone"] for row in rows] == [True, True]
    assert rows[0]["container"] == name
    assert (first.end(None), second.end(None)) == (0, 0)


def test_a_drain_that_takes_too_long_is_an_error(module_ioncc, ask, system):
    second = module_ioncc.serve("-n", "-b", "local://")
    name = second.ready()["id"]
    file = module_ioncc.folder / "slow"
    words = (f"file={file}", "stop=4.0")
    assert ask("spawn", name, "actors:Noting", *words).returncode == 0
    result = ask("drain", name, "--timeout", "0.5")
    assert (result.returncode, result.stdout) == (1, "")
    assert f"{name} is being drained, and still there after 0.5 s" in result.stderr
    assert second.end(None) == 0


def test_one_that_is_held_up_is_not_passed_over(module_ioncc, ask, system):
    second = module_ioncc.serve("-n", "-b", "local://")
    name = second.ready()["id"]
    known = []
    while name not in known:  # by the other one, which will be asked for it
        rows = json.loads(ask("health", "--json").stdout)
        known = next(row["members"] for row in rows if row["container"] == system.container)
    second.signal(signal.SIGSTOP)
    levels = ask("loglevel", "--timeout", "1")
    assert (levels.returncode, levels.stdout) == (1, "")
    assert levels.stderr.startswith("ioncc loglevel: DeadlineExceeded (504): ")
    restarted = ask("restart", "hello")
    assert restarted.stdout == f"restarted hello in {system.container}\n"
    assert (restarted.returncode, f"no answer of {name}" in restarted.stderr) == (1, True)
    second.signal(signal.SIGCONT)
    assert second.end() == 0


def test_loglevel_shows_and_sets(ask, told, system):
    row = {"container": system.container, "logger": "", "level": "INFO"}
    assert told("loglevel") == [row]
    assert told("loglevel", "debug") == [{**row, "level": "DEBUG"}]
    assert told("loglevel", system.container, "INFO") == [row]
    one = told("loglevel", "all", "warning", "--logger", "ion.process")
    assert one == [{**row, "logger": "ion.process", "level": "WARNING"}]
    assert told("loglevel", "--logger", "ion.process.ops") == [
        {**row, "logger": "ion.process.ops", "level": "WARNING"}
    ]
    lines = ask("loglevel").stdout.splitlines()
    assert (lines[0].split(), lines[1].split()) == (
        ["CONTAINER", "LOGGER", "LEVEL"],
        [system.container, "all", "INFO"],
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["spawn", "nobody", ECHO], 4, "ContainerNotFound (404): there is no container 'nobody'"),
        (["spawn", "{node}", "no.such.module:Thing"], 1, "StartError (500): there is no module"),
        (["spawn", "{node}", "pathlib:Path"], 1, "StartError"),
        (["spawn", "{node}", "actors:Noting"], 1, "StartError"),
        (["kill", "nobody.1"], 4, "ContainerNotFound (404)"),
        (["kill", "{node}.999"], 4, "ProcessNotFound (404)"),
        (["kill", "{node}.0"], 1, "LifecycleError (409)"),
        (["restart", "nothing"], 4, "AppNotFound (404): no container runs app 'nothing'"),
        (["restart", "hello", "--node", "nobody"], 4, "ContainerNotFound (404)"),
        (["restart", "{node}.999"], 4, "ProcessNotFound (404)"),
        (["restart", "{node}.0"], 1, "LifecycleError (409)"),
        (["drain", "nobody"], 4, "ContainerNotFound (404)"),
        (["loglevel", "nobody", "debug"], 4, "ContainerNotFound (404)"),
        (["loglevel", "-s", "other"], 3, "no container of system 'other' listens"),
        (["drain", "all", "-s", "other"], 3, "no container of system 'other' listens"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_one_line(ask, system, words, code, said):
    result = ask(*(word.format(node=system.container) for word in words))
    assert (result.returncode, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def as_another(module_ioncc, tmp_path, *words):
    """Run a command as a user who has not the key of the system."""
    return module_ioncc.run(*words, XDG_DATA_HOME=str(tmp_path))


@pytest.mark.parametrize(
    "words",
    [
        ["spawn", "{node}", ECHO],
        ["kill", "{pid}"],
        ["restart", "hello"],
        ["restart", "{pid}"],
        ["drain", "{node}"],
        ["loglevel", "debug"],
    ],
    ids="-".join,
)
def test_a_command_needs_the_key(module_ioncc, told, system, tmp_path, words):
    (pid,) = pids(told, "hello")
    words = [word.format(node=system.container, pid=pid) for word in words]
    result = as_another(module_ioncc, tmp_path, *words)
    assert result.returncode == 1
    assert result.stderr.startswith(f"ioncc {words[0]}: Forbidden (403): ")
    assert "agent.key_file" in result.stderr
    assert pids(told, "hello") == [pid]


def test_another_key_is_told_as_json(module_ioncc, system, tmp_path):
    words = ("loglevel", "debug", "--json", "--set", f"agent.key={'ab' * 32}")
    result = as_another(module_ioncc, tmp_path, *words)
    error = json.loads(result.stderr)
    assert (result.returncode, result.stdout) == (1, "")
    assert (error["code"], error["type"]) == (403, "Forbidden")
    assert "key" in error["message"]
    assert "ab" * 16 not in result.stderr


def test_looking_needs_no_key(module_ioncc, system, tmp_path):
    for words in (["loglevel"], ["tail", "--no-follow"], ["top", "--count", "1", "--every", "0.1"]):
        assert as_another(module_ioncc, tmp_path, *words).returncode == 0


@pytest.mark.amqp
def test_the_same_on_a_broker(ioncc, rabbitmq_server):
    url = rabbitmq_server.url(rabbitmq_server.new_vhost())
    serving = ioncc.serve("-n", "-b", url, "hello")
    node = serving.ready()["id"]
    on = ("-b", url)
    pid = ioncc.run("spawn", *on, node, ECHO).stdout.strip()
    assert pid.startswith(f"{node}.")
    assert ioncc.run("kill", *on, pid).returncode == 0
    assert ioncc.run("restart", *on, "hello").stdout == f"restarted hello in {node}\n"
    assert ioncc.run("loglevel", *on, "warning", "--json").returncode == 0
    assert ioncc.run("drain", *on, node).stdout == f"{node} is gone\n"
    assert serving.end(None) == 0
