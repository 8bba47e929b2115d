"""The door to time can be given another clock, and gives the system's back."""

from __future__ import annotations

import time

import pytest

from ion.base import clock


class Stopped:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - 1000.0

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


def test_the_system_clock_is_the_default():
    before = time.time()
    assert before <= clock.now() <= time.time()
    assert clock.monotonic() <= time.monotonic()


async def test_another_clock_can_be_put_in_place():
    with clock.using(Stopped()):
        await clock.sleep(3600)
        assert clock.now() == 4600.0
        assert clock.monotonic() == 3600.0
    assert clock.now() > 1_000_000_000


def test_the_clock_before_comes_back_after_an_error():
    outer = Stopped()
    with clock.using(outer):
        with pytest.raises(KeyError), clock.using(Stopped()):
            raise KeyError
        outer.at = 7.0
        assert clock.now() == 7.0


async def test_sleep_of_the_system_lets_others_run():
    start = clock.monotonic()
    await clock.sleep(0.001)
    assert clock.monotonic() - start >= 0.0009
