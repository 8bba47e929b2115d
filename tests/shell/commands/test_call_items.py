"""`ioncc call` of an op that streams, and of one that tells its progress."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from tests.shell.conftest import WAIT

pytestmark = pytest.mark.amqp


@pytest.fixture(scope="module")
def words(module_ioncc, rabbitmq_server):
    """The words that reach a container with service `noting`."""
    url = rabbitmq_server.url(rabbitmq_server.new_vhost())
    module_ioncc.app("noting")
    module_ioncc.serve("-n", "-b", url, "-s", "items", "noting.app").ready()
    return ("-b", url, "-s", "items")


@pytest.fixture
def call(module_ioncc, words):
    """Call an op, to the end."""
    (module_ioncc.folder / "notes").unlink(missing_ok=True)
    return lambda *said: module_ioncc.run("call", *said, *words)


@pytest.fixture
def calling(module_ioncc, words):
    """Call an op, and go on; what is printed is read from the process."""
    (module_ioncc.folder / "notes").unlink(missing_ok=True)
    return lambda *said: module_ioncc.serve("call", *said, *words)


def noted(ioncc, what: str) -> str:
    """Wait until the service has noted something; return the rest of its line."""
    end = time.monotonic() + WAIT
    while not (found := [line for line in ioncc.notes() if line.startswith(what)]):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found[0].removeprefix(what)


def closed(ioncc) -> int:
    """Wait until the op has ended; return how many items it had given."""
    return int(noted(ioncc, "closed after "))


@pytest.mark.parametrize("how", [[], ["--json"], ["--progress"]])
def test_each_item_is_a_line_of_json(call, how):
    done = call("noting.count", "n=200", *how)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line) for line in done.stdout.splitlines()] == list(range(200))
    assert call("noting.count", "n=0", *how).stdout == ""


def test_what_goes_wrong_is_told_after_the_items_before_it(call):
    done = call("noting.count", "n=2", "fail=no more")
    assert (done.returncode, done.stdout) == (1, "0\n1\n")
    assert done.stderr.endswith("(409): no more\n")
    done = call("noting.count", "n=x")
    assert (done.returncode, "Expected `int`" in done.stderr) == (1, True)
    done = call("noting.count", "n=1", "wait=true", "--timeout", "0.3", "--json")
    assert (done.returncode, done.stdout) == (1, "0\n")
    assert json.loads(done.stderr)["type"] == "DeadlineExceeded"


def test_items_go_into_a_file_as_they_are(call, module_ioncc):
    there = module_ioncc.folder / "items"
    there.write_text("before")
    assert call("noting.count", "n=x", "--out", "items").returncode == 1
    assert there.read_text() == "before"
    assert call("noting.pieces", "--out", "items").stdout == ""
    assert there.read_bytes() == b'\0onetwo\n[3]\n{"n":4}\n'
    assert call("noting.pieces", "--out", "-").stdout == '\0onetwo\n[3]\n{"n":4}\n'


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_both_sides(calling, module_ioncc, number):
    going = calling("noting.count", "n=3", "wait=true", "--timeout", "60")
    assert [going.process.stdout.readline() for _ in range(3)] == ["0\n", "1\n", "2\n"]
    assert (going.end(number), going.lines) == (128 + number, [])
    assert closed(module_ioncc) == 3


def test_a_reader_that_leaves_ends_it_though_nothing_comes(calling, module_ioncc):
    going = calling("noting.count", "n=1", "wait=true", "--timeout", "60")
    assert going.process.stdout.readline() == "0\n"
    going.process.stdout.close()
    assert (going.end(None), going.lines) == (0, [])
    assert closed(module_ioncc) == 1


def test_a_slow_reader_holds_the_op_up_and_misses_nothing(calling, module_ioncc):
    going = calling("noting.count", "n=1000", "size=20000", "--timeout", "2")
    assert '"number":0' in going.process.stdout.readline()  # then it reads on no more
    assert closed(module_ioncc) < 500
    with pytest.raises(subprocess.TimeoutExpired):
        going.process.wait(0.2)  # what came is not lost
    numbers = [json.loads(line)["number"] for line in going.process.stdout]
    assert numbers == list(range(1, len(numbers) + 1))
    assert (going.end(None), "DeadlineExceeded" in going.lines[0]) == (1, True)


def test_progress_is_told_where_it_is_asked_for(call):
    done = call("noting.steps", "--progress")
    assert (done.returncode, done.stdout) == (0, "2\n")
    assert done.stderr.splitlines() == ['{"step":0}', '{"step":1}']
    assert call("noting.steps").stderr == ""
    done = call("noting.refuse", "--progress")
    assert (done.returncode, "(409): not today" in done.stderr) == (1, True)


@pytest.mark.parametrize("how", [[], ["--progress"]])
def test_ctrl_c_cancels_an_op_that_answers_once(calling, module_ioncc, how):
    going = calling("noting.steps", "wait=true", "--timeout", "60", *how)
    told = ['{"step":0}', '{"step":1}'] if how else []
    for line in told:
        going.wait_for(line)
    noted(module_ioncc, "begun")
    assert (going.end(signal.SIGINT), going.lines) == (130, told)
    assert closed(module_ioncc) == 2
