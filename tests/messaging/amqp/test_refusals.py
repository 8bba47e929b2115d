"""What a broker refuses is told with what it means and what to do; its own words are kept."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from yarl import URL

from ion import ConfigurationError, Container, Process, Service, Unavailable
from ion.base.errors import IonError
from ion.messaging.amqp.transport import AmqpTransport
from ion.messaging.transport import ExchangeSpec
from ion.testing.servers.rabbitmq import RabbitServer

LONG = "n" * 100
_users = itertools.count()


class Held(Service, name="held"):
    """Is declared otherwise."""


class Hearer(Process):
    """Subscribes."""

    async def on_said(self, content: object) -> None:
        """Hear nothing."""


async def refused(url: str, **settings: object) -> IonError:
    with pytest.raises(IonError) as caught:
        async with Container(url, sysname="test", config=settings) as container:
            await container.spawn(Held)
    return caught.value


async def test_a_queue_of_another_kind(amqp_url: str) -> None:
    async with Container(amqp_url, sysname="test") as container:
        await container.spawn(Held)
    error = await refused(amqp_url, **{"services.held.queue": "quorum"})
    assert "'test.held': this queue is there already, with x-queue-type " in error.message
    assert "; 'quorum' was wanted: " in error.message
    assert "ioncc doctor" in error.message
    cause = error.__cause__
    assert isinstance(cause, ConfigurationError)
    assert "inequivalent arg 'x-queue-type'" in cause.details["broker"]


async def test_an_exchange_of_another_kind(amqp_url: str) -> None:
    transport = AmqpTransport([amqp_url])
    await transport.open()
    try:
        await transport.declare_exchange(ExchangeSpec("test.xs", "direct"))
    finally:
        await transport.close()
    said = (await refused(amqp_url)).message
    assert "this exchange is there already, with type 'direct'; 'topic' was wanted" in said


async def test_two_containers_of_one_name(bus: tuple[str, dict[str, Any]]) -> None:
    url, config = bus
    config = {**config, "container.name": "fix"}
    async with Container(url, sysname="test", config=config):
        error = await refused(url, **config)
    assert isinstance(error, Unavailable)
    assert "'test.fix'" in error.message
    assert "a container (or a service) of that name runs already" in error.message
    assert "container.name" in error.message


@pytest.mark.parametrize(
    ("permissions", "said"),
    [
        (("^$", ".*", ".*"), "may not configure"),
        ((".*", "^$", ".*"), "(may not configure or write|may not write)"),
        ((".*", ".*", "^$"), "(may not configure or read|may not read)"),
    ],
)
async def test_a_user_who_may_too_little(
    amqp_url: str, rabbitmq_server: RabbitServer, permissions: tuple[str, str, str], said: str
) -> None:
    name, vhost = f"low{next(_users)}", URL(amqp_url).path[1:]
    rabbitmq_server.eval(f'rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"pw">>, <<"t">>)')
    terms = ", ".join(f'<<"{each}">>' for each in permissions)
    rabbitmq_server.eval(
        f'rabbit_auth_backend_internal:set_permissions(<<"{name}">>, <<"{vhost}">>, {terms}, '
        '<<"t">>)'
    )
    error = await refused(str(URL(amqp_url).with_user(name).with_password("pw")))
    assert re.search(f"user '{name}' {said} ", error.message)  # 4.x tells which
    assert "rabbitmqctl set_permissions" in error.message
    assert "ACCESS_REFUSED" in error.details["broker"]


async def test_names_that_are_too_long(bus: tuple[str, dict[str, Any]]) -> None:
    url, config = bus
    async with Container(url, sysname=LONG, config=config) as container:
        process = container.processes[await container.spawn(Hearer)]
        point = f"{LONG}/{LONG}"
        with pytest.raises(ConfigurationError, match=r"over 255 bytes.*shorten"):
            await process.publish(point, "a", 1)
        with pytest.raises(ConfigurationError, match=r"over 255 bytes.*shorten"):
            await process.subscribe(LONG, "#", process.on_said, name=LONG)
