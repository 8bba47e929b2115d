"""Every transport keeps the contract."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from ion.messaging.opening import open_transport
from ion.messaging.transport import Transport
from ion.testing.contracts.transport import TransportContract
from tests.messaging.amqp_server.listening import listening, url_of

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


class TestLeanAmqpToListeningMemory(TransportContract):
    """The memory bus of one container, as others on its machine reach it."""

    lean = True

    @pytest.fixture
    async def new_transport(self) -> AsyncIterator[Callable[[], Transport]]:
        async with listening() as server:
            yield lambda: open_transport(url_of(server), lean=self.lean)


class TestPlainAmqpToListeningMemory(TestLeanAmqpToListeningMemory):
    lean = False
