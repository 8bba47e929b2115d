"""Every transport keeps the contract."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from ion.messaging.opening import open_transport
from ion.messaging.transport import Transport
from ion.testing.contracts.transport import TransportContract

_names = itertools.count(1)


class TestMemory(TransportContract):
    @pytest.fixture
    def new_transport(self) -> Callable[[], Transport]:
        url = f"memory://contract-{next(_names)}"
        return lambda: open_transport(url)


@pytest.mark.amqp
class TestLeanAmqp(TransportContract):
    @pytest.fixture
    def new_transport(self, amqp_url: str) -> Callable[[], Transport]:
        return lambda: open_transport(amqp_url, lean=True)


@pytest.mark.amqp
class TestPlainAmqp(TransportContract):
    @pytest.fixture
    def new_transport(self, amqp_url: str) -> Callable[[], Transport]:
        return lambda: open_transport(amqp_url, lean=False)
