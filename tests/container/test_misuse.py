"""What people try first with a container, and is another call: they are told which."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ion import BadRequest, Container, Event, Service
from ion.base.errors import ConfigurationError, StartError


async def heard(content: Any) -> None: ...


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.subscribe("ctd", "#", heard), "subscribe in a process"),
        (lambda c: c.wait_for_event(Event, timeout=None), "timeout: how many seconds"),
        (lambda c: c.rpc_send(None, "hello"), "to: the name of a service"),
        (lambda c: c.rpc_send(c.id + ".0", 5), "op: the name of one"),
        (lambda c: c.send("hello", None), "op: the name of one"),
        (lambda c: c.stream(None, "hello"), "to: the name of a service"),
    ],
)
async def test_a_first_try_is_told_what_to_write(
    container: Container, call: Callable[[Any], Awaitable[Any]], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        await call(container)


@pytest.mark.parametrize("name", ["x" * 256, "\u00fc" * 128])
@pytest.mark.parametrize("way", ["rpc_send", "send", "request"])
async def test_a_name_that_no_bus_takes_is_told_alike_on_all(
    container: Container, way: str, name: str
) -> None:
    for to, op, said in ((name, "hello", "to"), (container.id + ".0", name, "op")):
        with pytest.raises(BadRequest, match=f"{said}: a name of at most 255 bytes, not of 256"):
            await getattr(container, way)(to, op)
    assert not container.endpoint.conversations.open


@pytest.mark.parametrize("config", ["lab.yml", ["store.url"], 5])
def test_a_config_that_is_no_map(config: Any) -> None:
    with pytest.raises(ConfigurationError, match="config= is a map of settings") as raised:
        Container(config=config)
    assert "load(files=[...])" in raised.value.message


@pytest.mark.parametrize("name", ["agent", "processes", "beat"])
async def test_a_service_that_would_stand_for_a_part_of_ion(
    container: Container, name: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"service name '{name}' is ION's own"):
        type("Taken", (Service,), {}, name=name)

    class Late(Service, name="late"):
        """Takes its name when it is made, as the agent of an instrument does."""

        def __init__(self) -> None:
            self.service_name = name  # type: ignore[misc]

    with pytest.raises(StartError, match="is ION's own"):
        await container.spawn(Late)
    assert "late" not in [getattr(p, "service_name", "") for p in container.processes.values()]
