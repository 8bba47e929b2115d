"""What ``ion.connect`` gives, beside what others test by using it."""

from __future__ import annotations

import logging

import pytest

import ion
from ion.messaging.memory.transport import MemoryTransport


async def test_who_connects_to_a_bus_of_its_own_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An event that it publishes would be heard by nobody, without a word."""
    caplog.set_level(logging.WARNING)
    async with ion.Container("memory://told"), ion.connect("memory://told"):
        assert "nobody is on the bus" not in caplog.text
    async with ion.connect("memory://"):
        assert "nobody is on the bus" in caplog.text
        assert "ION_BROKER" in caplog.text


async def test_what_could_not_open_leaves_no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that was cut off between queue and consumer left the queue, until it expired."""
    name = "memory://left"

    async def consume(*_: object, **__: object) -> None:
        raise ion.Unavailable("the broker went away")

    async with ion.Container(name) as container:
        monkeypatch.setattr(MemoryTransport, "consume", consume)
        with pytest.raises(ion.Unavailable):
            async with ion.connect(name):
                pass
        left = container.transport._broker._queues
        assert [queue for queue in left if queue.endswith(".reply")] == [
            container.endpoint.reply_queue
        ]
        monkeypatch.undo()
