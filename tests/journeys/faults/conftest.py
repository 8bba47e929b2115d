"""Fixtures of the fault journeys: tallies that are printed, effects that survive, a fleet.

With ION_SOAK=1 (``make soak``) the same journeys run with the numbers of the long form.
"""

from __future__ import annotations

import gc
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.journeys.faults.fleet import Fleet
from tests.journeys.faults.tally import PROPERTY, Effects, Tally
from tests.journeys.faults.waiting import Pulse

SOAK = bool(os.environ.get("ION_SOAK"))
LONG_TIMEOUT = 7200  # seconds, of one test


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the long forms their time."""
    for item in items:
        if SOAK and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(LONG_TIMEOUT))


@pytest.fixture
def size() -> Callable[[int, int], int]:
    """Give what chooses between the number of the short form and that of the long one."""
    return lambda short, long: long if SOAK else short


@pytest.fixture
def new_tally(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Tally]]:
    """Give what makes tallies; their lines are printed at the end of the run."""
    made: list[Tally] = []

    def new(name: str) -> Tally:
        made.append(Tally(name))
        return made[-1]

    yield new
    request.node.user_properties.extend((PROPERTY, tally.line()) for tally in made)


@pytest.fixture
def new_effects(tmp_path: Path) -> Callable[[], Effects]:
    """Give what makes files for effects."""
    return lambda: Effects(tmp_path / f"effects-{secrets.token_hex(4)}")


@pytest.fixture
def effects(new_effects: Callable[[], Effects]) -> Effects:
    """Give a file for effects."""
    return new_effects()


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    """Give a fleet of OS processes."""
    async with Fleet() as running:
        yield running


@pytest.fixture
def pulse() -> Iterator[Pulse]:
    """Give how late the machine is; and keep what other tests left out of the collector's way."""
    gc.collect()
    gc.freeze()
    with Pulse() as beating:
        yield beating
