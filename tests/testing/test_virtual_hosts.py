"""What one test has made in its virtual host is not there for the next one."""

from __future__ import annotations

import time

import aio_pika
import pytest

pytestmark = pytest.mark.amqp
GUEST, ALL, BY = '<<"guest">>', '<<".*">>', '<<"test">>'
LISTED = "fun rabbit_connection_tracking:list/1"
CHANGES = [
    f'rabbit_policy:set(V, <<"p">>, {ALL}, [{{<<"max-length">>, 5}}], 0, <<"all">>, {BY})',
    f"rabbit_auth_backend_internal:set_permissions({GUEST}, V, <<>>, {ALL}, {ALL}, {BY})",
    f'rabbit_auth_backend_internal:set_topic_permissions({GUEST}, V, <<"x">>, {ALL}, {ALL}, {BY})',
    f'rabbit_vhost_limit:set(V, [{{<<"max-queues">>, 5}}], {BY})',
]


async def test_a_virtual_host_is_given_again_empty_or_not_at_all(rabbitmq_server):
    used = [rabbitmq_server.new_vhost() for _ in range(6)]
    for vhost in used:
        async with await aio_pika.connect(rabbitmq_server.url(vhost)) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange("x", "topic", durable=True)
            for kind in ("classic", "quorum"):
                arguments = {"x-queue-type": kind}
                queue = await channel.declare_queue(kind, durable=True, arguments=arguments)
                await queue.bind(exchange, "#")
            await exchange.publish(aio_pika.Message(b"left"), "key")
    for vhost, change in zip(used, CHANGES, strict=False):
        done = rabbitmq_server.eval(f'(fun(V) -> {change} end)(<<"{vhost}">>)')
        assert "error" not in done, done
    until = time.monotonic() + 20
    names = ", ".join(f'<<"{vhost}">>' for vhost in used)
    while rabbitmq_server.eval(f"lists:flatmap({LISTED}, [{names}])") != "[]":
        assert time.monotonic() < until
    for vhost in used:
        rabbitmq_server.give_back(vhost)
    given = rabbitmq_server.new_vhost()
    given_again = {given, *rabbitmq_server._vhosts}
    rabbitmq_server.give_back(given)
    again = used[-1]
    assert given_again & set(used) == {*used[len(CHANGES) :]}
    listed = f'{{rabbit_amqqueue:list(V), length(rabbit_exchange:list(V))}} end)(<<"{again}">>)'
    assert rabbitmq_server.eval(f"(fun(V) -> {listed}") == "{[],7}"
