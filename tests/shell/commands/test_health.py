"""`ioncc health` against real containers: well, slow, deaf, suspended, gone."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest

from ion import Unavailable
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.transport import QueueSpec
from ion.shell.commands import health

pytestmark = pytest.mark.amqp

HANGING = '''
import asyncio
from ion import Service

class Hanging(Service, name="hanging"):
    """Waits for ever."""
    async def op_hang(self) -> None:
        await self.deeper()

    async def deeper(self) -> None:
        await asyncio.Event().wait()
'''
APP = "type: application\nname: hanging\nversion: 1.0.0\nmod:\n  name: hanging_service:Hanging\n"


@pytest.fixture(scope="module")
def system(module_ioncc, rabbitmq_server):
    """Two containers, `first` and `second`, and their broker's URL."""
    url = rabbitmq_server.url(rabbitmq_server.new_vhost())
    (module_ioncc.folder / "hanging_service.py").write_text(HANGING)
    (module_ioncc.folder / "hanging.app").write_text(APP)
    common = ("-n", "-b", url, "-s", "sys", "--set", "health.slow_op=0.3")
    short = ("--set", "container.drain_timeout=0.2", "--set", "health.look_every=1")
    serving = {}
    for name, app in (("first", "hello"), ("second", "hanging.app")):
        naming = ("--set", f"container.name={name}")
        serving[name] = module_ioncc.serve(*common, *short, *naming, app)
    for each in serving.values():
        each.ready()
    serving["url"] = url
    deadline = time.monotonic() + 20  # until each has heard the other's beat
    both = [["first", "second"]] * 2
    while True:
        done = module_ioncc.run("-b", url, "-s", "sys", "health", "--json")
        rows = json.loads(done.stdout or "[]")
        if [row["members"] for row in rows] == both:
            return serving
        assert time.monotonic() < deadline, done.stdout + done.stderr


@pytest.fixture
def ask(module_ioncc, system):
    """Run a command against the system."""

    def run(*words):
        return module_ioncc.run("-b", system["url"], "-s", "sys", *words)

    return run


def test_all_is_well(ask):
    done = ask("health")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["CONTAINER", "LIVE", "READY", "SINCE", "SLOW", "OPS", "WRONG"]
    assert re.match(r"first +yes +yes .* 0 +-$", lines[1])
    assert re.match(r"second +yes +yes .* 0 +-$", lines[2])
    assert lines[3:] == ["2 of 2 containers ready"]


def test_for_programs(ask):
    done = ask("health", "--json")
    assert done.returncode == 0
    first, second = json.loads(done.stdout)
    assert (first["container"], second["container"]) == ("first", "second")
    for row in (first, second):
        assert (row["live"], row["ready"], row["silent"]) == (True, True, False)
        assert {"state", "loop", "broker", "confirm", "consumers"} <= {
            check["name"] for check in row["checks"]
        }
        assert row["members"] == ["first", "second"]


def test_one_of_them_by_the_beginning_of_its_name(ask):
    assert [row["container"] for row in json.loads(ask("health", "fir", "--json").stdout)] == [
        "first"
    ]
    done = ask("health", "third")
    assert done.returncode == 4
    assert "there is no container 'third'; there are first, second" in done.stderr


def test_nobody_is_there(module_ioncc, system):
    done = module_ioncc.run("-b", system["url"], "-s", "nosuch", "health")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no container of system 'nosuch' answered" in done.stderr
    assert "is one running on this broker?" in done.stderr


@pytest.mark.parametrize("word", ["ps", "services", "apps", "nodes", "health", "top"])
def test_nobody_is_an_empty_list_for_programs(module_ioncc, system, word):
    done = module_ioncc.run("-b", system["url"], "-s", "nosuch", word, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (3, [])
    assert "no container of system 'nosuch' answered" in json.loads(done.stderr)["message"]


def test_a_slow_op_is_shown_with_its_stack(ask):
    ask("send", "hanging.hang")
    end = time.monotonic() + 20
    while "has run for" not in (done := ask("health", "second")).stdout:
        assert time.monotonic() < end, done.stdout
    assert done.returncode == 0  # it has other hands
    assert re.search(r"op 'hang' of hanging \(second\.\d+\), called by \S+, has run", done.stdout)
    assert "in Hanging.deeper: await asyncio.Event().wait()" in done.stdout
    assert "hanging_service.py:8, in Hanging.op_hang" in done.stdout


async def test_who_is_deaf_is_not_ready(ask, system):
    """Somebody else consumes its queue, alone; `wrong` says which check, a row below says why."""
    transport = AmqpTransport([system["url"]])
    await transport.open()
    taken = None
    while taken is None:
        await transport.delete_queue("sys.hello")
        await transport.declare_queue(QueueSpec("sys.hello"))
        try:
            taken = await transport.consume(
                "sys.hello", lambda _: None, prefetch=1, no_ack=True, exclusive=True
            )
        except Unavailable:  # the container was quicker
            continue
    end = time.monotonic() + 20
    while (done := ask("health")).returncode == 0:
        assert time.monotonic() < end
    assert done.returncode == 1
    assert re.search(r"^first +yes +no .* consumers$", done.stdout, re.MULTILINE)
    assert "1 of 2 containers ready" in done.stdout
    assert re.search(
        r"^first +consumers +3.0 +4.0 +sys.hello: it is not consumed", done.stdout, re.MULTILINE
    )
    await transport.close()
    end = time.monotonic() + 20
    while (done := ask("health")).returncode:
        assert time.monotonic() < end, done.stdout


def test_who_is_suspended_is_there_and_silent(ask, system):
    process = system["first"].process
    os.kill(process.pid, signal.SIGSTOP)
    try:
        done = ask("health", "--timeout", "0.5")
        assert done.returncode == 1
        assert re.search(r"^first +no +no +- .* answer$", done.stdout, re.MULTILINE)
        assert "has not answered within 0.5 s, and its connection to the broker is there" in (
            done.stdout
        )
        rows = {row["container"]: row for row in json.loads(ask("health", "--json").stdout)}
        assert (rows["first"]["silent"], rows["second"]["silent"]) == (True, False)
        assert ask("health", "second").returncode == 0
    finally:
        os.kill(process.pid, signal.SIGCONT)
    end = time.monotonic() + 30
    while (done := ask("health")).returncode:
        assert time.monotonic() < end, done.stdout


def test_who_alone_is_there_and_suspended_can_be_asked_by_name(module_ioncc, system):
    words = ("-b", system["url"], "-s", "alone")
    serving = module_ioncc.serve("-n", *words, "--set", "container.name=one")
    serving.ready()
    os.kill(serving.process.pid, signal.SIGSTOP)
    try:
        for word in ("health", "ps"):
            done = module_ioncc.run(*words, word, "--timeout", "0.3")
            assert done.returncode == 3
            assert "the broker has queues of some: they are held up, or suspended" in done.stderr
            assert "/live (health.listen), or ask `ioncc doctor`" in done.stderr
        done = module_ioncc.run(*words, "health", "one", "--timeout", "0.3")
        assert done.returncode == 1
        assert "it is held up, or suspended" in done.stdout
    finally:
        os.kill(serving.process.pid, signal.SIGCONT)
    assert serving.end() == 0


# what is shown of answers that real containers seldom give


def test_what_holds_up_a_loop_is_shown(capsys):
    blocked = {"what": "op 'x' of y (c.1)", "stack": ["f.py:1, in op_x: time.sleep(9)"]}
    health._show([{"container": "c", "live": False, "ready": False, "blocked": blocked}])
    shown = capsys.readouterr().out
    assert "c: its event loop is held up by op 'x' of y (c.1)\n  f.py:1, in op_x" in shown


def test_of_many_slow_ops_some_are_shown(capsys):
    stuck = [{"op": f"o{n}", "name": "n", "pid": "c.1", "seconds": 9.0} for n in range(8)]
    health._show([{"container": "c", "live": True, "ready": True, "stuck": stuck}])
    shown = capsys.readouterr().out
    assert shown.count("has run for 9 s") == 5
    assert "c: 3 slow ops more (--json)" in shown


def test_what_others_say_does_not_reach_the_terminal_raw(capsys):
    stuck = [{"op": "\x1b[2J", "name": "n\n", "pid": "c.1", "seconds": 1, "stack": ["\x07"]}]
    check = {"name": "x", "ok": False, "message": "\x1b[31m"}
    health._show([{"container": "c\x1b", "checks": [check], "stuck": stuck}])
    assert not set(capsys.readouterr().out) & {"\x1b", "\x07"}


def test_an_answer_of_an_older_container_is_shown_as_far_as_it_goes(capsys):
    health._show([{"container": "old"}])
    assert "0 of 1 container ready" in capsys.readouterr().out
