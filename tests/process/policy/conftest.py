"""Policy is above the endpoint: it is seen on the memory bus, and on one path to RabbitMQ."""

from __future__ import annotations

import itertools

import pytest

_names = itertools.count(1)


@pytest.fixture(params=["memory", "amqp"])
def bus(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Give a broker URL that several containers of the test can share, and the configuration."""
    if request.param == "memory":
        return f"memory://policy-{next(_names)}", {}
    url: str = request.getfixturevalue("amqp_url")
    return url, {}
