"""The buses of these tests: memory, and RabbitMQ by its lean path."""

from __future__ import annotations

import itertools

import pytest

_names = itertools.count(1)


@pytest.fixture(params=["memory", "amqp"])
def bus(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Give a broker URL that several containers of the test can share, and the configuration."""
    if request.param == "memory":
        return f"memory://granules-{next(_names)}", {}
    url: str = request.getfixturevalue("amqp_url")
    return url, {}
