"""Any AMQP client can call a service: a pika script without ION, against `ioncc -n hello`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import pika
import pytest

from ion import Container
from ion.services.hello.service import HelloService

SCRIPT = Path(__file__).with_name("foreign_caller.py")


@pytest.mark.parametrize("lean", [True, False])
async def test_a_plain_pika_script_calls_hello(amqp_url: str, lean: bool) -> None:
    async with Container(amqp_url, sysname="foreign", config={"broker.lean": lean}) as container:
        await container.spawn(HelloService)
        script = await asyncio.create_subprocess_exec(
            sys.executable, SCRIPT, amqp_url, "foreign", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(script.communicate(), 60)
    assert script.returncode == 0
    rows = [json.loads(line) for line in output.splitlines()]
    good, bad = rows[:4], rows[4:]
    assert [row["content"] for row in good] == [
        "Hello there, json",
        "Hello there, msgpack",
        "Hello there, just text",
        "Hello there, Hi there",
    ]
    assert [row["answered"] for row in good] == [
        "application/json",
        "application/msgpack",
        "application/msgpack",
        "application/json",
    ]
    assert {row["headers"]["status"] for row in good} == {"OK"}
    assert {row["headers"]["performative"] for row in good} == {"inform_result"}
    assert [(row["content"]["code"], row["content"]["type"]) for row in bad] == [
        (404, "OpNotFound"),
        (400, "BadRequest"),
        (400, "CodecError"),
        (400, "CodecError"),
        (415, "UnsupportedContentType"),
        (413, "ContentTooLarge"),
    ]
    rows = good + bad
    assert [row["type"] for row in rows] == [row["op"] for row in rows]
    assert len({row["message_id"] for row in rows}) == len(rows)
    assert all(abs(row["timestamp"] - time.time()) < 60 for row in rows)
    assert {row["headers"]["status"] for row in bad} == {"ERROR"}
    assert [row["headers"]["code"] for row in bad] == [row["content"]["code"] for row in bad]
    assert bad[4]["answered"] == "application/json"
    assert all(set(row["content"]) == {"code", "type", "message", "details"} for row in bad)


async def test_bad_messages_without_reply_to_are_dead_lettered(amqp_url: str) -> None:
    async with Container(amqp_url, sysname="dead") as container:
        pid = await container.spawn(HelloService)
        await asyncio.to_thread(
            _publish,
            amqp_url,
            [
                ("hello", "nonsense", b"{}", "application/json", {}),
                ("hello", "hello", b"{", "application/json", {}),
                ("hello", "hello", b"x", "text/csv", {}),
                ("hello", "hello", b"x" * 1_100_000, "application/json", {}),
                ("hello", "hello", b"{}", "application/json", {"timeout": "soon"}),
                ("hello", "hello", b"{}", "application/json", {"performative": "inform_result"}),
                ("hello", "hello", b"{}", "application/json", {"protocol": "smoke signals"}),
                (f"{container.id}.999", "hello", b"{}", "application/json", {}),
                (pid, "nonsense", b"{}", "application/json", {}),
            ],
        )
        assert await container.rpc_send("hello", "hello", {"text": "still here"})
        async with asyncio.timeout(5):
            while (await _count(container, "dead.hello.dlq")) < 7:
                await asyncio.sleep(0.02)
            while (await _count(container, "dead.processes.dlq")) < 2:
                await asyncio.sleep(0.02)
        assert await _count(container, "dead.hello") == 0


async def test_wrong_headers_with_a_reply_to_are_answered(amqp_url: str) -> None:
    async with Container(amqp_url, sysname="wrong") as container:
        await container.spawn(HelloService)
        sys.path.insert(0, str(SCRIPT.parent))
        try:
            from foreign_caller import Caller
        finally:
            sys.path.pop(0)

        def ask() -> list[int]:
            caller = Caller(amqp_url, "wrong")
            codes = []
            for headers in (
                {"timeout": "soon"},
                {"protocol": "smoke signals"},
                {"performative": "agree"},
                {"timeout": 0},
                {"deadline": 1},
            ):
                _, body = caller.call("hello", "hello", b"{}", "application/json", headers)
                codes.append(json.loads(body)["code"])
            caller.connection.close()
            return codes

        assert await asyncio.to_thread(ask) == [400, 400, 400, 504, 504]


async def _count(container: Container, queue: str) -> int:
    info = await container.transport.queue_info(queue)
    return info.messages if info is not None else -1


def _publish(url: str, messages: list[tuple[str, str, bytes, str, dict[str, object]]]) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for key, op, body, content_type, headers in messages:
        properties = pika.BasicProperties(type=op, content_type=content_type, headers=headers)
        channel.basic_publish("dead.xs", key, body, properties)
    connection.close()
