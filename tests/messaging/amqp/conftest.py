"""Transports on a RabbitMQ of our own, lean and plain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from ion.messaging.amqp.transport import AmqpTransport

Make = Callable[..., AmqpTransport]


@pytest.fixture(params=[True, False], ids=["lean", "plain"])
async def make(request: pytest.FixtureRequest, amqp_url: str) -> AsyncIterator[Make]:
    """Give what makes a transport on this test's virtual host; all are closed at the end."""
    made: list[AmqpTransport] = []

    def new(**settings: object) -> AmqpTransport:
        transport = AmqpTransport([amqp_url], lean=request.param, **settings)  # type: ignore[arg-type]
        made.append(transport)
        return transport

    yield new
    for transport in made:
        await transport.close()


@pytest.fixture
async def transport(make: Make) -> AmqpTransport:
    """Give an open transport."""
    opened = make()
    await opened.open()
    return opened
