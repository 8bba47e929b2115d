"""To which broker a transport connects, and how soon it tries again."""

from __future__ import annotations

from collections import Counter

import pytest
from yarl import URL

from ion.base.errors import Unavailable
from ion.messaging.amqp import link
from ion.messaging.amqp.backoff import EARLY_CAP, LATE_CAP, delay

URLS = [URL(f"amqp://host{number}") for number in range(3)]


async def test_not_all_clients_begin_with_the_first_url(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    async def nobody(url: URL, *_: object) -> None:
        tried.append(url.host or "")
        message = f"nobody at {url.host}"
        raise Unavailable(message)

    monkeypatch.setattr(link, "_open", nobody)
    first: Counter[str] = Counter()
    for _ in range(300):
        tried.clear()
        with pytest.raises(Unavailable, match="nobody at"):
            await link.open_link(URLS, link.LinkSettings(), lambda: None)  # type: ignore[arg-type, return-value]
        assert sorted(tried) == ["host0", "host1", "host2"]  # each one once
        first[tried[0]] += 1
    assert all(first[f"host{number}"] > 40 for number in range(3)), first


def test_tries_come_soon_at_first_and_seldom_later() -> None:
    assert [delay(attempt, 0.0, 1.0) for attempt in range(6)] == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    assert delay(1000, 59.0, 1.0) == EARLY_CAP
    assert delay(1000, 61.0, 1.0) == LATE_CAP


def test_tries_are_spread_over_the_whole_wait() -> None:
    assert delay(1000, 61.0, 0.0) == 0.0
    assert delay(1000, 61.0, 0.5) == LATE_CAP / 2
