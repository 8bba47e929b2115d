"""What ``ion.connect`` gives, beside what others test by using it."""

from __future__ import annotations

import logging

import pytest

import ion


async def test_who_connects_to_a_bus_of_its_own_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An event that it publishes would be heard by nobody, without a word."""
    caplog.set_level(logging.WARNING)
    async with ion.Container("memory://told"), ion.connect("memory://told"):
        assert "nobody is on the bus" not in caplog.text
    async with ion.connect("memory://"):
        assert "nobody is on the bus" in caplog.text
        assert "ION_BROKER" in caplog.text
