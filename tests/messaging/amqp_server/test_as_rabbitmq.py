"""What foreign clients meet is what they meet at RabbitMQ: one pika script, both servers.

Each scene is a function of a pika connection that returns what it saw; both servers must show the
same, and where a channel or connection is closed, with the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions as wrong
import pytest

from tests.messaging.amqp_server.listening import listening, url_of

pytestmark = pytest.mark.amqp

Scene = Callable[[pika.BlockingConnection], Any]
SCENES: list[Scene] = []


def scene(function: Scene) -> Scene:
    SCENES.append(function)
    return function


def refused(connection: pika.BlockingConnection, do: Callable[[Any], Any]) -> Any:
    """Return the code that a new channel is closed with, and whether the connection lives on."""
    channel = connection.channel()
    reasons: list[Any] = []
    channel._impl.add_on_close_callback(lambda _, reason: reasons.append(reason))
    try:
        do(channel)
        for _ in range(10):
            connection.process_data_events(time_limit=0.02)
            channel.basic_qos(prefetch_count=1)  # a fault of what has no answer shows here
    except wrong.ChannelClosedByBroker as closed:
        return closed.reply_code, connection.channel().is_open
    except wrong.ChannelWrongStateError:  # it was closed between two calls
        return reasons[0].reply_code, connection.channel().is_open
    except wrong.ConnectionClosedByBroker as closed:
        return closed.reply_code, "connection"
    return "nothing", True


def take(connection: pika.BlockingConnection, into: list[Any], count: int) -> None:
    end = time.monotonic() + 10
    while len(into) < count:
        connection.process_data_events(time_limit=0.05)
        assert time.monotonic() < end, (into, count)


def settle(connection: pika.BlockingConnection) -> None:
    """Let whatever was to come arrive."""
    connection.channel().close()
    connection.process_data_events(time_limit=0.05)


@scene
def properties_travel(connection):
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    sent = pika.BasicProperties(
        content_type="text/plain",
        content_encoding="utf-8",
        headers={"n": 1, "big": 2**40, "s": "text", "b": True, "none": None, "l": [1, "x"]},
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        message_id="m",
        timestamp=1_700_000_000,
        type="t",
        user_id=connection._impl.params.credentials.username,
        app_id="a",
        cluster_id="k",
    )
    channel.basic_publish("", queue, b"x" * 300_000, sent)
    method, got, body = channel.basic_get(queue, auto_ack=True)
    same = {k: v for k, v in vars(got).items() if v != getattr(sent, k)}
    return same, len(body), method.exchange, method.redelivered, method.message_count


@scene
def few_properties_travel(connection):
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    seen = []
    for sent in (
        pika.BasicProperties(app_id="a", delivery_mode=1),
        pika.BasicProperties(content_encoding="gzip", headers={}, delivery_mode=1),
        pika.BasicProperties(content_type="x", cluster_id="c", timestamp=5, delivery_mode=2),
    ):
        channel.basic_publish("", queue, b"", sent)
        _, got, body = channel.basic_get(queue, auto_ack=True)
        seen.append((got.app_id, got.content_encoding, got.content_type, got.cluster_id, body))
    return seen


@scene
def a_dead_letter_keeps_foreign_properties(connection):
    channel = connection.channel()
    channel.queue_declare("dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    channel.queue_declare("q", arguments=arguments)
    channel.basic_publish("", "q", b"x", pika.BasicProperties(app_id="a", content_encoding="e"))
    method, _, _ = channel.basic_get("q")
    channel.basic_reject(method.delivery_tag, requeue=False)
    settle(connection)
    _, got, _ = channel.basic_get("dead", auto_ack=True)
    return got.app_id, got.content_encoding, got.headers["x-first-death-reason"]


@scene
def passive_declares(connection):
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.exchange_declare("x", "direct")
    channel.basic_publish("", "q", b"1")
    settle(connection)
    found = channel.queue_declare("q", passive=True).method
    channel.exchange_declare("x", passive=True)
    return (
        (found.queue, found.message_count, found.consumer_count),
        refused(connection, lambda c: c.queue_declare("none", passive=True)),
        refused(connection, lambda c: c.exchange_declare("none", passive=True)),
    )


@scene
def what_closes_a_channel(connection):
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.exchange_declare("x", "topic", durable=True)
    channel.queue_bind("q", "x", "k")
    channel.queue_declare("kept")
    channel.basic_publish("", "kept", b"")
    settle(connection)
    channel.basic_consume("q", lambda *_: None, exclusive=True)
    bad_expiration = pika.BasicProperties(expiration="soon")
    another_user = pika.BasicProperties(user_id="somebody")
    return [
        refused(connection, do)
        for do in (
            lambda c: c.queue_declare("q", durable=False),
            lambda c: c.queue_declare("q", durable=True, arguments={"x-max-length": 5}),
            lambda c: c.queue_declare("n", arguments={"x-message-ttl": "long"}),
            lambda c: c.queue_declare("n", arguments={"x-max-priority": 1000}),
            lambda c: c.queue_declare("amq.mine"),
            lambda c: c.exchange_declare("amq.mine", "topic"),
            lambda c: c.exchange_declare("x", "fanout", durable=True),
            lambda c: c.exchange_delete("amq.topic"),
            lambda c: c.exchange_delete(""),
            lambda c: c.exchange_delete("x", if_unused=True),
            lambda c: c.queue_delete("q", if_unused=True),
            lambda c: c.queue_delete("kept", if_empty=True),
            lambda c: c.queue_bind("none", "x", "k"),
            lambda c: c.queue_bind("q", "none", "k"),
            lambda c: c.queue_bind("q", "", "k"),
            lambda c: c.queue_purge("none"),
            lambda c: c.basic_get("none"),
            lambda c: c.basic_consume("none", lambda *_: None),
            lambda c: c.basic_consume("q", lambda *_: None),
            lambda c: c.basic_publish("none", "k", b"x"),
            lambda c: c.basic_publish("", "q", b"x", bad_expiration),
            lambda c: c.basic_publish("", "q", b"x", another_user),
            lambda c: c.basic_ack(99),
            lambda c: c.basic_nack(99),
            lambda c: c.basic_reject(99),
            lambda c: c.basic_ack(99, multiple=True),
        )
    ]


@scene
def what_is_no_fault(connection):
    channel = connection.channel()
    return [
        refused(connection, do)
        for do in (
            lambda c: c.queue_delete("none"),
            lambda c: c.exchange_delete("none"),
            lambda c: c.queue_unbind("none", "amq.topic", "k"),
            lambda c: c.basic_cancel("nobody"),
            lambda c: c.basic_publish("", "none", b"x"),
            lambda c: c.basic_publish("amq.topic", "none", b"x", mandatory=True),
            lambda c: c.basic_ack(0, multiple=True),
            lambda c: c.queue_declare("n", durable=True, arguments={"x-expires": 60_000}),
            lambda c: c.confirm_delivery(),
        )
    ] + [channel.is_open]


@scene
def exclusive_queues(connection):
    channel = connection.channel()
    channel.queue_declare("mine", exclusive=True)
    parameters = connection._impl.params
    other = pika.BlockingConnection(parameters)
    codes = [
        refused(other, do)
        for do in (
            lambda c: c.queue_declare("mine", exclusive=True),
            lambda c: c.queue_declare("mine", passive=True),
            lambda c: c.basic_get("mine"),
            lambda c: c.queue_delete("mine"),
        )
    ]
    channel.close()  # it is the connection's, not the channel's
    connection.channel().queue_declare("mine", passive=True)
    other.close()
    return codes


@scene
def the_latest_queue_of_a_channel(connection):
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.exchange_declare("x", "direct")
    channel.queue_bind("", "x", "")  # binds with the queue's name
    channel.basic_publish("x", queue, b"found")
    found = channel.basic_get("", auto_ack=True)[2]
    return found, refused(connection, lambda c: c.basic_get(""))


@scene
def returns_and_confirms(connection):
    channel = connection.channel()
    channel.confirm_delivery()
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    channel.queue_declare("full", arguments=arguments)
    outcomes = []
    for key, mandatory in (("full", True), ("full", False), ("none", True), ("none", False)):
        try:
            channel.basic_publish("", key, b"x", mandatory=mandatory)
            outcomes.append("taken")
        except wrong.UnroutableError as error:
            (back,) = error.messages
            outcomes.append((back.method.reply_code, back.method.reply_text, back.body))
        except wrong.NackError:
            outcomes.append("nacked")
    return outcomes


@scene
def settling_many(connection):
    channel = connection.channel()
    channel.queue_declare("q")
    for n in range(6):
        channel.basic_publish("", "q", bytes([n]))
    settle(connection)
    tags = [channel.basic_get("q")[0].delivery_tag for _ in range(6)]
    channel.basic_ack(tags[1], multiple=True)
    channel.basic_nack(tags[3], multiple=True, requeue=True)
    channel.basic_reject(tags[4], requeue=False)
    settle(connection)
    seen = [channel.basic_get("q") for _ in range(3)]
    return [(body, method and method.redelivered) for method, _, body in seen]


@scene
def closing_a_channel_puts_back(connection):
    first = connection.channel()
    first.queue_declare("q")
    for n in range(3):
        first.basic_publish("", "q", bytes([n]))
    settle(connection)
    got: list[Any] = []
    first.basic_consume("q", lambda *message: got.append(message))
    take(connection, got, 3)
    first.basic_ack(got[1][1].delivery_tag)
    first.close()
    settle(connection)
    second = connection.channel()
    seen = [second.basic_get("q") for _ in range(3)]
    return [(body, method and method.redelivered) for method, _, body in seen]


@scene
def recover_gives_again(connection):
    channel = connection.channel()
    channel.queue_declare("q")
    for n in range(3):
        channel.basic_publish("", "q", bytes([n]))
    settle(connection)
    got: list[Any] = []
    channel.basic_consume("q", lambda *message: got.append(message))
    take(connection, got, 3)
    channel.basic_recover(requeue=True)
    take(connection, got, 6)
    return [(body, method.redelivered) for _, method, _, body in got[3:]]


@scene
def prefetch_of_each_consumer_and_of_all(connection):
    seen = []
    for is_global in (False, True):
        channel = connection.channel()
        name = f"q{is_global}"
        channel.queue_declare(name)
        channel.basic_qos(prefetch_count=2, global_qos=is_global)
        got: list[Any] = []
        for _ in range(2):
            channel.basic_consume(name, lambda *message, got=got: got.append(message))
        for n in range(8):
            channel.basic_publish("", name, bytes([n]))
        take(connection, got, 2 if is_global else 4)
        settle(connection)
        seen.append(len(got))
        channel.basic_ack(got[0][1].delivery_tag)
        take(connection, got, seen[-1] + 1)
        settle(connection)
        seen.append(len(got))
        channel.close()
    return seen


@scene
def a_deleted_queue_cancels_its_consumers(connection):
    channel = connection.channel()
    channel.queue_declare("q")
    cancelled: list[Any] = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    channel.basic_consume("q", lambda *_: None, consumer_tag="me")
    connection.channel().queue_delete("q")
    take(connection, cancelled, 1)
    return cancelled, channel.is_open


@scene
def consumer_tags(connection):
    channel = connection.channel()
    channel.queue_declare("q")
    made = channel.basic_consume("q", lambda *_: None)
    channel.basic_consume("q", lambda *_: None, consumer_tag="mine")
    count = connection.channel().queue_declare("q", passive=True).method.consumer_count
    return made[:6], count, channel.basic_cancel("mine"), channel.basic_cancel("mine")


@scene
def unknown_kinds_of_exchange(connection):
    code, _ = refused(connection, lambda c: c.exchange_declare("x", "no-such-kind"))
    return code in {503, 406}  # RabbitMQ 4 closes the channel only, with 406


@scene
def a_vhost_that_is_not_there(connection):
    parameters = pika.ConnectionParameters(
        host=connection._impl.params.host,
        port=connection._impl.params.port,
        virtual_host="nowhere",
        credentials=connection._impl.params.credentials,
    )
    with pytest.raises(wrong.ProbableAccessDeniedError) as closed:
        pika.BlockingConnection(parameters)
    return "(530) 'NOT_ALLOWED - vhost nowhere not found'" in str(closed.value)


@scene
def a_login_that_is_wrong(connection):
    parameters = pika.ConnectionParameters(
        host=connection._impl.params.host,
        port=connection._impl.params.port,
        credentials=pika.PlainCredentials("ion", "wrong"),
    )
    with pytest.raises(wrong.ProbableAuthenticationError) as closed:
        pika.BlockingConnection(parameters)
    return "ACCESS_REFUSED" in str(closed.value)


@scene
def direct_answers(connection):
    name = "amq.rabbitmq.reply-to"
    asking = pika.BasicProperties(reply_to=name, correlation_id="c")
    seen = [
        refused(connection, lambda c: c.basic_publish("", "q", b"x", asking)),
        refused(connection, lambda c: c.basic_consume(name, lambda *_: None)),
    ]
    channel, server = connection.channel(), connection.channel()
    server.queue_declare("q")
    server.basic_consume(
        "q",
        lambda c, method, got, body: c.basic_publish(
            "", got.reply_to, body * 2, pika.BasicProperties(correlation_id=got.correlation_id)
        ),
        auto_ack=True,
    )
    answers: list[Any] = []
    channel.basic_consume(name, lambda *message: answers.append(message), auto_ack=True)
    for body in (b"1", b"2"):
        channel.basic_publish("", "q", body, asking)
    take(connection, answers, 2)
    seen += [(body, got.correlation_id, method.redelivered) for _, method, got, body in answers]
    return seen


@scene
def flow(connection):
    channel = connection.channel()
    return channel.flow(active=True)


def play(part: Scene, url: str) -> Any:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        return part(connection)
    finally:
        with contextlib.suppress(wrong.AMQPError):
            connection.close()


@pytest.mark.parametrize("part", SCENES, ids=lambda part: part.__name__)
async def test_both_servers_show_the_same(amqp_url: str, part: Scene) -> None:
    expected = await asyncio.to_thread(play, part, amqp_url)
    async with listening() as server:
        seen = await asyncio.to_thread(play, part, url_of(server))
    if part is prefetch_of_each_consumer_and_of_all and expected[2:] == expected[:2]:
        pytest.skip("RabbitMQ 4.3 takes a channel's prefetch for that of each consumer")
    assert seen == expected, f"{seen}\n{expected}"
