"""Slow clients, silent ones, killed ones, and very many of them."""

from __future__ import annotations

import asyncio
import resource
import sys
import textwrap

import pamqp.body
import pamqp.heartbeat
import pytest
from pamqp import commands

from ion.messaging.amqp_server import alarm
from ion.messaging.amqp_server import client_protocol as line_module
from ion.messaging.amqp_server.server import Server
from ion.messaging.envelope import Envelope
from ion.messaging.opening import open_transport
from ion.messaging.transport import QueueSpec, TransportState
from ion.testing.contracts.bench import Inbox
from tests.messaging.amqp_server.listening import Raw, is_alive, listening, until, url_of

KB = 1024


async def declared(server: Server, **options: object) -> Raw:
    raw = await Raw.logged_in(server, **options)
    raw.send(1, commands.Queue.Declare(queue="q"))
    await raw.until(commands.Queue.DeclareOk)
    return raw


def unsent(server: Server) -> int:
    return sum(connection._unsent() for connection in server._connections)


def put(server: Server, count: int, size: int) -> None:
    """Publish from within this OS process."""
    queue = server.broker.queue("q", None)
    for number in range(count):
        queue.put(Envelope(body=number.to_bytes(4, "big").ljust(size, b".")), "", "q")


@pytest.mark.parametrize("no_ack", [True, False])
async def test_a_client_that_does_not_read_is_delivered_no_more(no_ack: bool) -> None:
    async with listening() as server:
        slow = await declared(server)
        slow.reader._limit = 1  # it stops reading from its socket
        slow.send(1, commands.Basic.Consume(queue="q", consumer_tag="c", no_ack=no_ack))
        queue = server.broker.queue("q", None)
        await until(lambda: queue.consumers, "it consumes")
        put(server, 600, 100 * KB)  # 60 MB; a socket's buffers hold a few
        await until(lambda: any(c.is_full for c in server._connections), "the socket is full")
        waiting = queue.ready
        assert waiting > 200
        assert unsent(server) < 2 * line_module.FULL
        await is_alive(server)  # it holds up nobody
        slow.reader._limit = 1 << 16
        slow.writer.transport.resume_reading()
        assert isinstance(await slow.next(), commands.Basic.ConsumeOk)
        for number in range(600):
            assert isinstance(await slow.next(), commands.Basic.Deliver)
            await slow.next()
            body = (await slow.next()).value
            assert int.from_bytes(body[:4], "big") == number
        assert queue.ready == 0


async def test_a_client_that_asks_without_reading_is_not_read_from() -> None:
    async with listening() as server:
        greedy = await declared(server)
        greedy.reader._limit = 1
        put(server, 300, 100 * KB)
        for _ in range(300):
            greedy.send(1, commands.Basic.Get(queue="q", no_ack=True))
        await until(lambda: any(c._is_deaf for c in server._connections), "it is not read from")
        assert unsent(server) < line_module.STUFFED + 2 * line_module.FULL
        assert server.broker.queue("q", None).ready > 0
        await is_alive(server)
        greedy.reader._limit = 1 << 16
        greedy.writer.transport.resume_reading()
        for number in range(300):
            assert isinstance(await greedy.next(), commands.Basic.GetOk)
            await greedy.next()
            assert int.from_bytes((await greedy.next()).value[:4], "big") == number


async def test_one_that_is_stuffed_and_dead_is_cut_off() -> None:
    async with listening() as server:
        greedy = await declared(server, heartbeat=1)
        greedy.reader._limit = 1
        put(server, 300, 100 * KB)
        for _ in range(300):
            greedy.send(1, commands.Basic.Get(queue="q"))
        await until(lambda: any(c._is_deaf for c in server._connections), "it is not read from")
        await until(lambda: not server._connections, "it is cut off")
        assert server.broker.queue("q", None).ready == 300


async def test_who_publishes_more_than_is_taken_is_told_then_not_read_from() -> None:
    async with listening(max_stored=1 << 20) as server:
        publisher, other = await declared(server), await Raw.logged_in(server)
        for _ in range(15):
            publisher.publish("q", bytes(100 * KB))
        blocked = await publisher.until(commands.Connection.Blocked)
        assert "the queues of the memory bus hold over" in blocked.reason
        assert server.alarm.level == alarm.TOLD
        publisher.send(1, commands.Queue.Declare(queue="q", passive=True))
        assert (await publisher.until(commands.Queue.DeclareOk)).message_count == 15
        for _ in range(40):
            publisher.publish("q", bytes(100 * KB))
        await until(lambda: server.alarm.level == alarm.HELD, "the publisher is held")
        queue = server.broker.queue("q", None)
        assert queue.ready < 25
        other.send(1, commands.Queue.Declare(queue="q", passive=True))
        await other.until(commands.Queue.DeclareOk)  # who does not publish is not held
        taken = 0
        while taken < 55:
            other.send(1, commands.Queue.Purge(queue="q"))
            taken += (await other.until(commands.Queue.PurgeOk)).message_count
            await asyncio.sleep(0.01)
        await publisher.until(commands.Connection.Unblocked)
        await until(lambda: server.alarm.level == alarm.NONE, "all is well")


async def test_a_transport_heeds_the_alarm() -> None:
    async with listening(max_stored=1 << 20) as server:
        transport = open_transport(url_of(server))
        await transport.open()
        states: list[TransportState] = []
        transport.on_state(states.append)
        await transport.declare_queue(QueueSpec("q"))
        for _ in range(11):
            await transport.publish_confirmed("", "q", Envelope(body=bytes(100 * KB)), timeout=10)
        await until(lambda: states == [TransportState.BLOCKED], "it is told to wait")
        server.broker.queue("q", None).purge()
        await until(lambda: states[-1] is TransportState.CONNECTED, "it may publish again")
        await transport.publish_confirmed("", "q", Envelope(), timeout=10)
        await transport.close()


async def test_a_silent_client_is_cut_off_and_gives_back_what_it_had() -> None:
    async with listening() as server:
        silent = await declared(server, heartbeat=1)
        silent.publish("q", b"kept")
        silent.send(1, commands.Basic.Consume(queue="q", consumer_tag="c"))
        await silent.until(commands.Basic.ConsumeOk)
        await silent.until(commands.Basic.Deliver)
        assert server.broker.queue("q", None).ready == 0
        beats = 0
        while (frame := await silent.next()) is not None:
            beats += isinstance(frame, pamqp.heartbeat.Heartbeat)
        assert beats >= 2  # the server gives signs of life itself
        await until(lambda: server.broker.queue("q", None).ready == 1, "the message is back")
        assert not server.broker.queue("q", None).consumers


async def test_a_client_that_gives_signs_of_life_is_kept() -> None:
    async with listening() as server:
        quiet = await declared(server, heartbeat=1)
        for _ in range(8):
            quiet.write(b"\x08\0\0\0\0\0\0\xce")
            await asyncio.sleep(0.4)
        quiet.send(1, commands.Queue.Declare(queue="q", passive=True))
        await quiet.until(commands.Queue.DeclareOk)


CLIENT = """
    import sys, time
    import pika
    from pamqp import body, commands, frame, header

    connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
    channel = connection.channel()
    channel.queue_declare("mine", exclusive=True)
    held = []
    channel.basic_consume("q", lambda *message: held.append(message))
    while len(held) < 3:
        connection.process_data_events(time_limit=0.1)
    channel.basic_ack(held[1][1].delivery_tag)
    connection.channel().close()
    # the first half of a message
    half = frame.marshal(commands.Basic.Publish(exchange="", routing_key="q"), 1)
    half += frame.marshal(header.ContentHeader(0, 200_000, commands.Basic.Properties()), 1)
    half += frame.marshal(body.ContentBody(b"x" * 100_000), 1)
    connection._impl._transport.write(half)
    connection.process_data_events(time_limit=0.2)
    print("ready", flush=True)
    time.sleep(60)
"""


async def test_what_a_killed_client_had_comes_again() -> None:
    async with listening() as server:
        transport = open_transport(url_of(server))
        await transport.open()
        await transport.declare_queue(QueueSpec("q"))
        for body in (b"1", b"2", b"3"):
            await transport.publish_confirmed("", "q", Envelope(body=body), timeout=10)
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            textwrap.dedent(CLIENT),
            url_of(server),
            stdout=asyncio.subprocess.PIPE,
        )
        assert client.stdout is not None
        assert await asyncio.wait_for(client.stdout.readline(), 30) == b"ready\n"
        queue = server.broker.queue("q", None)
        await until(lambda: len(server.broker._queues) == 2, "its exclusive queue is there")
        assert queue.ready == 0
        client.kill()
        await client.wait()
        inbox = Inbox(ack=True)
        await transport.consume("q", inbox, prefetch=10)
        again = [await inbox.next() for _ in range(2)]
        assert [(d.envelope.body, d.redelivered) for d in again] == [(b"1", True), (b"3", True)]
        await until(lambda: len(server.broker._queues) == 1, "its exclusive queue is gone")
        assert inbox.waiting == 0
        await transport.close()


@pytest.mark.slow
async def test_a_thousand_clients_at_once() -> None:
    count = 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * count)), hard))
    try:
        async with listening() as server:
            gate = asyncio.Semaphore(50)

            async def come() -> Raw:
                async with gate:
                    raw = await Raw.logged_in(server)
                    raw.send(1, commands.Queue.Declare(exclusive=True))
                    declared = await raw.until(commands.Queue.DeclareOk)
                    raw.send(1, commands.Basic.Consume(queue=declared.queue, no_ack=True))
                    await raw.until(commands.Basic.ConsumeOk)
                    raw.publish(declared.queue, b"to myself")
                    return raw

            clients = await asyncio.gather(*(come() for _ in range(count)))
            assert len(server._connections) == count
            for raw in clients:
                await raw.until(commands.Basic.Deliver)
                await raw.next()
                assert isinstance(await raw.next(), pamqp.body.ContentBody)
            for raw in clients:
                raw.abort()
            await until(lambda: not server._connections, "all have left")
            assert server.broker._queues == {}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_server_that_stops_says_goodbye() -> None:
    async with listening() as server:
        raw = await declared(server)
        transport = open_transport(url_of(server))
        await transport.open()
        states: list[TransportState] = []
        transport.on_state(states.append)
        closing = asyncio.create_task(server.close())
        assert (await raw.until(commands.Connection.Close)).reply_code == 320
        raw.send(0, commands.Connection.CloseOk())
        assert await raw.ended()
        await closing
        await until(lambda: states == [TransportState.LOST], "the transport has noticed")
        await transport.close()
