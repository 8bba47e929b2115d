"""T12: what works in memory works on RabbitMQ: the cases are counted here, and run elsewhere.

``tests/contracts/test_transport_contract.py`` runs each of them on the memory transport and on both
paths to RabbitMQ; ``tests/contracts/test_memory_against_rabbitmq.py`` runs random topologies and
traffic through both brokers at once and compares after each step.
"""

from __future__ import annotations

import pytest

from ion.testing.contracts import consuming, limits, publishing, session, settling, topology
from ion.testing.contracts.transport import TransportContract
from tests.contracts import test_memory_against_rabbitmq as compared
from tests.contracts import test_transport_contract as runs

AREAS = {
    "routing": [
        (topology, "topics direct_and_fanout gets_a_message_once routes_follow binding_what"),
        (publishing, "unroutable arrives_as order_is_kept exchange_that taken"),
    ],
    "acks": [
        (settling, "ack_takes settling_twice put_back puts_all_back nobody_wants"),
        (consuming, "prefetch no_ack cancel test_get"),
        (session, "puts_unsettled not_settled drained_consumer"),
    ],
    "time to live": [(limits, "queues_ttl messages_ttl expires_at_the_head no_time unused_queue")],
    "dead letters": [
        (settling, "dead_letter deaths_are rejected_letter"),
        (limits, "ladder drops_its_head full_queue_rejects"),
    ],
    "priority": [
        (limits, "priorities priority_means control_passes single_active"),
        (consuming, "with_priority"),
    ],
}
AT_LEAST = 4  # cases an area
RUNS = (runs.TestMemory, runs.TestLeanAmqp, runs.TestPlainAmqp)


@pytest.mark.parametrize("area", AREAS)
def test_the_cases_of_an_area_run_on_every_transport(area, new_tally):
    found = [name for module, words in AREAS[area] for name in cases(module, words.split())]
    for run in RUNS:
        assert issubclass(run, TransportContract)
        assert [name for name in found if not hasattr(run, name)] == []
    tally = new_tally(f"T12 {area}")
    tally.notes |= {"cases": len(found), "runs": len(found) * len(RUNS)}
    assert len(found) >= AT_LEAST


def cases(module, words) -> list[str]:
    """Return the contract tests of a module whose names hold one of the words; each holds some."""
    names = [
        name
        for cls in vars(module).values()
        if isinstance(cls, type) and cls.__module__ == module.__name__
        for name in vars(cls)
        if name.startswith("test_")
    ]
    chosen = [name for name in names if any(word in name for word in words)]
    assert all(any(word in name for name in names) for word in words), (words, names)
    return chosen


def test_random_traffic_is_compared(new_tally):
    tally = new_tally("T12 random topologies and traffic, memory beside RabbitMQ")
    tally.notes |= {
        "examples": compared.SETTINGS.max_examples,
        "steps": compared.SETTINGS.stateful_step_count,
    }
    assert compared.SETTINGS.max_examples >= 20
