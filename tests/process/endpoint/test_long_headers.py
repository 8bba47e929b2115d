"""Headers that just fit a frame: with anything added the broker would end the connection."""

from __future__ import annotations

from typing import Any

import pytest

from ion import CodecError, Container, Service
from ion.messaging.codec import encode
from ion.messaging.envelope import Envelope
from ion.messaging.transport import TransportState
from tests.process.delivery import Bus, dead_letters, running

NEARLY_A_FRAME = "x" * 130_900


class Relay(Service, name="relay"):
    """Passes on what it is told to."""

    async def op_pass_on(self) -> Any:
        return await self.rpc_send("relay", "last", timeout=10)

    async def op_last(self) -> str:
        return "here"

    async def op_fail(self) -> None:
        message = "always"
        raise OSError(message)


def states(container: Container) -> list[TransportState]:
    seen: list[TransportState] = []
    container.transport.on_state(seen.append)
    return seen


@pytest.mark.parametrize("op", ["fail", "nobody has this op"])
async def test_what_cannot_be_copied_is_dead_lettered_as_it_is(bus: Bus, op: str) -> None:
    async with running(bus, service__attempts=2) as container:
        await container.spawn(Relay)
        seen = states(container)
        headers = {"junk": NEARLY_A_FRAME}
        message = Envelope(op, message_id="m-1", persistent=True, headers=headers)
        await container.transport.publish_confirmed("test.xs", "relay", message, timeout=10)
        (letter,) = await dead_letters(container, "relay", 1)
        assert (letter.envelope.op, letter.envelope.message_id) == (op, "m-1")
        assert letter.envelope.headers["junk"] == NEARLY_A_FRAME
        assert await container.rpc_send("relay", "last", timeout=10) == "here"
        assert seen == []


@pytest.mark.parametrize("header", ["user-id", "traceparent"])
async def test_what_cannot_be_passed_on_fails_the_op(bus: Bus, header: str) -> None:
    async with running(bus) as container, running(bus) as other:
        await container.spawn(Relay)
        seen = states(container)
        message = Envelope(
            "pass_on",
            encode({})[0],
            reply_to=other.endpoint.reply_queue,
            correlation_id="c-1",
            headers={header: NEARLY_A_FRAME},
        )
        await other.transport.publish_confirmed("test.xs", "relay", message, timeout=10)
        assert await other.rpc_send("relay", "last", timeout=10) == "here"
        assert seen == []


@pytest.mark.parametrize("lean", [True, False])
async def test_a_message_with_more_is_refused(amqp_url: str, lean: bool) -> None:
    async with running((amqp_url, {"broker.lean": lean})) as container:
        seen = states(container)
        message = Envelope("op", headers={"junk": "x" * 131_072})
        for mandatory in (True, False):
            with pytest.raises(CodecError, match="one frame takes"):
                container.transport.publish("test.xs", "relay", message, mandatory=mandatory)
        assert seen == []
