"""Commands against a running system, over a real broker: what they print, how they exit."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys

import pytest

from ion.shell.commands.call import types_of

pytestmark = pytest.mark.amqp


@pytest.fixture(scope="module")
def system(module_ioncc, rabbitmq_server):
    """A container with services `hello` and `noting`, and its broker's URL."""
    url = rabbitmq_server.url(rabbitmq_server.new_vhost())
    module_ioncc.app("noting")
    serving = module_ioncc.serve("-n", "-b", url, "-s", "sys", "hello", "noting.app")
    serving.container = serving.ready()["id"]
    serving.url = url
    return serving


@pytest.fixture
def ask(module_ioncc, system):
    """Run a command against the system."""

    def run(*words, **how):
        return module_ioncc.run("-b", system.url, "-s", "sys", *words, **how)

    return run


def test_ps_lists_processes(ask, system):
    rows = json.loads(ask("ps", "--json").stdout)
    noting = next(row for row in rows if row["service"] == "noting")
    assert noting["pid"].startswith(system.container)
    assert (noting["container"], noting["state"]) == (system.container, "ACTIVE")
    table = ask("ps").stdout
    assert table.splitlines()[0].startswith("PID")
    assert noting["pid"] in table


def test_services_lists_ops_and_their_parameters(ask):
    rows = json.loads(ask("--json", "services").stdout)
    noting = next(row for row in rows if row["name"] == "noting")
    assert noting["instances"] == 1
    assert [p["name"] for p in noting["ops"]["add"]["params"]] == ["a", "b"]
    assert "add(a: int, b: int)" in ask("services").stdout


def test_who_may_not_look_at_containers_may_still_call(module_ioncc, rabbitmq_server):
    url = rabbitmq_server.url(rabbitmq_server.new_vhost())
    module_ioncc.app("noting")
    rules = 'type: policy\nrules: [{allow: ["hello.*", noting.any], to: anyone}]\n'
    (module_ioncc.folder / "closed.yml").write_text(rules)
    settings = {"identity.verify": "present", "policy.file": "closed.yml", "policy.default": "deny"}
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    serving = module_ioncc.serve("-n", "-b", url, "-s", "closed", *sets, "hello", "noting.app")
    serving.ready()
    call = module_ioncc.run("call", "noting.any", "value=[1]", "-b", url, "-s", "closed")
    assert (call.stdout, call.returncode) == ("[1]\n", 0), call.stderr
    call = module_ioncc.run("call", "hello.hello", "text=5", "-b", url, "-s", "closed")
    assert (call.returncode, "Expected `str`, got `int`" in call.stderr) == (1, True), call.stderr


def test_apps_and_nodes(ask, system):
    apps = json.loads(ask("apps", "--json").stdout)
    assert {"hello", "noting"} <= {row["name"] for row in apps}
    (node,) = json.loads(ask("nodes", "--json").stdout)
    assert (node["container"], node["pid"]) == (system.container, system.process.pid)
    assert ":guest@" not in json.dumps(node)
    assert system.container in ask("nodes").stdout


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["hello.hello", "text=you"], "Hello there, you"),
        (["hello.hello"], "Hello there, Hi there"),
        (["hello.hello", '{"text": "you"}'], "Hello there, you"),
        (["hello.hello", "text=5"], "Hello there, 5"),
        (["noting.add", "a=2", "b=40"], 42),
        (["noting.echo", "text=[1]"], "[1]"),
        (["noting.any", "value=[1, null]"], [1, None]),
        (["noting.any", '"alone"'], "alone"),
        (["noting.blob"], "AAE="),
    ],
)
def test_call_prints_the_answer_as_json(ask, words, answer):
    result = ask("call", *words)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == answer


def test_bytes_go_in_from_a_file_and_come_out_into_one(ask, module_ioncc):
    every = bytes(range(256))
    (module_ioncc.folder / "every").write_bytes(every)
    answer = module_ioncc.folder / "answer"
    assert ask("call", "noting.any", "value@every", "--out", "answer").stdout == ""
    assert answer.read_bytes() == every
    assert ask("call", "noting.any", "value=base64:AAE=").stdout == '"base64:AAE="\n'
    assert ask("call", "noting.take", "data=base64:AAE=").stdout == "2\n"
    assert ask("call", "noting.echo", "text@-", "--out", "-", given="no\nJSON").stdout == "no\nJSON"
    assert ask("call", "noting.any", "value=[1]", "--out", "-").stdout == "[1]\n"


def test_an_answer_that_nobody_reads_on_is_no_error(module_ioncc, system):
    end, given = os.pipe()
    os.close(end)
    words = ["-b", system.url, "-s", "sys", "call", "noting.echo", "text=x", "--out", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "ion.shell.main", *words],
        cwd=module_ioncc.folder,
        env=module_ioncc.env,
        stdout=given,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(given)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["text@nowhere"], "'nowhere' cannot be read: No such file"),
        (["text=x", "--out", "."], "--out .: it is a folder"),
        (["text=x", "--out", "no/such/file"], "nothing can be written there"),
        (["text=x", "--out", "res.txt/file"], "nothing can be written there"),
    ],
)
def test_a_file_that_is_none_is_told_before_anything_is_sent(ask, module_ioncc, words, said):
    (module_ioncc.folder / "res.txt").touch()
    result = ask("call", "nobody.echo", *words)
    assert (result.returncode, result.stdout, said in result.stderr) == (2, "", True), result


def test_call_of_one_process(ask, system):
    rows = json.loads(ask("ps", "--json").stdout)
    pid = next(row["pid"] for row in rows if row["service"] == "noting")
    assert json.loads(ask("call", f"{pid}.echo", "text=5").stdout) == "5"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nobody.hello"], 4, "nobody"),
        (["noting.nonsense"], 4, "nonsense"),
        (["noting.add", "a=x", "b=1"], 1, "BadRequest"),
        (["noting.add", "c=1"], 1, "c"),
        (["noting.take", "data=abc"], 1, "ioncc takes bytes as KEY@FILE or KEY=base64:..."),
        (["noting.refuse"], 1, "not today"),
        (["noting.fail"], 1, "broken"),
        (["nodots"], 2, "SERVICE.OP"),
        (["noting.add", "bare"], 2, "key=value"),
    ],
)
def test_call_exits_as_its_error_says(ask, words, code, said):
    result = ask("call", *words)
    assert (result.returncode, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_an_error_is_json_where_asked_for(ask):
    error = json.loads(ask("call", "noting.refuse", "--json").stderr)
    assert (error["code"], error["message"], error["details"]) == (409, "not today", {"day": 3})


def test_send_is_one_way(ask):
    result = ask("send", "noting.echo", "text=x")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert ask("send", "nobody.echo").returncode == 4


def test_a_system_that_is_not_there(module_ioncc, system):
    for word in ("ps", "services", "apps", "nodes"):
        result = module_ioncc.run(word, "-b", system.url, "-s", "elsewhere", "--timeout", "0.3")
        assert result.returncode == 3
        assert "elsewhere" in result.stderr


def test_a_broker_that_is_not_there(module_ioncc, system):
    wrong = system.url.replace("guest:guest", "guest:secret")
    for url in ("amqp://guest:secret@127.0.0.1:1/", wrong, system.url + "-no-such-vhost"):
        result = module_ioncc.run("call", "hello.hello", "-b", url)
        assert result.returncode == 3
        assert len(result.stderr.splitlines()) == 1
        assert "secret" not in result.stderr


@pytest.mark.parametrize("words", [[], ["-b", "memory://"], ["-b", "memory://name"]])
def test_memory_cannot_be_reached_from_elsewhere(module_ioncc, words):
    result = module_ioncc.run("ps", *words)
    assert result.returncode == 3
    assert "memory://" in result.stderr
    assert "-b amqp://" in result.stderr


def test_broker_and_system_come_from_the_environment_too(module_ioncc, system, monkeypatch):
    monkeypatch.setitem(module_ioncc.env, "ION_BROKER", system.url)
    monkeypatch.setitem(module_ioncc.env, "ION_SYSNAME", "sys")
    assert json.loads(module_ioncc.run("call", "noting.echo", "text=x").stdout) == "x"


def test_a_reader_that_leaves_early_is_no_error(module_ioncc, system):
    ioncc = shlex.join(module_ioncc.command)
    command = f"{ioncc} services -b {system.url} -s sys | true"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=module_ioncc.env,
        cwd=module_ioncc.folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_ctrl_c_ends_a_call_without_a_traceback(module_ioncc, system):
    words = ["call", "noting.echo", "text=x", "-b", system.url, "-s", "sys", "--timeout", "30"]
    os.kill(system.process.pid, signal.SIGSTOP)
    try:
        calling = module_ioncc.serve(*words)
        with pytest.raises(subprocess.TimeoutExpired):
            calling.process.wait(1.5)
        assert calling.end(signal.SIGINT) == 130
        assert calling.lines == []
    finally:
        os.kill(system.process.pid, signal.SIGCONT)


def test_annotations_of_versions_and_processes():
    op = {"op": {"params": [{"name": "x", "type": "int"}]}}
    info = {
        "services": [{"name": "s", "version": "2.1.0", "ops": op}],
        "processes": [{"pid": "c.1", "service": "s"}, {"pid": "c.0"}],
    }
    for to in ("s", "s.v2", "c.1"):
        assert types_of([info, {}], to, "op") == {"x": "int"}
    for to in ("t", "s.v1", "c.0"):
        assert types_of([info], to, "op") == {}
