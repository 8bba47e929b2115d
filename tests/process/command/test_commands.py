"""Ops that are marked as commands."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ion import Container, Forbidden, Operator, Process, Service
from ion.messaging import codec
from ion.messaging.envelope import MSGPACK
from ion.process.ops import CommandOp, Op, command


class Safe(Process):
    def __init__(self) -> None:
        self.opened = 0

    @command
    async def op_open(self, code: int = 0) -> int:
        """Open it."""
        self.opened += 1
        return code

    @command
    async def op_list(self, n: int):
        for number in range(n):
            yield number

    async def op_look(self) -> int:
        return self.opened


class Other(Safe):
    async def op_open(self, code: int = 0) -> int:
        return await super().op_open(code)


def test_only_marked_ops_are_checked() -> None:
    assert type(Safe.ops["look"]) is type(Safe.ops["ping"]) is Op
    assert type(Safe.ops["open"]) is type(Safe.ops["list"]) is CommandOp
    assert Safe.ops["open"].describe() == {
        "params": [{"name": "code", "type": "int", "required": False, "default": 0}],
        "doc": "Open it.",
        "command": True,
    }
    assert "command" not in Safe.ops["look"].describe()
    assert type(Other.ops["open"]) is CommandOp  # what stands in its place is one, too


def test_a_command_cannot_take_the_raw_parts() -> None:
    with pytest.raises(TypeError, match="a command cannot take content, headers, msg"):

        class Raw(Process):
            @command
            async def op_raw(self, content: Any, headers: Any, msg: Any) -> None: ...


async def test_what_is_not_signed_does_nothing(amqp_url: str) -> None:
    async with Container(amqp_url, sysname="test") as container:
        pid = await container.spawn(Safe)
        safe = container.processes[pid]
        for content in ({"code": 1}, {"no such": 1}, None, 5):
            with pytest.raises(Forbidden, match="not signed"):
                await container.rpc_send(pid, "open", content)
        with pytest.raises(Forbidden):
            async for _ in container.stream(pid, "list", {"n": 3}):
                pass
        with pytest.raises(Forbidden):
            await container.request(pid, "open", {"code": 1})
        assert await container.rpc_send(pid, "look") == 0
        assert await Operator(container).command(pid, "open", {"code": 7}) == 7
        assert await safe.op_open(3) == 3  # called directly, it is a method as others
        assert safe.opened == 2


async def test_one_way_and_unsigned_it_is_a_dead_letter(amqp_url: str) -> None:
    async with Container(amqp_url, sysname="dead") as container:
        pid = await container.spawn(Safe)
        await container.send(pid, "open", {"code": 1})
        assert await container.rpc_send(pid, "look") == 0
        async with Container(amqp_url, sysname="dead"):
            info = None
            while info is None or not info.messages:
                info = await container.transport.queue_info("dead.processes.dlq")
        delivery = await container.transport.get("dead.processes.dlq", no_ack=True)
        assert delivery is not None
        assert delivery.envelope.headers["cause-type"] == "Forbidden"


async def test_a_party_without_a_permission_heeds_nobody() -> None:
    async with Container("memory://") as container:
        pid = await container.spawn(Safe)
        assert await container.rpc_send(pid, "open", {"code": 1}) == 1
        container.endpoint.permission = None
        with pytest.raises(Forbidden, match="made without a key"):
            await container.rpc_send(pid, "open", {"code": 1})


async def test_nothing_is_signed_on_the_way_of_other_messages(amqp_url: str) -> None:
    class Teller(Service, name="teller"):
        async def op_headers(self) -> list[str]:
            return list(self.message.headers)

    async with Container(amqp_url, sysname="test") as container:
        await container.spawn(Teller)
        assert "agent-auth" not in await container.rpc_send("teller", "headers")
        assert "agent-auth" in await Operator(container).command("teller", "headers")


def test_content_that_was_encoded_is_sent_as_it_is() -> None:
    body = codec.encode({"b": 1, "a": [None, 2.5]})[0]
    assert codec.encode(msgspec.Raw(body), MSGPACK) == (body, MSGPACK)
