"""T8: calls, processes and reconnects leave nothing behind; ``make soak`` has the long form.

The long form is ``benchmarks/soak.py`` with its own numbers: a million calls, ten thousand
processes, two thousand reconnects.
"""

from __future__ import annotations

import pytest

from benchmarks import soak

pytestmark = [pytest.mark.amqp, pytest.mark.slow]

CALLS, SPAWNS, RECONNECTS = 2_000, 100, 10


async def test_nothing_is_left(rabbitmq_server, new_tally):
    tally = new_tally("T8 calls, processes, reconnects")
    rabbitmq_server.start()
    said: list[str] = []
    more = await soak.on_amqp(rabbitmq_server, CALLS, SPAWNS, RECONNECTS, said.append)
    tally.sent = tally.answered = CALLS
    tally.notes |= {"spawned": SPAWNS, "reconnects": RECONNECTS, "grew": len(more)}
    assert more == {}, said
