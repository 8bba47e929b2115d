"""`ioncc dlq` over a real broker: what it prints, how it exits, what it leaves in the queues."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import signal
import sys
from collections import Counter

import pexpect
import pytest

from ion import Container, connect
from ion.messaging import codec
from ion.messaging.envelope import JSON, MSGPACK, Envelope
from ion.process.redelivery.dead_letter import read
from ion.shell.commands.dlq import content_text, keys_of, letter_table, letters_table, writable
from ion.shell.helpers.helpers import Helpers
from ion.shell.render import to_json

pytestmark = pytest.mark.amqp
DEAD_AT = 1_790_000_000_123
_keys = itertools.count(1)


@pytest.fixture(scope="module")
def system(module_ioncc, rabbitmq_server):
    """A container with the service `noting`, and its broker's URL."""
    url = rabbitmq_server.url(rabbitmq_server.new_vhost())
    module_ioncc.app("noting")
    serving = module_ioncc.serve("-n", "-b", url, "-s", "sys", "noting.app")
    serving.ready()
    serving.url = url
    return serving


@pytest.fixture
def dlq(module_ioncc, system):
    """Run `ioncc dlq` against the system."""

    def run(*words):
        return module_ioncc.run("dlq", "-b", system.url, "-s", "sys", *words)

    return run


@pytest.fixture
def broker(system):
    """Work on the broker: `broker(lambda transport, names: ...)`."""

    def run(work):
        async def connected():
            async with connect(system.url, sysname="sys") as connection:
                return await work(connection.endpoint.transport, connection.endpoint.namespace)

        return asyncio.run(connected())

    return run


@pytest.fixture
def key(broker):
    """Three dead letters of a service that has stopped: m-0, m-1, m-2."""
    key = f"gone{next(_keys)}"

    async def bury(transport, names):
        for spec in (names.service_queue(key), names.dead_letter_queue(key)):
            await transport.declare_queue(spec)
        await transport.declare_exchange(names.dead_letter_exchange())
        await transport.bind(names.dead_letter_queue(key).name, names.dlx, key)
        for n in range(3):
            await transport.publish_confirmed(
                names.dlx, key, letter(n, key), mandatory=True, timeout=10
            )

    broker(bury)
    return key


def letter(n, key, body=None, content_type=MSGPACK, **headers):
    causes = {
        "attempt": 5,
        "cause": "not today",
        "cause-code": 409,
        "cause-type": "TooEarly",
        "dead-from": f"sys.{key}",
        "dead-at": DEAD_AT,
        "dead-by": "a.1",
        "receiver": key,
    }
    body = codec.encode({"n": n}, MSGPACK)[0] if body is None else body
    return Envelope(
        "take",
        body,
        content_type=content_type,
        message_id=f"m-{n}",
        persistent=True,
        headers={**causes, **headers},
    )


def count(dlq, key):
    (row,) = json.loads(dlq("list", key, "--json").stdout)
    return row["messages"]


def take_all(broker, queue):
    async def take(transport, names):
        found = []
        while (delivery := await transport.get(queue, no_ack=True)) is not None:
            found.append(delivery.envelope)
        return found

    return broker(take)


def test_list_asks_the_containers_what_there_is(dlq, key):
    rows = json.loads(dlq("list", "--json").stdout)
    queues = {row["key"]: row["queue"] for row in rows}
    assert queues["noting"] == "sys.noting.dlq"
    assert rows[-1]["key"] == "processes"
    assert key not in queues  # what runs nowhere is found by its key only
    assert json.loads(dlq("--json").stdout) == rows


def test_list_of_keys(dlq, key):
    rows = json.loads(dlq("list", key, f"sys.{key}.dlq", "noting", "--json").stdout)
    assert rows[0] == {"key": key, "queue": f"sys.{key}.dlq", "messages": 3}
    assert [row["key"] for row in rows] == [key, "noting"]
    table = dlq("list", key).stdout.splitlines()
    assert table[0].split() == ["KEY", "MESSAGES", "QUEUE"]
    assert table[1].split() == [key, "3", f"sys.{key}.dlq"]
    assert table[2] == "3 dead letters"


def test_show_tells_all_and_takes_nothing(dlq, key):
    shown = json.loads(dlq("show", key, "--json").stdout)
    assert [row["message_id"] for row in shown] == ["m-0", "m-1", "m-2"]
    first = shown[0]
    assert first["content"] == {"n": 0}
    assert (first["cause"], first["cause_code"], first["attempt"]) == ("not today", 409, 5)
    assert (first["dead_from"], first["dead_at"]) == (f"sys.{key}", DEAD_AT)
    table = dlq("show", key, "--limit", "2").stdout.splitlines()
    assert table[0].split() == ["ID", "OP", "ATTEMPT", "DIED", "CODE", "CAUSE", "CONTENT"]
    assert table[1].startswith("m-0  take  5        2026-")
    assert table[1].endswith('409   TooEarly: not today  {"n":0}')
    assert table[-1] == "2 of 3 dead letters"
    one = dlq("show", key, "--id", "m-1").stdout
    assert re.search(r'^content +\{"n":1\}$', one, re.MULTILINE)
    assert re.search(r"^header receiver +gone", one, re.MULTILINE)
    assert count(dlq, key) == 3


def test_replay_by_id_then_all(dlq, key, broker):
    result = dlq("replay", key, "--id", "m-1")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"replayed 1 of {key}\n", "")
    assert json.loads(dlq("replay", key, "--json").stdout) == {"key": key, "replayed": 2}
    assert count(dlq, key) == 0
    envelopes = take_all(broker, f"sys.{key}")
    assert [e.message_id for e in envelopes] == ["m-1", "m-0", "m-2"]
    assert dict(envelopes[0].headers) == {"receiver": key, "replayed": 1}


def test_a_replay_that_is_killed_loses_nothing_and_doubles_one(module_ioncc, system, key, broker):
    count = 1500

    async def bury_more(transport, names):
        outcomes = []
        for n in range(3, count):
            transport.publish(names.dlx, key, letter(n, key), settled=outcomes.append)
            if not transport.writable:
                await transport.wait_writable(10)
        while len(outcomes) < count - 3:
            await asyncio.sleep(0.01)

    async def until_some_are_back(transport, _):
        async with asyncio.timeout(20):
            while (await transport.queue_info(f"sys.{key}")).messages < 50:
                await asyncio.sleep(0.005)

    async def until_all_are_back(transport, _):  # the broker has noticed that it is gone
        async with asyncio.timeout(20):
            queues = (f"sys.{key}", f"sys.{key}.dlq")
            while sum([(await transport.queue_info(q)).messages for q in queues]) < count:
                await asyncio.sleep(0.05)

    broker(bury_more)
    words = ["dlq", "replay", key, "-b", system.url, "-s", "sys"]
    replaying = module_ioncc.serve(*words)
    broker(until_some_are_back)
    assert replaying.end(signal.SIGKILL) == -signal.SIGKILL
    broker(until_all_are_back)
    assert module_ioncc.run(*words).returncode == 0
    seen = Counter(e.message_id for e in take_all(broker, f"sys.{key}"))
    assert set(seen) == {f"m-{n}" for n in range(count)}
    assert sum(seen.values()) <= count + 1


def test_purge_by_id_then_all(dlq, key):
    result = dlq("purge", key, "--id", "m-2", "--yes", "--json")
    assert json.loads(result.stdout) == {"key": key, "purged": 1}
    assert count(dlq, key) == 2
    assert dlq("purge", key, "--yes").stdout == f"purged 2 of {key}\n"
    assert count(dlq, key) == 0


def test_purge_asks_on_a_terminal_only(module_ioncc, system, dlq, key):
    refused = dlq("purge", key)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--yes" in refused.stderr
    words = ["-m", "ion.shell.main", "dlq", "purge", key, "-b", system.url, "-s", "sys"]
    for typed, left, code in (("n\r", 3, 1), ("\x03", 3, 130), ("y\r", 0, 0)):
        child = pexpect.spawn(
            sys.executable, words, cwd=module_ioncc.folder, env=module_ioncc.env, timeout=20
        )
        child.expect(rb"all 3 of the dead letters of gone\d+ for good\? \[y/N\] ")
        child.send(typed)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == code
        assert count(dlq, key) == left


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "nobody"], "'nobody'"),
        (["list", "noting", "sys.nobody.dlq"], "nobody"),
        (["show", "nobody"], "sys.nobody.dlq"),
        (["replay", "nobody"], "sys.nobody.dlq"),
        (["purge", "nobody", "--yes"], "sys.nobody.dlq"),
        (["show", "noting", "--id", "none"], "'none'"),
        (["replay", "noting", "--id", "none"], "'none'"),
        (["purge", "noting", "--id", "none", "--yes"], "'none'"),
        (["show", "x" * 300], "no queue"),
    ],
)
def test_what_is_not_there_exits_4(dlq, words, said):
    result = dlq(*words)
    assert result.returncode == 4
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_nowhere_to_go_back_to_exits_4_and_keeps_them(dlq, key, broker):
    broker(lambda transport, _: transport.delete_queue(f"sys.{key}"))
    result = dlq("replay", key, "--json")
    assert (result.returncode, result.stdout) == (4, "")
    error = json.loads(result.stderr)
    assert error["details"] == {"queue": f"sys.{key}", "replayed": 0}
    assert count(dlq, key) == 3


def test_a_system_or_broker_that_is_not_there_exits_3(module_ioncc, system):
    words = ["dlq", "list", "-s", "elsewhere", "--timeout", "0.3"]
    for url in (system.url, "amqp://guest:secret@127.0.0.1:1/", "memory://"):
        result = module_ioncc.run(*words, "-b", url)
        assert result.returncode == 3
        assert len(result.stderr.splitlines()) == 1


# what is shown of letters that come from anywhere


def shown(envelope):
    return read("k", envelope, 1000)


@pytest.mark.parametrize(
    "body",
    [
        b"\x81\xc4\x01\xff\x01",  # {b"\xff": 1}
        b"\xc7\x01\x05x",  # an extension type
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",  # NaN
        b"\x91" * 500 + b"\xc0",  # nested
        b"\xd7\xff" + b"\xff" * 8,  # a time that there is not
        b"\xc4\x02\x1b\x5b",  # bytes
        b"",
        b"\xc1",
    ],
)
def test_any_content_can_be_shown_and_is_json(body):
    found = shown(Envelope("take", body, message_id="\udcff", headers={"x": b"\xff\x1b"}))
    table = letters_table([found]).text() + letter_table(found).text()
    assert "\x1b" not in table
    json.loads(to_json(writable(found)))


def test_what_cannot_be_decoded_is_shown_with_its_bytes():
    found = shown(Envelope("take", b"\x00\xff", content_type="image/png"))
    assert content_text(found).startswith("(2 bytes, content type 'image/png'")
    row = json.loads(to_json(writable(found)))
    assert base64.b64decode(row["body"]) == b"\x00\xff"
    assert "body" in letter_table(found).text()


def test_control_characters_never_reach_the_terminal():
    found = shown(Envelope("\x1b[2J", b'"\\u001b[2J"', content_type=JSON, headers={"\x1b": "\x1b"}))
    assert "\x1b" not in letters_table([found]).text() + letter_table(found).text()


def test_long_causes_are_cut_and_odd_times_are_no_error():
    headers = {"cause": "x" * 500, "dead-at": 10**18}
    line = letters_table([shown(Envelope("take", headers=headers))]).text().splitlines()[1]
    assert len(line) < 150
    assert "1e+15 s" in line


def test_keys_are_what_containers_host():
    rows = [
        {"queue": "s.c.reply", "kind": "answers", "key": ""},
        {"queue": "s.c", "kind": "processes", "key": "c.*"},
        {"queue": "s.c", "kind": "control", "key": "ctl.b"},
        {"queue": "s.b", "kind": "service", "key": "b"},
        {"queue": "s.a.v2", "kind": "service", "key": "a.v2"},
        {"queue": "s.sub.sky.night", "kind": "subscription", "key": "star.*"},
    ]
    wanted = ["a.v2", "b", "sub.sky.night", "processes"]
    assert keys_of([{"names": rows}, {"names": rows}], "s") == wanted
    assert keys_of([], "s") == ["processes"]


async def test_the_helper_of_the_shell():
    async with Container("memory://", sysname="sys") as container:
        helpers = Helpers(container)
        transport, names = container.endpoint.transport, container.endpoint.namespace
        await transport.declare_queue(names.service_queue("gone"))
        await transport.declare_queue(names.dead_letter_queue("gone"))
        await transport.bind("sys.gone.dlq", names.dlx, "gone")
        for n in range(3):
            transport.publish(names.dlx, "gone", letter(n, "gone"))
        assert [row["key"] for row in (await helpers.dlq()).rows] == ["processes"]
        assert (await helpers.dlq("gone", "nobody")).rows[0]["messages"] == 3
        assert len(await helpers.dlq.show("gone", limit=2)) == 2
        assert [row["id"] for row in (await helpers.dlq.show("gone", "m-1")).rows] == ["m-1"]
        assert await helpers.dlq.replay("gone", "m-2") == "replayed 1 of gone"
        assert await helpers.dlq.replay("gone", limit=1) == "replayed 1 of gone"
        assert await helpers.dlq.purge("gone") == "purged 1 of gone"
        assert (await helpers.dlq("gone")).note == "0 dead letters"
        told = (await helpers.info()).text()
        assert re.search(r"await dlq\(\[keys\]\) +Count the dead letters; dlq\.show", told)
