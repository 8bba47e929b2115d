"""Moving messages to where the broker takes none: they stay, and the log does as well."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ion.base.errors import Unavailable
from ion.messaging.address import Namespace
from ion.messaging.envelope import Envelope
from ion.messaging.transport import TransportState
from ion.process.redelivery.republishing import Republisher


class Full:
    """A transport whose queues take nothing."""

    state = TransportState.LOST

    def publish(self, *_: Any, settled: Any, **__: Any) -> None:
        settled(Unavailable("it is full"))


async def test_a_full_queue_is_told_of_once_however_many_messages_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport: Any = Full()
    republisher = Republisher(transport, Namespace("test"), asyncio.get_running_loop())
    for number in range(100):
        delivery: Any = SimpleNamespace(lost=False, settled=False)
        republisher.move(delivery, "test.dlx", f"queue-{number % 2}", Envelope("op"))
    assert republisher.waiting == 100
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text.count("is full") for text in warnings] == [1, 1]  # one for each queue
    transport.state = TransportState.CLOSED
