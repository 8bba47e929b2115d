"""How hard the messages of a service are tried: its settings over its class over those of all."""

from __future__ import annotations

from typing import Any

import pytest

from ion import ConfigurationError, Container, Service
from ion.process.serving.source import Policy


class Plain(Service, name="plain"):
    pass


class Own(Service, name="own", delivery="at-most-once", attempts=2):
    pass


CASES = [
    (Plain, {}, Policy("at-least-once", 5, (200, 1000, 5000, 30_000))),
    (Own, {}, Policy("at-most-once", 2, (200, 1000, 5000, 30_000))),
    (
        Plain,
        {"service.delivery": "effectively-once", "service.attempts": 3},
        Policy("effectively-once", 3, (200, 1000, 5000, 30_000)),
    ),
    (
        Own,
        {
            "service.delivery": "effectively-once",
            "service.attempts": 3,
            "service.retry_delays": [1],
        },
        Policy("at-most-once", 2, (1000,)),
    ),
    (
        Own,
        {
            "services.own.delivery": "at-least-once",
            "services.own.attempts": 9,
            "services.own.retry_delays": [0.05, 0.1],
            "service.retry_delays": [1],
        },
        Policy("at-least-once", 9, (50, 100)),
    ),
    (
        Plain,
        {"services.own.delivery": "at-most-once", "services.plain.attempts": 1},
        Policy("at-least-once", 1, (200, 1000, 5000, 30_000)),
    ),
    (
        Plain,
        {"services.plain.queue": "quorum", "service.retry_delays": [0.2]},
        Policy("at-least-once", 5, (200,), replicated=True),
    ),
    (
        Plain,
        {"service.queue": "quorum", "services.plain.queue": "classic"},
        Policy("at-least-once", 5, (200, 1000, 5000, 30_000)),
    ),
]


@pytest.mark.parametrize(("kind", "config", "policy"), CASES)
async def test_settings_of_the_service_over_its_class_over_those_of_all(
    kind: type[Service], config: dict[str, Any], policy: Policy
) -> None:
    async with Container("memory://", sysname="test", config=config) as container:
        process = container.processes[await container.spawn(kind)]
        assert container.exchange.policy_of(process) == policy
        for delay in policy.delays:
            classic = await container.transport.queue_info(f"test.retry.{delay}")
            quorum = await container.transport.queue_info(f"test.retry.{delay}.quorum")
            assert (classic is None, quorum is None) == (policy.replicated, not policy.replicated)


@pytest.mark.parametrize(
    ("keyword", "value"), [("delivery", "exactly-once"), ("attempts", 0), ("attempts", -1)]
)
def test_a_class_cannot_ask_for_what_there_is_not(keyword: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=keyword):
        type("Odd", (Service,), {}, name="odd", **{keyword: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("service.delivery", "exactly-once"),
        ("services.x.delivery", "sometimes"),
        ("service.attempts", 0),
        ("service.retry_delays", [0.0001]),
        ("service.retry_delays", [-1]),
    ],
)
def test_settings_that_cannot_be_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigurationError):
        Container("memory://", config={key: value})


@pytest.mark.parametrize(("attempt", "delay"), [(1, 10), (2, 20), (3, 20), (4, 20), (1000, 20)])
def test_the_last_delay_repeats(attempt: int, delay: int) -> None:
    assert Policy(delays=(10, 20)).delay(attempt) == delay
