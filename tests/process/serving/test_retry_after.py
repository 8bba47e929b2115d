"""How long a full mailbox takes to empty."""

from __future__ import annotations

import pytest

from ion.process.serving.retry_after import RetryAfter


@pytest.mark.parametrize(
    ("elapsed", "done", "waiting", "told"),
    [
        (2.0, 100, 200, 4.0),  # 20 ms each, 200 before it
        (2.0, 100, 1, 0.1),  # never a shorter time
        (2.0, 1, 10_000, 60.0),  # nor a longer one
        (0.0, 0, 10_000, 1.0),  # nothing seen yet
        (0.05, 0, 10_000, 1.0),
        (3.0, 0, 5, 15.0),  # each takes 3 s at least
        (3.0, 2, 0, 1.5),  # none waits, but all hands are full
    ],
)
def test_it_is_told_by_what_was_handled(
    elapsed: float, done: int, waiting: int, told: float
) -> None:
    assert RetryAfter(100.0, 50).retry_after(100.0 + elapsed, 50 + done, waiting) == told


def test_those_handled_together_share_the_time() -> None:
    assert RetryAfter(0.0, 0, concurrency=4).retry_after(2.0, 0, 10) == 5.0


def test_it_follows_a_change() -> None:
    pressure = RetryAfter(0.0, 0)
    assert pressure.retry_after(10.0, 1000, 100) == 1.0
    assert pressure.retry_after(20.0, 1100, 100) == 10.0  # ten times as slow since then


def test_what_was_known_stays_while_nothing_new_is_seen() -> None:
    pressure = RetryAfter(0.0, 0)
    assert pressure.retry_after(6.0, 600, 100) == 1.0
    assert pressure.retry_after(6.01, 600, 100) == 1.0
