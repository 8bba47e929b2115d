"""`ioncc attach`: a prompt on a container elsewhere; who has not the key sees nothing."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from ion import Container, Forbidden, connect
from ion.container.apps.lookup import find
from ion.process.command.key import given
from ion.process.command.proof import holds, is_nonce, proof
from ion.process.command.signing import Command, sign
from ion.shell.helpers.remote import RemoteTarget
from ion.shell.prompt.attach import Replay
from ion.testing.transcripts import replay

PROMPT = ">>>"
WAIT = 20
OURS, THEIRS = secrets.token_hex(32), secrets.token_hex(32)
LOOK = Path(__file__).parent / "transcripts" / "look_around.transcript"


@pytest.fixture
def west(ioncc):
    """A container called west with service `hello`, whose bus listens."""
    serving = ioncc.serve("-n", "--listen", "--set", "container.name=west", "hello")
    serving.ready()
    return serving


def attach(ioncc, script, *words):
    """Run `ioncc attach` with a script on its standard input."""
    return ioncc.run("attach", *words, given=script, timeout=60)


# --- scripts


def test_a_script_is_run_statement_by_statement(ioncc, west):
    script = (
        "node\n\nawait svc.hello.hello(text='you')\nfor n in range(2):\n    print(n)\n\n20 + 22\n"
    )
    result = attach(ioncc, script, "west")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == ["'west'", "'Hello there, you'", "0", "1", "42"]
    assert west.end() == 0


def test_the_first_error_ends_a_script(ioncc, west):
    result = attach(ioncc, "1\nkill(99)\n2\n", "we")
    assert (result.returncode, result.stdout) == (1, "1\n")
    assert result.stderr.splitlines() == [
        "ProcessNotFound (404): container west has no process 'west.99' (any more)"
    ]
    result = attach(ioncc, "1 / 0\n2\n")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert json.loads(ioncc.run("call", "hello.hello", "text=x").stdout) == "Hello there, x"


def test_what_is_no_text_ends_a_script(ioncc, west):
    command = [*ioncc.command, "attach", "west"]
    script = b"1\n'\xff'\n2\n"
    env = {**ioncc.env, "PYTHONIOENCODING": "utf-8:strict"}
    options = {"cwd": ioncc.folder, "env": env, "input": script, "timeout": 60}
    result = subprocess.run(command, capture_output=True, check=False, **options)
    assert result.returncode == 1
    assert b"a line that is no text" in result.stderr
    assert b"2" not in result.stdout


def test_a_script_that_is_stopped_has_failed(ioncc, west):
    process = subprocess.Popen(
        [*ioncc.command, "attach", "west"],
        cwd=ioncc.folder,
        env=ioncc.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        process.stdin.write("'begun'\nawait asyncio.sleep(60)\n")
        process.stdin.flush()
        assert process.stdout.readline() == "'begun'\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 1
    assert west.process.poll() is None


def test_a_transcript_is_a_script(ioncc, west):
    result = attach(ioncc, LOOK.read_text(), "west")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("'west'\n")
    assert result.stdout.endswith("'HELLO THERE, YOU!'\n")


def test_the_end_of_a_script_and_exit_leave_the_container_alone(ioncc, west):
    for script in ("", "\n", "exit()\n1 / 0\n", "exit\n", "def f():\n    return 1"):
        result = attach(ioncc, script, "west")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert west.process.poll() is None


def test_what_was_recorded_replays(ioncc, west):
    script = 'ps()\nawait svc.hello.hello(text="x")\nprint(1, end="")\nnode\nstats()\n'
    script += "def f(n):\n  return n\n\nf(2)\n"
    path = ioncc.folder / "session.transcript"
    result = attach(ioncc, script, "west", "--record", str(path))
    assert (result.returncode, result.stderr) == (0, "")
    said = path.read_text()
    assert "# start: hello\n" in said
    assert "\n>>> node\n'<id>'\n" in said
    assert "\n>>> def f(n):\n...   return n\n" in said
    assert "west" not in said
    asyncio.run(replay(path))
    again = attach(ioncc, "1\n", "west", "--record", str(path))
    assert (again.returncode, again.stdout) == (2, "")
    assert "is there already" in again.stderr
    assert path.read_text() == said
    nowhere = attach(ioncc, "1\n", "west", "--record", "no/such/folder")
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert "no transcript can be written" in nowhere.stderr


# --- which container


def test_a_container_that_is_not_there(ioncc, west):
    result = attach(ioncc, "1\n", "east")
    assert (result.returncode, result.stdout) == (4, "")
    assert "no container 'east'; there are west" in result.stderr
    second = ioncc.serve("-n", "-b", "local://", "--set", "container.name=west2")
    second.ready()
    result = attach(ioncc, "1\n")
    assert (result.returncode, result.stdout) == (4, "")
    assert "there are 2 containers, say which one: west, west2" in result.stderr
    assert attach(ioncc, "node\n", "west").stdout == "'west'\n"
    assert attach(ioncc, "node\n", "west2").stdout == "'west2'\n"
    assert attach(ioncc, "1\n", "-s", "nobody").returncode == 3


# --- who has not the key


def refusal(result):
    """Return the one line that refused an attach, before anything was shown."""
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def test_a_wrong_key_and_a_missing_one(ioncc, west):
    path = ioncc.folder / "data" / "ion" / "ion.key"
    right = path.read_text().strip()
    line = refusal(attach(ioncc, "1\n", "west", "--set", f"agent.key={THEIRS}"))
    assert "Forbidden (403)" in line
    assert given(THEIRS).id in line
    assert given(right).id in line
    path.rename(path.with_suffix(".away"))
    line = refusal(attach(ioncc, "1\n", "west"))
    assert "needs the key of system 'ion'" in line
    assert str(path) in line
    assert right not in line
    path.write_text(right)
    path.chmod(0o644)
    result = attach(ioncc, "1\n", "west")
    assert (result.returncode, result.stdout) == (2, "")
    assert "chmod 600" in result.stderr
    path.chmod(0o600)
    assert attach(ioncc, "1\n", "west").stdout == "1\n"


def pretend(container, answer=None):
    """Let a container heed everybody, and not have the key."""
    permission = container.endpoint.permission
    permission.check = lambda *_: None
    permission.key = given(THEIRS) if answer is None else None


@pytest.mark.amqp
@pytest.mark.parametrize("answer", [None, "none"])
async def test_an_impostor(ioncc, amqp_url, answer):
    config = {"container.name": "west", "agent.key": THEIRS}
    async with Container(amqp_url, sysname="ion", config=config) as impostor:
        pretend(impostor, answer)
        words = ("west", "-b", amqp_url, "--set", f"agent.key={OURS}")
        line = refusal(await asyncio.to_thread(attach, ioncc, "1\n", *words))
    assert "has not proved that it has the key of system 'ion'" in line


async def test_a_proof_is_none_of_another_container_or_nonce(bus):
    nonce, key = secrets.token_hex(16), bytes.fromhex(OURS)
    good = proof(key, "ion", "west", nonce)
    assert holds(good, key, "ion", "west", nonce)
    assert not holds(good, key, "ion", "east", nonce)
    assert not holds(good, key, "noi", "west", nonce)
    assert not holds(good, key, "ion", "west", secrets.token_hex(16))
    assert not holds(good, bytes.fromhex(THEIRS), "ion", "west", nonce)
    for other in (None, 1, "", b"", good.encode(), {"mac": good}, "\udcff", sign_of(key, nonce)):
        assert not holds(other, key, "ion", "west", nonce)
    assert is_nonce(nonce)
    assert not any(map(is_nonce, ("", nonce.upper() + "G", nonce + "\n", "x" * 32)))


def sign_of(key, nonce):
    """Return the MAC of a command that has the same words."""
    return sign(key, Command("ion", "west", nonce, b""), 1, nonce).split()[-1]


async def test_only_who_has_the_key_gets_a_proof(amqp_url):
    config = {"container.name": "west", "agent.key": OURS}
    async with (
        Container(amqp_url, sysname="ion", config=config),
        connect(amqp_url, sysname="ion", config={"agent.key": OURS}) as connection,
        connect(amqp_url, sysname="ion", config={"agent.key": THEIRS}) as stranger,
    ):
        await RemoteTarget(connection, "west").prove()
        with pytest.raises(Forbidden, match="signed with key"):
            await RemoteTarget(stranger, "west").prove()
        unsigned = await asyncio.gather(
            stranger.rpc_send("west.0", "prove", {"nonce": "0" * 32}), return_exceptions=True
        )
        assert unsigned[0].code == 403


# --- a container that goes away


async def shown(session, statement):
    """Return what a statement shows as one line."""
    return " ".join((await session.run(statement)).split())


async def test_the_prompt_stays_when_the_container_goes_and_works_when_it_is_back(bus):
    url, config = bus
    config = {**config, "container.name": "west", "agent.key": OURS}
    async with connect(url, sysname="ion", config={"agent.key": OURS}) as connection:
        session = Replay(connection, "west")
        async with Container(url, sysname="ion", config=config):
            await session.begin()
            assert await shown(session, "len(await ps())") == "1"
        for statement in ("ps()", "spawn('ion:Process')", "kill(1)", "loglevel()", "drain()"):
            line = await shown(session, statement)
            assert line.startswith(
                "Unavailable (503): container <id> is gone, or cannot be reached"
            )
        assert await shown(session, "1 + 1") == "2"
        assert "container east is gone" in await shown(session, "kill('east.3')")
        async with Container(url, sysname="ion", config=config) as again:
            await again.start_app("hello")
            assert await shown(session, "len(await ps())") == "3"
            assert await shown(session, "kill(99)") != ""
            assert await shown(session, "svc.hello.hello(text='x')") == "'Hello there, x'"


@pytest.mark.amqp
async def test_one_that_comes_back_without_the_key_is_told(amqp_url):
    config = {"container.name": "west", "agent.key": OURS}
    async with connect(amqp_url, sysname="ion", config={"agent.key": OURS}) as connection:
        session = Replay(connection, "west")
        async with Container(amqp_url, sysname="ion", config=config):
            await session.begin()
        assert "Unavailable" in await shown(session, "ps()")
        async with Container(amqp_url, sysname="ion", config=config) as impostor:
            pretend(impostor)
            line = await shown(session, "ps()")
            assert line.startswith("Forbidden (403): whoever answers for container")


async def test_how_it_is(container):
    session = Replay(container, container.id)
    await session.begin()
    health = await session._helpers.health()
    assert health.note == "live, ready"
    assert {row["ok"] for row in health.rows} == {"yes"}
    assert [row["name"] for row in (await session._helpers.stats()).rows] == ["agent"]


async def test_completion_knows_what_the_container_offers(container):
    await container.start_app(find("hello"))
    session = Replay(container, container.id)
    await session.begin()
    svc = session._helpers.svc
    assert dir(svc) == ["hello"]
    assert {"hello", "ping"} <= set(vars(svc.hello))
    await session.run("spawn('ion.services.echo.service:EchoService')")
    assert dir(svc) == ["echo", "hello"]


# --- on a terminal


@pytest.fixture(params=["ptpython", "plain"])
def terminal(request, ioncc, west):
    """`ioncc attach west` on a terminal."""
    if request.param == "plain":
        hidden = ioncc.folder / "ptpython"
        hidden.mkdir()
        (hidden / "__init__.py").write_text("raise ImportError('hidden')")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "ion.shell.main", "attach", "west", "--record", "seen.transcript"],
        cwd=ioncc.folder,
        env={**ioncc.env, "PROMPT_TOOLKIT_NO_CPR": "1"},
        dimensions=(40, 160),
        encoding="utf8",
        timeout=WAIT,
    )
    try:
        yield child
    finally:
        child.close(force=True)


def ask(shell, line, answer):
    """Type a line and wait for its answer and the next prompt."""
    shell.send(line + "\r")
    shell.expect(answer)
    shell.expect(PROMPT)


def ask_until(shell, line, answer):
    """Type a line again and again, until its answer is there, and wait for the next prompt."""
    for _ in range(WAIT):
        shell.send(line + "\r")
        found = shell.expect([answer, r"Unavailable \(503\)"])
        shell.expect(PROMPT)
        if found == 0:
            return
    raise AssertionError(f"never {answer}")


def test_a_session_on_a_terminal(ioncc, west, terminal):
    terminal.expect("attached to ION .* container west")
    terminal.expect(r"Type:\s+await svc\.hello\.hello\(text='you'\)")
    terminal.expect("Ctrl-D detaches, and the container goes on")
    terminal.expect(PROMPT)
    ask(terminal, "ps()", "HelloService")
    ask(terminal, "await svc.hello.hello(text='y' + 'ou')", "Hello there, you")
    ask(terminal, "pid = await spawn('ion:Process', 'extra'); pid[:5]", "'west.'")
    ask(terminal, "await kill(pid); print('kil' + 'led')", "killed")
    ask(terminal, "await rpc_send('nobody', 'x')", r"ServiceNotFound \(404\)")
    ask(terminal, "stats()", "loop late")
    ask(terminal, "loglevel()", "info|warning")
    west.process.kill()
    west.process.wait()
    ask(terminal, "ps()", r"Unavailable \(503\)")
    again = ioncc.serve("-n", "--listen", "--set", "container.name=west", "hello")
    again.ready()
    ask_until(terminal, "f'back, {len(await ps())}'", "back, 3")
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert again.process.poll() is None
    assert again.end() == 0
    said = (ioncc.folder / "seen.transcript").read_text()
    assert ">>> await svc.hello.hello(text='y' + 'ou')\n'Hello there, you'\n" in said
    assert "\nPID " in said  # a table is plain there, however it was drawn
