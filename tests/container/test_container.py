"""A container before its start, after its stop, and where it cannot start."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ion import (
    BadRequest,
    ConfigurationError,
    Container,
    LifecycleError,
    ServiceClient,
    Unavailable,
)
from ion.services.hello.service import HelloService


async def test_before_its_start_it_says_so() -> None:
    container = Container("memory://")
    for call in (
        lambda: container.rpc_send("hello", "hello"),
        lambda: ServiceClient("hello", container).hello(),
        lambda: container.spawn(HelloService),
        lambda: container.start_app("hello"),
    ):
        with pytest.raises(LifecycleError):
            await call()
    assert not hasattr(container, "no_such_attribute")


async def test_after_its_stop_a_call_fails_at_once(bus: tuple[str, dict[str, Any]]) -> None:
    async with Container(bus[0], sysname="test", config=bus[1]) as container:
        await container.spawn(HelloService)
    began = time.perf_counter()
    with pytest.raises(Unavailable, match="stopped"):
        await container.rpc_send("hello", "hello")
    with pytest.raises(Unavailable, match="stopped"):
        await container.send("hello", "hello")
    assert time.perf_counter() - began < 5  # the deadline is 15 s
    with pytest.raises(LifecycleError):
        await container.start()


@pytest.mark.parametrize("timeout", ["5", 0, -1, float("nan"), float("inf")])
async def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    async with Container("memory://") as container:
        with pytest.raises(BadRequest, match="timeout"):
            await container.rpc_send("hello", "hello", timeout=timeout)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", "x" * 200])
def test_a_sysname_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="sysname"):
        Container("memory://", sysname=name)


@pytest.mark.parametrize("url", ["secret", "", "mysql://root:secret@localhost/ion"])
async def test_a_store_of_no_known_engine_fails_the_start(url: str) -> None:
    container = Container("memory://", config={"store.url": url})
    with pytest.raises(ConfigurationError, match=r"known: memory://, sqlite://") as raised:
        await container.start()
    assert "secret" not in raised.value.message
    assert container.state == "ERROR"


async def test_a_broker_that_is_down_fails_the_start_with_one_clear_error() -> None:
    container = Container("amqp://guest:secret@127.0.0.1:9/")
    with pytest.raises(Unavailable) as raised:
        await container.start()
    assert "secret" not in raised.value.message
    assert container.state == "ERROR"
    await container.stop()
