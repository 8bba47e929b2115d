"""`ioncc doctor` and the broker: each fault is made on a real one, and found."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shlex
import socket

import pytest
from yarl import URL

from ion import Container
from ion.services.hello.service import HelloService
from ion.testing.servers.private import free_port
from tests.shell.doctoring import diagnose, run

pytestmark = pytest.mark.amqp
ALWAYS = ["broker-end-of-life", "guest-login"]  # what is so of the broker of these tests
_users = itertools.count(1)


@contextlib.asynccontextmanager
async def server(serve):
    """Give the port where `serve(reader, writer)` answers on loopback."""
    tasks = set()

    async def client(reader, writer):
        tasks.add(asyncio.current_task())
        over = contextlib.suppress(ConnectionError, EOFError, asyncio.CancelledError)
        with over, contextlib.closing(writer):  # Python 3.11.2 does not close it after an error
            await serve(reader, writer)

    listening = await asyncio.start_server(client, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def telling(url, old, new):
    """Give the URL of a broker that says `new` (as long) where the one at `url` says `old`."""
    where = URL(url)

    async def copy(reader, writer, change):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data.replace(old, new) if change else data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        back, forth = await asyncio.open_connection(where.host, where.port)
        await asyncio.gather(copy(reader, forth, False), copy(back, writer, True))

    async with server(serve) as port:
        yield str(where.with_port(port))


def with_user(rabbit, url, configure, write, read):
    """Return the URL with a new user who has these permissions."""
    name, vhost = f"user{next(_users)}", URL(url).path[1:]
    rabbit.eval(f'rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"pw">>, <<"t">>)')
    rabbit.eval(
        f'rabbit_auth_backend_internal:set_permissions(<<"{name}">>, <<"{vhost}">>, '
        f'<<"{configure}">>, <<"{write}">>, <<"{read}">>, <<"t">>)'
    )
    return str(URL(url).with_user(name).with_password("pw"))


@pytest.fixture
def environment(rabbitmq_server):
    """Set a key of RabbitMQ's environment for the time of the test."""
    before = {}

    def put(key, value):
        if key not in before:
            before[key] = rabbitmq_server.eval(f"application:get_env(rabbit, {key})")
        rabbitmq_server.eval(f"application:set_env(rabbit, {key}, {value})")

    yield put
    for key, value in before.items():
        if value.startswith("{ok,"):
            rabbitmq_server.eval(f"application:set_env(rabbit, {key}, {value[4:-1]})")
        else:
            rabbitmq_server.eval(f"application:unset_env(rabbit, {key})")


async def test_a_sound_set_up(amqp_url):
    async with Container(amqp_url, sysname="test") as container:
        await container.spawn(HelloService)
        seen = await diagnose(amqp_url)
    assert seen.codes == ALWAYS
    assert list(seen.unchecked) == ["management"]
    assert "RabbitMQ 3.10" in seen.one("broker-end-of-life")[0]
    assert "add_user" in seen.one("guest-login")[1]


async def test_nothing_ran_yet_and_nothing_is_left_behind(amqp_url, rabbitmq_server):
    seen = await diagnose(amqp_url)
    assert seen.codes == ALWAYS
    assert "ever ran" in seen.unchecked["clocks"]
    vhost = URL(amqp_url).path[1:]
    queues = f'rabbit_amqqueue:list(<<"{vhost}">>)'
    names = f'[element(4, element(2, X)) || X <- rabbit_exchange:list(<<"{vhost}">>)]'
    assert rabbitmq_server.eval(queues) == "[]"
    assert '"amq.topic"' in rabbitmq_server.eval(names)
    assert "test" not in rabbitmq_server.eval(names)


@pytest.mark.parametrize(
    ("version", "codes"),
    [
        (b"3.7.28", ["broker-old", "guest-login"]),
        (b"4.1.08", ["broker-end-of-life", "guest-login"]),
        (b"4.2.05", ["guest-login"]),
    ],
)
async def test_its_version(amqp_url, version, codes):
    async with telling(amqp_url, b"3.10.8", version) as url:
        seen = await diagnose(url)
    assert seen.codes == codes


async def test_it_is_no_rabbitmq(amqp_url):
    async with telling(amqp_url, b"RabbitMQ", b"RebbitMQ") as url:
        assert "RebbitMQ" in (await diagnose(url)).one("broker-product")[0]


# the way there


async def test_nobody_listens():
    port = free_port()
    seen = await diagnose(f"amqp://guest:guest@127.0.0.1:{port}/")
    assert seen.codes == ["broker-refused"]
    assert str(port) in seen.one("broker-refused")[0]
    assert seen.unchecked["permissions"] == "no broker was reached"


async def test_the_host_has_no_address():
    seen = await diagnose("amqp://guest:guest@nowhere.invalid/")
    assert seen.codes == ["broker-host"]


async def test_one_of_two_brokers_is_away(amqp_url):
    seen = await diagnose(amqp_url, f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    assert seen.codes == ["broker-end-of-life", "broker-refused", "guest-login"]
    assert list(seen.unchecked)[-1] == "management"


async def test_a_url_that_is_none():
    assert (await diagnose("ampq://localhost/")).codes == ["broker-url"]
    assert (await diagnose("amqp://:bad:port/")).codes == ["broker-url"]
    assert (await diagnose("amqp://localhost/", "memory://")).codes == ["broker-url"]


async def test_a_wrong_password(amqp_url):
    seen = await diagnose(str(URL(amqp_url).with_password("wrong")))
    assert "change_password guest" in seen.one("broker-login")[1]
    assert "wrong" not in str(seen)


async def test_no_such_vhost_and_the_remedy_for_it(amqp_url, rabbitmq_server):
    url = str(URL(amqp_url).with_path("/a new one"))
    remedy = (await diagnose(url)).one("broker-vhost")[1]
    for command in remedy.split("; "):
        words = shlex.split(command)
        assert words[0] == "rabbitmqctl"
        rabbitmq_server.ctl(*words[1:])
    assert (await diagnose(url)).codes == ALWAYS
    rabbitmq_server.ctl("delete_vhost", "a new one")


async def test_a_vhost_that_is_closed_to_the_user(amqp_url, rabbitmq_server):
    url = URL(with_user(rabbitmq_server, amqp_url, ".*", ".*", ".*"))
    seen = await diagnose(str(url.with_path("/%2F", encoded=True)))
    assert f"set_permissions -p / {url.user} " in seen.one("broker-access")[1]


def far_address():
    """Return an address of this machine that is not loopback; none is asked over the network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
            return probe.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no address but loopback")


@pytest.fixture
def far_url(amqp_url, rabbitmq_server):
    """The URL of the broker by an address that is not loopback."""
    address, port = far_address(), free_port()
    listener = f'"{address}", {port}'
    rabbitmq_server.eval(f"rabbit_networking:start_tcp_listener({{{listener}}}, 1)")
    yield str(URL(amqp_url).with_host(address).with_port(port))
    rabbitmq_server.eval(f"rabbit_networking:stop_tcp_listener({{{listener}}})")


async def test_guest_off_loopback(far_url):
    seen = await diagnose(far_url)
    assert seen.codes == ["guest-refused"]
    assert "add_user" in seen.one("guest-refused")[1]


async def test_no_tls_off_loopback(far_url, rabbitmq_server):
    seen = await diagnose(with_user(rabbitmq_server, far_url, ".*", ".*", ".*"))
    assert seen.codes == ["broker-end-of-life", "no-tls"]


async def test_guest_is_let_in_off_loopback(far_url, environment):
    environment("loopback_users", "[]")
    assert (await diagnose(far_url)).codes == ["broker-end-of-life", "guest-login", "no-tls"]


async def test_tls_where_there_is_none(amqp_url):
    seen = await diagnose(str(URL(amqp_url).with_scheme("amqps")))
    assert "amqp://" in seen.one("broker-tls")[1]


async def test_the_port_of_a_web_server(monkeypatch):
    monkeypatch.setattr("ion.shell.doctor.reach.CONNECT_WITHIN", 0.5)

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")  # and waits, where there is no line
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")

    async with server(serve) as port:
        seen = await diagnose(f"amqp://guest:guest@127.0.0.1:{port}/")
    message, remedy = seen.one("broker-foreign")
    assert "web server" in message
    assert ":5672" in remedy


async def test_something_else_listens():
    async def serve(reader, writer):
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()

    async with server(serve) as port:
        seen = await diagnose(f"amqp://guest:guest@127.0.0.1:{port}/")
    assert seen.codes == ["broker-foreign"]


async def test_it_closes_at_once():
    async def serve(reader, writer):
        await reader.read(8)

    async with server(serve) as port:
        seen = await diagnose(f"amqp://guest:guest@127.0.0.1:{port}/")
    assert seen.codes == ["broker-closed"]


async def test_it_says_nothing(monkeypatch, amqp_url, rabbitmq_server):
    monkeypatch.setattr("ion.shell.doctor.reach.CONNECT_WITHIN", 0.5)
    rabbitmq_server.suspend()
    try:
        seen = await diagnose(amqp_url)
    finally:
        rabbitmq_server.resume()
    assert seen.codes == ["broker-silent"]


# what it lets through


@pytest.mark.parametrize(
    ("permissions", "missing"),
    [
        (("^$", ".*", ".*"), "configure"),
        ((".*", "^test.*", ".*"), "write"),  # not to the default exchange: no answers
        ((".*", ".*", "^$"), "read"),
    ],
)
async def test_a_permission_is_missing(amqp_url, rabbitmq_server, permissions, missing):
    async with Container(amqp_url, sysname="test"):
        seen = await diagnose(with_user(rabbitmq_server, amqp_url, *permissions))
    found = [each for each in seen.findings if each["code"] == "permission"]
    assert found
    assert all(f"to {missing}:" in each["message"] for each in found)
    assert all("set_permissions" in each["remedy"] for each in found)


@pytest.mark.parametrize("what", ["memory", "disk"])
async def test_an_alarm(amqp_url, rabbitmq_server, what):
    turn = getattr(rabbitmq_server, f"set_{what}_alarm")
    async with Container(amqp_url, sysname="test"):
        turn(True)
        try:
            seen = await diagnose(amqp_url)
        finally:
            turn(False)
    assert what in seen.one("broker-alarm")[0]
    assert seen.codes == ["broker-alarm", *ALWAYS]


@pytest.mark.parametrize(("seconds", "said"), [(0, "no heartbeats"), (600, "600 s apart")])
async def test_heartbeats(amqp_url, seconds, said):
    seen = await diagnose(f"{amqp_url}?heartbeat={seconds}")
    assert said in seen.one("heartbeat")[0]


async def test_heartbeats_by_a_setting(amqp_url):
    seen = await diagnose(amqp_url, settings=["broker.heartbeat=120"])
    assert "120 s apart" in seen.one("heartbeat")[0]


async def test_it_takes_only_small_messages(amqp_url, environment):
    environment("max_message_size", 100_000)
    assert "1048576 bytes" in (await diagnose(amqp_url)).one("message-size")[0]
    seen = await diagnose(amqp_url, settings=["messaging.max_content=100000"])
    assert seen.codes == ALWAYS


async def test_messages_too_large_to_try(amqp_url):
    seen = await diagnose(amqp_url, settings=["messaging.max_content=100000000"])
    assert "not sent" in seen.unchecked["message size"]


async def test_small_frames(amqp_url, environment):
    environment("frame_max", 8192)
    assert "8192" in (await diagnose(amqp_url)).one("frame-size")[0]


def test_it_is_quick_and_quiet_when_nothing_is_there(ioncc):
    seen = run(ioncc, "-b", f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    assert seen.codes == ["broker-refused"]
