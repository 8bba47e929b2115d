"""The two forms of an op."""

from __future__ import annotations

from typing import Any

import pytest

from ion import BadRequest, Container
from ion.services.echo.client import EchoClient


@pytest.fixture
async def echo(container: Container) -> EchoClient:
    await container.start_app("echo")
    return EchoClient(container)


async def test_rot13_twice_is_nothing(echo: EchoClient) -> None:
    assert await echo.rot13("Hello") == "Uryyb"
    assert await echo.rot13("Uryyb") == "Hello"


async def test_the_wrong_type_is_a_400(echo: EchoClient) -> None:
    with pytest.raises(BadRequest, match="text"):
        await echo._call("rot13", {"text": 13})


@pytest.mark.parametrize("content", ["x", None, {"a": [1, 2.5, b"\x00"]}, [], {"content": 1}])
async def test_a_raw_op_takes_anything(
    container: Container, echo: EchoClient, content: Any
) -> None:
    answer = await echo.echo(content)
    assert answer["content"] == content
    assert answer["sender"] == f"{container.id}.0"
    assert answer["content_type"] == "application/msgpack"


async def test_a_raw_op_sees_the_content_type(container: Container, echo: EchoClient) -> None:
    answer = await container.rpc_send("echo", "echo", "x", content_type="application/json")
    assert answer["content_type"] == "application/json"
