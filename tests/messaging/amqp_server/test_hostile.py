"""Whatever is written to the port: it is answered or the connection closed, and others served."""

from __future__ import annotations

import asyncio
import itertools
import struct

import pamqp.body
import pamqp.frame
import pamqp.header
import pamqp.heartbeat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from ion.messaging.amqp_server import connection as connection_module
from ion.messaging.amqp_server.connection import Connection
from ion.messaging.amqp_server.frames import GREETING
from ion.messaging.amqp_server.handshake import Account, Terms
from ion.messaging.amqp_server.server import Server
from ion.messaging.memory.broker import Broker
from tests.messaging.amqp_server.listening import ACCOUNT, Raw, is_alive, listening, until


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"AMQP\x00\x01\x00\x00",
        b"AMQP\x03\x01\x00\x00",
        bytes(100),
        b"\xff" * 5000,
    ],
)
async def test_who_does_not_speak_amqp_is_told_what_is_spoken_here(data: bytes) -> None:
    async with listening() as server:
        raw = await Raw.open(server)
        raw.write(data)
        assert await asyncio.wait_for(raw.reader.read(8), 10) == GREETING
        await is_alive(server)


def method(index: int, arguments: bytes = b"", channel: int = 1) -> bytes:
    payload = struct.pack(">I", index) + arguments
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


def frames(*values: object, channel: int = 1) -> bytes:
    return b"".join(pamqp.frame.marshal(value, channel) for value in values)


PUBLISH = commands.Basic.Publish(exchange="", routing_key="q")
HEADER = pamqp.header.ContentHeader(0, 4, commands.Basic.Properties())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x01\x00\x01\x7f\xff\xff\xff", 501),
        (struct.pack(">BHI", 1, 1, 131_073), 501),
        (frames(commands.Basic.Qos())[:-1] + b"\x00", 501),
        (struct.pack(">BHI", 7, 1, 1) + b"x\xce", 501),
        (
            pamqp.frame.marshal(pamqp.heartbeat.Heartbeat(), 0).replace(b"\x08\0\0", b"\x08\0\1"),
            501,
        ),
        (method(0x00280063), 503),
        (method(0xFFFFFFFF), 503),
        (struct.pack(">BHI", 1, 1, 2) + b"\x00\x3c\xce", 502),
        (method(0x0032000A, b"\x00\x00\xffshort"), 502),
        (method(0x0032000A, b"\x00\x00\x01q\x00\x00\x00\x00\x05\x03abcZ"), 502),
        (method(0x003C0050, b"\x00"), 501),
        (frames(commands.Channel.Open()), 504),
        (frames(commands.Basic.Qos(), channel=9), 504),
        (frames(commands.Channel.Open(), channel=2048), 530),
        (frames(commands.Connection.Open("/"), channel=0), 503),
        (frames(commands.Basic.Qos(), channel=0), 503),
        (frames(HEADER), 505),
        (frames(pamqp.body.ContentBody(b"x")), 505),
        (frames(PUBLISH, PUBLISH), 505),
        (frames(PUBLISH, pamqp.body.ContentBody(b"x")), 505),
        (frames(PUBLISH, HEADER, HEADER), 505),
        (frames(PUBLISH, HEADER, pamqp.body.ContentBody(b"12345")), 501),
        (frames(PUBLISH) + b"\x02\x00\x01\x00\x00\x00\x01x\xce", 502),
        (frames(commands.Tx.Select()), 540),
        (frames(commands.Basic.Qos(prefetch_size=1)), 540),
        (frames(commands.Basic.Recover(requeue=False)), 540),
        (frames(commands.Channel.Flow(active=False)), 540),
        (frames(commands.Basic.Publish(routing_key="q", immediate=True)), 540),
        (frames(commands.Exchange.Bind(destination="a", source="b")), 540),
        (frames(commands.Basic.ConsumeOk("x")), 503),
    ],
)
async def test_what_cannot_be_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch, data: bytes, code: int
) -> None:
    monkeypatch.setattr(connection_module, "FAREWELL", 0.2)
    async with listening() as server:
        raw = await Raw.logged_in(server)
        raw.send(1, commands.Queue.Declare(queue="q"))
        await raw.until(commands.Queue.DeclareOk)
        raw.write(data)
        closed = await raw.until(commands.Connection.Close)
        assert closed.reply_code == code
        raw.write(frames(commands.Basic.Qos()))  # counts no more
        raw.send(0, commands.Connection.CloseOk())
        assert await raw.ended()
        await is_alive(server)


async def test_a_message_that_is_too_large_closes_its_channel_only() -> None:
    async with listening(max_message=1000) as server:
        raw = await Raw.logged_in(server)
        raw.send(1, commands.Queue.Declare(queue="q"))
        await raw.until(commands.Queue.DeclareOk)
        raw.publish("q", b"x" * 1001)
        closed = await raw.until(commands.Channel.Close)
        assert closed.reply_code == 406
        raw.send(1, commands.Channel.CloseOk())
        raw.send(1, commands.Channel.Open())
        await raw.until(commands.Channel.OpenOk)
        raw.publish("q", b"x" * 1000)
        raw.send(1, commands.Queue.Declare(queue="q", passive=True))
        assert (await raw.until(commands.Queue.DeclareOk)).message_count == 1


@pytest.mark.parametrize(
    ("mechanism", "response", "code"),
    [
        ("PLAIN", "\0ion\0wrong", 403),
        ("PLAIN", "\0guest\0guest", 403),
        ("PLAIN", "\0ion\0", 403),
        ("PLAIN", "nonsense", 502),
        ("AMQPLAIN", "nonsense", 502),
        ("AMQPLAIN", "\x05LOGINS\0\0\0\x03ion\x08PASSWORDS\0\0\0\x05wrong", 403),
        ("EXTERNAL", "", 530),
        ("AMQPLAIN", "\x05LOGINS\0\0\0\x03ion\x08PASSWORDS\0\0\0\x06secret", 0),
        ("PLAIN", "\0ion\0secret", 0),
    ],
)
async def test_who_may_come_in(
    mechanism: str, response: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as server:
        raw = await Raw.open(server)
        raw.write(GREETING)
        await raw.until(commands.Connection.Start)
        properties = {"capabilities": {"authentication_failure_close": True}}
        raw.send(0, commands.Connection.StartOk(properties, mechanism, response, "en_US"))
        answer = await raw.next()
        assert getattr(answer, "reply_code", 0) == code
        assert isinstance(answer, commands.Connection.Close if code else commands.Connection.Tune)
        raw.abort()
    assert "secret" not in caplog.text
    assert "wrong" not in caplog.text.replace("wrong user or password", "")


@pytest.mark.parametrize("frame_max", [1, 4095, 131_073])
async def test_frames_that_cannot_be_agreed_on(frame_max: int) -> None:
    async with listening() as server:
        raw = await Raw.open(server)
        raw.write(GREETING)
        await raw.until(commands.Connection.Start)
        raw.send(0, commands.Connection.StartOk({}, "PLAIN", "\0ion\0secret", "en_US"))
        await raw.until(commands.Connection.Tune)
        raw.send(0, commands.Connection.TuneOk(0, frame_max, 0))
        assert (await raw.until(commands.Connection.Close)).reply_code == 530
        raw.abort()


async def test_small_frames_carry_large_messages() -> None:
    async with listening() as server:
        raw = await Raw.logged_in(server, frame_max=4096)
        raw.send(1, commands.Queue.Declare(queue="q"))
        await raw.until(commands.Queue.DeclareOk)
        body = bytes(range(256)) * 100
        raw.send(1, PUBLISH)
        raw.send(1, pamqp.header.ContentHeader(0, len(body), commands.Basic.Properties()))
        for start in range(0, len(body), 4000):
            raw.send(1, pamqp.body.ContentBody(body[start : start + 4000]))
        raw.send(1, commands.Basic.Get(queue="q", no_ack=True))
        await raw.until(commands.Basic.GetOk)
        assert (await raw.until(pamqp.header.ContentHeader)).body_size == len(body)
        got = b""
        while len(got) < len(body):
            piece = (await raw.until(pamqp.body.ContentBody)).value
            assert len(piece) <= 4096 - 8
            got += piece
        assert got == body


async def test_nothing_is_served_before_the_login() -> None:
    async with listening() as server:
        for data in (
            frames(commands.Connection.Open("/"), channel=0),
            frames(commands.Channel.Open()),
            frames(commands.Queue.Declare(queue="q")),
            frames(commands.Connection.TuneOk(0, 0, 0), channel=0),
        ):
            raw = await Raw.open(server)
            raw.write(GREETING + data)
            await raw.until(commands.Connection.Start)
            assert (await raw.until(commands.Connection.Close)).reply_code in {503, 505}
            raw.abort()
        assert server.broker.find_queue("q", None) is None


async def test_who_does_not_log_in_is_shown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HANDSHAKE", 0.1)
    async with listening() as server:
        silent, half = await Raw.open(server), await Raw.open(server)
        half.write(GREETING)
        assert await silent.ended()
        assert await half.ended()
        await is_alive(server)


async def test_who_does_not_answer_a_goodbye_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "FAREWELL", 0.1)
    async with listening() as server:
        raw = await Raw.logged_in(server)
        raw.write(frames(commands.Tx.Select()))
        await raw.until(commands.Connection.Close)
        assert await raw.ended()


async def test_an_error_of_ours_ends_one_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        message = "broken on purpose"
        raise RuntimeError(message)

    async with listening() as server:
        raw = await Raw.logged_in(server)
        with monkeypatch.context() as patch:
            patch.setattr("ion.messaging.amqp_server.channel.Channel.take", broken)
            raw.send(1, commands.Basic.Qos())
            assert (await raw.until(commands.Connection.Close)).reply_code == 541
        await is_alive(server)
    assert "broken on purpose" in caplog.text


class Wire:
    """The end of a connection that only takes notes, for many connections in no time."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def is_reading(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        pass


LOGIN = GREETING + frames(
    commands.Connection.StartOk({}, "PLAIN", "\0ion\0secret", "en_US"),
    commands.Connection.TuneOk(0, 0, 0),
    commands.Connection.Open("/"),
    channel=0,
)
TALK = frames(
    commands.Channel.Open(),
    commands.Confirm.Select(),
    commands.Exchange.Declare(exchange="x", exchange_type="topic"),
    commands.Queue.Declare(
        queue="q", arguments={"x-max-length": 10, "x-dead-letter-exchange": "x"}
    ),
    commands.Queue.Bind(queue="q", exchange="x", routing_key="a.#"),
    commands.Basic.Qos(prefetch_count=2),
    commands.Basic.Consume(queue="q", consumer_tag="c", arguments={"x-priority": 1}),
    PUBLISH,
    pamqp.header.ContentHeader(
        0,
        4,
        commands.Basic.Properties(
            content_type="t", content_encoding="e", headers={"a": [1, {"b": None}]}, app_id="x"
        ),
    ),
    pamqp.body.ContentBody(b"body"),
    commands.Basic.Ack(1),
    commands.Basic.Get(queue="q"),
    commands.Basic.Nack(2, requeue=True),
    commands.Basic.Cancel("c"),
    commands.Queue.Purge(queue="q"),
    commands.Channel.Close(200, "bye", 0, 0),
)
noise = st.lists(
    st.tuples(st.integers(0, len(TALK) - 1), st.integers(0, 255), st.integers(0, 3)), max_size=8
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(noise=noise, cuts=st.lists(st.integers(1, len(TALK)), max_size=5))
def test_no_bytes_break_it(noise: list[tuple[int, int, int]], cuts: list[int]) -> None:
    """A talk with wrong bytes in it, cut anywhere: it is answered, or closed; nothing is raised."""

    async def talk() -> None:
        data = bytearray(TALK)
        for where, value, way in noise:
            place = where % len(data)
            if way == 0:
                data[place] = value
            elif way == 1:
                data.insert(place, value)
            elif way == 2:
                del data[place]
            else:
                data[place:place] = data[place : place + value]
        broker = Broker(asyncio.get_running_loop())
        server = Server(broker, ACCOUNT, sysname="test")
        server._server = object()  # it listens nowhere
        connection, wire = Connection(server), Wire()
        connection.connection_made(wire)
        connection.data_received(LOGIN)
        edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
        for start, end in itertools.pairwise(edges):
            if not wire.closed:
                connection.data_received(bytes(data[start:end]))
        assert b"an error of the server" not in wire.written
        connection.connection_lost(None)
        for queue in list(broker._queues.values()):
            assert not queue.consumers
            assert not queue._takers
        broker.close()

    asyncio.run(talk())


def test_an_account_takes_no_other() -> None:
    account, terms = Account("u", "p"), Terms()
    for response in ("\0u\0p", "x\0u\0p"):
        assert account.admits(commands.Connection.StartOk({}, "PLAIN", response, ""))
    for response in ("\0u\0P", "\0U\0p", "\0\0", "\0u\0p\0"):
        assert not account.admits(commands.Connection.StartOk({}, "PLAIN", response, ""))
    assert terms.agreed(commands.Connection.TuneOk(0, 0, 0)) == Terms(2047, 131_072, 0)


async def test_more_clients_than_there_is_room_for() -> None:
    async with listening(max_connections=2) as server:
        kept = [await Raw.logged_in(server) for _ in range(2)]
        late = await Raw.open(server)
        assert await late.ended()
        kept.pop().abort()
        await until(lambda: len(server._connections) == 1, "one has left")
        await is_alive(server)


async def test_what_was_published_before_a_close_is_confirmed() -> None:
    async with listening() as server:
        raw = await Raw.logged_in(server)
        raw.send(1, commands.Queue.Declare(queue="q"))
        raw.send(1, commands.Confirm.Select())
        for _ in range(3):
            raw.publish("q", b"x")
        raw.send(0, commands.Connection.Close(200, "bye", 0, 0))
        await raw.until(commands.Queue.DeclareOk)
        await raw.until(commands.Confirm.SelectOk)
        told = 0
        while not isinstance(frame := await raw.next(), commands.Connection.CloseOk):
            assert isinstance(frame, commands.Basic.Ack)
            told = frame.delivery_tag
        assert told == 3
        assert await raw.ended()
